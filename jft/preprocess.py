"""How pixels become the numbers a network was trained on; it travels with weights."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from jft.errors import InputError, nearest

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """The path from a decoded image to network input, as torchvision and timm state it.

    The shorter side is resized to `round(size / crop_fraction)` pixels, the central
    `size` x `size` square is kept as uint8, and the device computes
    `(pixel / 255 - mean) / std` per channel.

    Attributes:
        size: Side of the square the network sees, in pixels.
        interpolation: Resampling filter of the resize (Pillow's, with antialiasing).
        crop_fraction: Share of the resized shorter side that the crop keeps, in (0, 1].
        mean: Per-channel mean (R, G, B) of pixels scaled to [0, 1].
        std: Per-channel standard deviation (R, G, B), same scale.
    """

    size: int = 224
    interpolation: Interpolation = "bilinear"
    crop_fraction: float = 0.875
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        if self.size < 1:
            raise InputError(f"image size must be at least 1 pixel, got {self.size}")
        if not 0 < self.crop_fraction <= 1:
            raise InputError(f"crop_fraction must be in (0, 1]: {self.crop_fraction}")
        if min(self.std) <= 0:
            raise InputError(f"std must be positive, got {self.std}")
        if self.interpolation not in get_args(Interpolation):
            valid = ", ".join(get_args(Interpolation))
            raise InputError(f"interpolation {self.interpolation!r}; valid: {valid}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preprocess":
        """Return what `dataclasses.asdict` and JSON have made of a `Preprocess`.

        Raises:
            InputError: A name or a value that is none of a `Preprocess`.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        for name in values:
            if name not in names:
                raise InputError(f"{name!r} is no preprocessing{nearest(name, names)}")
        try:
            settings: dict[str, Any] = dict(values)
            settings |= {
                k: tuple(settings[k]) for k in ("mean", "std") if k in settings
            }
            return cls(**settings)
        except TypeError as error:
            raise InputError(f"preprocessing {dict(values)}: {error}") from None
