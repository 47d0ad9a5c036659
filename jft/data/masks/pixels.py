"""Mask files, whose pixels are numbers or colours."""

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from jft.data.decode import FORMATS, MAX_PIXELS, DecodeError, open_file
from jft.data.listing import File

SATURATED = (255, 65535)  # foreground, where nothing else but 0 occurs
WHITE = 0xFFFFFF
_GREY = ("1", "L", "P", "I;16", "I;16L", "I;16B", "I;16N", "I")
_GREYS = np.arange(256, dtype=np.uint32) * np.uint32(0x010101)


@dataclass(frozen=True, eq=False)
class Pixels:
    """The pixels of a mask file, as it has them.

    Attributes:
        values: uint32 [H, W]: 0 and 1 of a file of one bit, grey levels, indices in the
            palette, or colours 0xRRGGBB.
        kind: Which of these they are.
        table: uint32 [n], the colours of the palette; of other kinds n is 0.
        lossy: Whether JPEG may have changed them.
        step: What greys of 4 or 2 bits have been multiplied by, as white is 255: 17 or
            85; else 1.
        clear: bool [H, W], the transparent pixels, whose values are 0; None if none is.
    """

    values: npt.NDArray[np.uint32]
    kind: Literal["bits", "grey", "palette", "rgb"]
    table: npt.NDArray[np.uint32]
    lossy: bool = False
    step: int = 1
    clear: npt.NDArray[np.bool_] | None = None

    def numbers(self, white: int) -> npt.NDArray[np.uint32]:
        """Return the values as numbers: of a palette, the indices.

        Args:
            white: The number of white in a file of one bit.

        Raises:
            DecodeError: They are colours, and not greys.
        """
        values = self.values
        if self.kind == "bits":
            return values * np.uint32(white)
        if self.kind == "rgb":
            wrong = ~grey(values)
            if wrong.any():
                refuse_pixels(
                    values, wrong, "is coloured, where other masks hold numbers"
                )
            return values & np.uint32(0xFF)
        return values

    def colours(self) -> npt.NDArray[np.uint32]:
        """Return the values as colours; `DecodeError` if one has none."""
        values, table = self.values, self.table
        if self.kind == "rgb":
            return values
        if self.kind == "bits":
            return values * np.uint32(WHITE)
        if self.kind == "grey":
            table = _GREYS
        wrong = values >= len(table)
        if wrong.any():
            refuse_pixels(values, wrong, "is not a colour", False)
        return table[values]


def grey(colours: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
    """Return which colours are greys."""
    return colours == (colours & np.uint32(0xFF)) * np.uint32(0x010101)


def white(numbers: Collection[int]) -> int:
    """Return what white in a file of one bit means beside such numbers."""
    return next((top for top in (*SATURATED, 1) if top in numbers), SATURATED[0])


def read_pixels(file: File, *, transparent: bool = False) -> Pixels:
    """Read a mask file; of several pages the first.

    Args:
        file: Path, or the file's bytes.
        transparent: Whether pixels may be transparent.

    Raises:
        DecodeError: It holds no mask: damaged, transparent in part, or float.
    """
    if isinstance(file, np.ndarray):
        raise DecodeError("the mask is not a file")
    try:
        with open_file(file) as opened, Image.open(opened, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DecodeError(f"declares {image.width} x {image.height} pixels")
            step = _step(image)
            image.load()
            pixels = _pixels(image, step)
    except DecodeError:
        raise
    except Exception as error:  # Pillow's plugins raise a dozen kinds on bad bytes
        raise DecodeError(_reason(file, error)) from error
    if pixels.clear is not None and not transparent:
        raise DecodeError(
            f"the mask is transparent in part ({int(pixels.clear.sum())} pixels); give "
            "transparent=void or transparent=background"
        )
    return pixels


def _reason(file: Path | bytes, error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        with open_file(file) as opened:
            pointer = opened.read(40).startswith(b"version https://git-lfs")
        return "the mask is " + ("a Git LFS pointer" if pointer else "not an image")
    if isinstance(error, OSError) and error.errno is not None:
        return f"the mask: {os.strerror(error.errno).lower()}"
    return f"the mask: {error or type(error).__name__}"


def _step(image: ImageFile.ImageFile) -> int:
    """Return what Pillow multiplies greys by; it knows that before it loads them."""
    if image.format != "PNG" or not image.tile:
        return 1
    return {"L;4": 17, "L;2": 85}.get(str(image.tile[0][3]), 1)


def _pixels(image: Image.Image, step: int) -> Pixels:
    """Return the pixels of a loaded mask, turned as its EXIF asks."""
    table, lossy = np.zeros(0, np.uint32), image.format == "JPEG"
    upright, clear = _opaque(ImageOps.exif_transpose(image), image.format == "BMP")
    pixels = np.asarray(upright)
    if upright.mode == "RGB":
        values = _packed(pixels)
        if clear is not None:
            values[clear] = 0
        return Pixels(values, "rgb", table, lossy, clear=clear)
    if upright.mode not in _GREY:
        raise DecodeError(f"the mask has {upright.mode} pixels; save it as a grey PNG")
    if upright.mode == "I" and pixels.min() < 0:
        raise DecodeError("the mask has negative values")
    values = pixels.astype(np.uint32)
    if clear is not None:
        values[clear] = 0
    if upright.mode == "P":
        palette = np.array(image.getpalette("RGB"), np.uint8)
        return Pixels(values, "palette", _packed(palette.reshape(-1, 3)), lossy)
    bits = "bits" if upright.mode == "1" else "grey"
    return Pixels(values, bits, table, lossy, step, clear)


def _opaque(
    image: Image.Image, bmp: bool
) -> tuple[Image.Image, npt.NDArray[np.bool_] | None]:
    """Return a mask without its alpha channel, and which pixels are transparent.

    A pixel is, if it is so by more than half. Programs that write BMP files leave the
    fourth byte of pixels 0 throughout, and mean nothing by it.
    """
    if image.mode not in ("LA", "RGBA"):
        return image, None
    alpha = np.asarray(image.getchannel("A"))
    opaque = image.getchannel("L") if image.mode == "LA" else image.convert("RGB")
    if alpha.min() > 127 or (bmp and not alpha.any()):
        return opaque, None
    return opaque, alpha < 128


def _packed(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]:
    """Return colours 0xRRGGBB [...] of channels [..., 3]."""
    red, green, blue = np.moveaxis(rgb.astype(np.uint32), -1, 0)
    return red << 16 | green << 8 | blue


def refuse_pixels(
    pixels: npt.NDArray[np.uint32],
    wrong: npt.NDArray[np.bool_],
    why: str,
    colour: bool = True,
) -> NoReturn:
    """Raise `DecodeError` that names the first wrong pixel and how many there are."""
    y, x = np.argwhere(wrong)[0]
    value = written(int(pixels[y, x]), colour)
    raise DecodeError(
        f"the mask's value {value} at x={x}, y={y} {why} "
        f"({int(wrong.sum())} such pixels)"
    )


def written(value: int, colour: bool) -> str:
    """Return a value as options have it: a number, or six hexadecimal digits."""
    return f"{value:06x}" if colour else str(value)
