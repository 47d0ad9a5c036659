"""How pixels become the numbers a network was trained on; it travels with weights."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from jft.errors import InputError, nearest

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
Channels = Literal["rgb", "bgr"]
Crop = Literal["centre", "squash", "letterbox"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LARGEST = 4096
"""Largest side of an image in pixels."""
CHANNELS = 256
"""Largest number of channels of an image."""


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """The path from a decoded image to network input, as torchvision and timm state it.

    The image is resized, its central `size` x `size` square is kept as uint8, and the
    device computes `(pixel * pixel_max / 255 - mean) / std` per channel.

    Attributes:
        size: Side of the square the network sees, in pixels.
        interpolation: Resampling filter of the resize (Pillow's, with antialiasing).
        crop: What is resized to `resized` pixels: the shorter side (centre), both sides
            (squash), or the longer side (letterbox, where `fill` completes the square).
            timm's crop_mode center, squash and border.
        crop_fraction: Fraction of the resized side that is kept, in (0, 1].
        mean: Mean of each of the C channels, in the order of `channels` and scaled as
            `pixel_max`. C is mostly 3.
        std: Standard deviation of each channel, same order and scale.
        pixel_max: What the brightest pixel, 255, is scaled to: 1, or 255 for Keras's
            "caffe" weights.
        channels: Order in which the network sees the colours; images are RGB.
    """

    size: int = 224
    interpolation: Interpolation = "bilinear"
    crop: Crop = "centre"
    crop_fraction: float = 0.875
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    pixel_max: float = 1.0
    channels: Channels = "rgb"

    @property
    def resized(self) -> int:
        """Side of the resized image, from which the square is cut, in pixels.

        Rounded down as timm does; a fraction such as 224 / 232 is not exact in
        floating point, and must still give 232.
        """
        return int(self.size / self.crop_fraction + 1e-6)

    @property
    def fill(self) -> tuple[int, ...]:
        """The pixel [C], in 0..255, that is nearest to zeros in the network's input."""
        scale = 255.0 / self.pixel_max
        levels = [min(max(round(value * scale), 0), 255) for value in self.mean]
        return tuple(levels[::-1] if self.channels == "bgr" else levels)

    def __post_init__(self) -> None:
        if type(self.size) is not int or not 1 <= self.size <= LARGEST:
            raise InputError(
                f"image size must be a number of pixels from 1 to {LARGEST}, "
                f"got {self.size!r}"
            )
        if not 0 < self.crop_fraction <= 1:
            raise InputError(
                f"crop_fraction must be in (0, 1], got {self.crop_fraction}"
            )
        for name, values in (("mean", self.mean), ("std", self.std)):
            if not _numbers_only(values) or (name == "std" and min(values) <= 0):
                valid = "positive and finite" if name == "std" else "finite"
                raise InputError(
                    f"{name} must be {valid} numbers, one per channel, "
                    f"got {values!r:.80}"
                )
        if len(self.mean) != len(self.std):
            raise InputError(
                f"mean has {len(self.mean)} numbers and std {len(self.std)}; both have "
                "one per channel"
            )
        if self.channels == "bgr" and len(self.mean) != 3:
            raise InputError(f"bgr pixels have 3 channels, not {len(self.mean)}")
        if not 0 < self.pixel_max < math.inf:
            raise InputError(f"pixel_max must be positive, got {self.pixel_max}")
        for name, kind in (
            ("interpolation", Interpolation),
            ("channels", Channels),
            ("crop", Crop),
        ):
            if (value := getattr(self, name)) not in get_args(kind):
                valid = ", ".join(get_args(kind))
                raise InputError(f"{name} {value!r}; valid: {valid}")

    def __str__(self) -> str:
        """Return the path in a line: `resize 256 bilinear, crop 224, ...`."""
        how = {
            "centre": f"resize {self.resized}",
            "squash": f"squash to {self.resized} x {self.resized}",
            "letterbox": f"longer side {self.resized}",
        }[self.crop]
        cut = f"crop {self.size}"
        if self.crop == "letterbox":
            cut += f" centred on {_numbers(self.fill)}"
        return f"{how} {self.interpolation}, {cut}, {self.normalisation}"

    def with_crop(self, crop: Crop) -> "Preprocess":
        """Return this with another crop; squash and letterbox keep the whole image."""
        fraction = self.crop_fraction if crop == "centre" else 1.0
        return dataclasses.replace(self, crop=crop, crop_fraction=fraction)

    def with_channels(self, count: int) -> "Preprocess":
        """Return this for images of another number of channels, `count`.

        One channel has the average of these channels' means and standard deviations,
        more have them in turn.
        """
        given = len(self.mean)
        if count == given:
            return self
        if self.channels == "bgr":
            raise InputError(
                f"--model.channels {count}: these weights take BGR pixels; take "
                "weights for RGB, such as torchvision's"
            )

        def spread(values: tuple[float, ...]) -> tuple[float, ...]:
            if count == 1:
                return (sum(values) / given,)
            return tuple(values[i % given] for i in range(count))

        return dataclasses.replace(self, mean=spread(self.mean), std=spread(self.std))

    @property
    def normalisation(self) -> str:
        """How pixels are normalised: `RGB 0..1, mean ..., std ...`."""
        count = len(self.mean)
        colours = self.channels.upper() if count == 3 else f"{count} channels"
        return (
            f"{colours} 0..{self.pixel_max:g}, "
            f"mean {_numbers(self.mean)}, std {_numbers(self.std)}"
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preprocess":
        """Rebuild a `Preprocess` from the result of `dataclasses.asdict`.

        Raises:
            InputError: A name or a value that is none of a `Preprocess`.
        """
        if not isinstance(cast(Any, values), Mapping):
            raise InputError(
                f"preprocessing must be a group of settings, got {values!r:.80}"
            )
        names = [field.name for field in dataclasses.fields(cls)]
        for name in values:
            if name not in names:
                raise InputError(
                    f"{name!r} is not a preprocessing field{nearest(name, names)}"
                )
        try:
            settings: dict[str, Any] = dict(values)
            settings |= {
                k: tuple(settings[k]) for k in ("mean", "std") if k in settings
            }
            return cls(**settings)
        except TypeError as error:
            raise InputError(f"preprocessing {dict(values)}: {error}") from None


def bilinear(positions: Any, pixels: Any, count: int, reach: Any) -> Any:
    """Return the weights of Pillow's bilinear filter, for NumPy or JAX arrays.

    Args:
        positions: [1, P] float, of the resized pixels' centres, in pixels of the side.
        pixels: [K, 1] or [K, P] float, pixels of the side; also some beyond it.
        count: Pixels of the side.
        reach: Pixels from a centre to where the filter ends, at least 1.

    Returns:
        [K, P], which adds up to 1 for each resized pixel.
    """
    inside = ((pixels >= 0) & (pixels < count)).astype(pixels.dtype)
    near = (1.0 - abs(pixels - positions) / reach).clip(0.0) * inside
    return near / near.sum(axis=0)[None]


def _numbers_only(values: Any) -> bool:
    return (
        isinstance(values, tuple)
        and 1 <= len(cast(tuple[Any, ...], values)) <= CHANNELS
        and all(type(v) in (int, float) and math.isfinite(v) for v in values)
    )


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:g}" for value in values)


INCEPTION = Preprocess(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
"""Pixels from -1 to 1: BiT, and Keras's V2 networks."""

CAFFE = Preprocess(
    mean=(103.939, 116.779, 123.68),
    std=(1.0, 1.0, 1.0),
    pixel_max=255.0,
    channels="bgr",
)
"""What Keras's first networks were trained on: BGR in 0..255 without their mean."""
