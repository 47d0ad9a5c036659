"""Every example of a split read once, and what is remembered of each."""

import hashlib
import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from jft.data.decode import FORMATS, DecodeError, decode, open_file, orientation
from jft.data.listing import ClassMaps, Dataset, File, Listing, Split
from jft.data.masks.files import CodedMasks, MergedMasks
from jft.data.split import Some

SIDE = 16  # of the grey thumbnail that is kept of each image, in pixels
_WAVES, _SAMPLES = 8, 32
_CHUNK = 64
_LARGE_PIXELS = 2**23  # of larger images, not every pixel goes into the thumbnail

_CHANNELS = {
    **{"1": "black and white", "L": "grey", "I": "grey", "F": "grey", "LA": "grey"},
    **{"P": "palette", "PA": "palette", "RGB": "colour", "RGBA": "colour"},
    **{"RGBX": "colour", "CMYK": "CMYK", "YCbCr": "colour", "LAB": "Lab"},
}


@dataclass(frozen=True, slots=True)
class Seen:
    """What is remembered of an example; 100,000 take about 60 MB, masks 210 MB more.

    Attributes:
        width: Pixels, as a viewer shows it.
        height: Pixels.
        format: Of the file, such as JPEG.
        pixels: Channels and depth, such as `grey 16-bit`.
        content: Of the decoded pixels and their shape: the same for one picture in
            two files, whatever their formats and metadata.
        waves: `perceptual_hash`.
        thumbnail: Grey, uint8 [SIDE * SIDE].
        mask: Pixels of each value 0..255, int64 [256]; None without a mask.
        turned: Whether EXIF turns the image, and nothing turns its mask.
        pages: What holds several pages, of which the first is used: `image`, `mask`.
        reason: Why it cannot be used; empty for what can.
    """

    width: int = 0
    height: int = 0
    format: str = ""
    pixels: str = ""
    content: bytes = b""
    waves: int = 0
    thumbnail: bytes = b""
    mask: npt.NDArray[np.int64] | None = None
    turned: bool = False
    pages: tuple[str, ...] = ()
    reason: str = ""


def look_at_splits(dataset: Dataset, channels: int = 3) -> dict[Split, list[Seen]]:
    """Look at every example of every split."""
    return {
        split: look_at_all(some, channels=channels)
        for split, some in dataset.splits.items()
    }


def look_at_all(
    listing: Listing, workers: int | None = None, channels: int = 3
) -> list[Seen]:
    """Look at every example of a split; one image per thread is in memory at a time.

    Args:
        listing: What there is.
        workers: Threads; None for one per core.
        channels: As in `decode`.
    """
    n = len(listing.keys)

    def some(start: int) -> list[Seen]:
        indices = range(start, min(start + _CHUNK, n))
        return [_look_or_reason(listing, i, channels) for i in indices]

    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        return [seen for part in pool.map(some, range(0, n, _CHUNK)) for seen in part]


def _look_or_reason(listing: Listing, index: int, channels: int) -> Seen:
    labels = listing.masks
    try:
        image = listing.images[index]
        if labels is None:
            return look(image, channels=channels)
        seen = look(image, labels[index], channels)
        file = _mask_file(labels, index)
        mask = Header() if file is None else read_header(file)
        pages = (*seen.pages, *(["mask"] if mask.pages > 1 else []))
        return replace(seen, turned=seen.turned and not mask.turned, pages=pages)
    except DecodeError as error:
        return Seen(reason=str(error))


def _mask_file(masks: ClassMaps, index: int) -> File | None:
    """Return the file that a mask is read from, None for one that is drawn."""
    if isinstance(masks, Some):
        return _mask_file(masks.parts, int(masks.indices[index]))
    if isinstance(masks, MergedMasks):
        return _mask_file(masks.masks, masks.parts(index)[0])
    return masks.files[index] if isinstance(masks, CodedMasks) else None


def look(
    file: File, mask: npt.NDArray[np.uint8] | None = None, channels: int = 3
) -> Seen:
    """Decode an image and remember what matters of it.

    Raises:
        DecodeError: It cannot be read, or its mask [H, W] has another size.
    """
    image = decode(file, channels=channels)
    height, width = image.shape[:2]
    if mask is not None and mask.shape != (height, width):
        raise DecodeError(
            f"the mask has {mask.shape[1]} x {mask.shape[0]} pixels, "
            f"the image {width} x {height}"
        )
    step = max(1, math.isqrt(height * width // _LARGE_PIXELS))
    grey = Image.fromarray(as_rgb(image[::step, ::step])).convert("L")
    small = grey.resize((SIDE, SIDE), Image.Resampling.BOX)
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(np.ascontiguousarray(image).data)
    header = read_header(file)
    return Seen(
        width=width,
        height=height,
        format=header.format,
        pixels=header.pixels,
        content=digest.digest()[:16],
        waves=perceptual_hash(grey),
        thumbnail=small.tobytes(),
        mask=None if mask is None else _counts(mask),
        turned=mask is not None and header.turned,
        pages=("image",) if header.pages > 1 else (),
    )


def as_rgb(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return what a person is shown of [H, W, C]: the first three channels, or grey."""
    if image.shape[2] >= 3:
        return np.ascontiguousarray(image[..., :3])
    return np.repeat(image[..., :1], 3, axis=2)


def _counts(mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Count each value, some rows at a time: `bincount` makes 8 bytes of each pixel."""
    parts = np.array_split(mask, max(1, mask.size // _LARGE_PIXELS))
    return np.sum([np.bincount(part.ravel(), minlength=256) for part in parts], 0)


class Header(NamedTuple):
    """What a file's header gives about its pixels.

    Attributes:
        format: Such as JPEG.
        pixels: Channels and depth in words.
        turned: Whether its EXIF orientation turns or mirrors the picture.
        pages: Pages of a TIFF file, or frames of an animation.
    """

    format: str = "pixels"
    pixels: str = "colour 8-bit"
    turned: bool = False
    pages: int = 1


def read_header(file: File) -> Header:
    """Return the header of a readable file; pixels have none."""
    if isinstance(file, np.ndarray):
        return Header()
    with open_file(file) as opened:
        try:
            image = Image.open(opened, formats=FORMATS)
        except UnidentifiedImageError:  # `decode` has read it: see jft.data.planes
            return Header("NumPy or TIFF", "channels")
        raw = str(image.tile[0][3]) if image.tile else ""
        deep = "16" in image.mode or ";16" in raw or image.mode == "I"
        channels = _CHANNELS.get(image.mode.split(";")[0], image.mode)
        if image.has_transparency_data:
            channels += " with transparency"
        depth = 1 if image.mode == "1" else 16 if deep else 8
        # The further pictures of a JPEG (MPO) are previews.
        pages = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
        turned = orientation(image) in range(2, 9)
        return Header(image.format or "", f"{channels} {depth}-bit", turned, pages)


def perceptual_hash(grey: Image.Image) -> int:
    """Return 64 bits that hardly change when an image is resized or compressed again.

    Bit i tells whether one of the 8 x 8 slowest cosine waves in the image, brought to
    32 x 32 pixels, is above their median; the mean of the image does not count (pHash,
    Zauner 2010). Of the 1,440 training pictures of `neu_cls` that differ, no two are
    within 4 bits and look the same, whereas of dHash's 64 bits 3,618 pairs of those
    textures are (`benchmarks/duplicates.py`).
    """
    pixels = grey.resize((_SAMPLES, _SAMPLES), Image.Resampling.BOX)
    waves = (_COSINES @ np.asarray(pixels, np.float64) @ _COSINES.T).ravel()
    waves[0] = 0.0
    bits = waves > np.median(waves[1:])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


_COSINES = np.cos(
    np.pi / _SAMPLES * np.outer(np.arange(_WAVES), np.arange(_SAMPLES) + 0.5)
)
