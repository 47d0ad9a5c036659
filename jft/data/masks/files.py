"""Mask files as they are: numbers or colours, and which of them is which class."""

import os
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, NoReturn

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from jft.data.decode import FORMATS, MAX_PIXELS, DecodeError, open_file
from jft.data.listing import Encoded, File, stamp
from jft.types import VOID

MAX_CLASSES = 254
SATURATED = (255, 65535)  # foreground, where nothing else but 0 occurs
WHITE = 0xFFFFFF
_NONE = 254  # a place that no class has, since there are at most 254
_GREY = ("1", "L", "P", "I;16", "I;16L", "I;16B", "I;16N", "I")
_GREYS = np.arange(256, dtype=np.uint32) * np.uint32(0x010101)


@dataclass(frozen=True, eq=False)
class Pixels:
    """The pixels of a mask file, as it has them.

    Attributes:
        values: uint32 [H, W]: 0 and 1 of a file of one bit, grey levels, places in the
            palette, or colours 0xRRGGBB.
        kind: Which of these they are.
        table: uint32 [n], the colours of the palette; of other kinds n is 0.
        lossy: Whether JPEG may have changed them.
        step: What greys of 4 or 2 bits have been multiplied by, as white is 255: 17 or
            85; else 1.
    """

    values: npt.NDArray[np.uint32]
    kind: Literal["bits", "grey", "palette", "rgb"]
    table: npt.NDArray[np.uint32]
    lossy: bool = False
    step: int = 1

    def numbers(self, white: int) -> npt.NDArray[np.uint32]:
        """Return the values as numbers: of a palette, the places.

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
                _refuse(values, wrong, "is coloured, where other masks hold numbers")
            return values & np.uint32(0xFF)
        return values

    def colours(self) -> npt.NDArray[np.uint32]:
        """Return the values as colours; `DecodeError` where one stands for none."""
        values, table = self.values, self.table
        if self.kind == "rgb":
            return values
        if self.kind == "bits":
            return values * np.uint32(WHITE)
        if self.kind == "grey":
            table = _GREYS
        wrong = values >= len(table)
        if wrong.any():
            _refuse(values, wrong, "is no colour", False)
        return table[values]


def grey(colours: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
    """Tell which colours are greys."""
    return colours == (colours & np.uint32(0xFF)) * np.uint32(0x010101)


def white(numbers: Collection[int]) -> int:
    """Return what white in a file of one bit stands for beside such numbers."""
    return next((top for top in (*SATURATED, 1) if top in numbers), SATURATED[0])


def read_pixels(file: File) -> Pixels:
    """Read a mask file.

    Args:
        file: Path, or the file's bytes.

    Raises:
        DecodeError: It holds no mask: damaged, transparent in part, or float.
    """
    if isinstance(file, np.ndarray):
        raise DecodeError("the mask is no file")
    try:
        with open_file(file) as opened, Image.open(opened, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DecodeError(f"declares {image.width} x {image.height} pixels")
            step = _step(image)
            image.load()
            return _pixels(image, step)
    except DecodeError:
        raise
    except Exception as error:  # Pillow's plugins raise a dozen kinds on bad bytes
        raise DecodeError(_reason(error)) from error


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "the mask is no image"
    if isinstance(error, OSError) and error.errno is not None:
        return f"the mask: {os.strerror(error.errno).lower()}"
    return f"the mask: {error or type(error).__name__}"


def _step(image: ImageFile.ImageFile) -> int:
    """Return what Pillow multiplies greys by; it knows that before it loads them."""
    if image.format != "PNG" or not image.tile:
        return 1
    return {"L;4": 17, "L;2": 85}.get(str(image.tile[0][3]), 1)


def _pixels(image: Image.Image, step: int) -> Pixels:
    """Return the pixels of a loaded mask, turned as its EXIF says."""
    table, lossy = np.zeros(0, np.uint32), image.format == "JPEG"
    upright = _opaque(ImageOps.exif_transpose(image))
    pixels = np.asarray(upright)
    if upright.mode == "RGB":
        return Pixels(_packed(pixels), "rgb", table, lossy)
    if upright.mode not in _GREY:
        raise DecodeError(f"the mask has {upright.mode} pixels; save it as a grey PNG")
    if upright.mode == "I" and pixels.min() < 0:
        raise DecodeError("the mask has negative values")
    values = pixels.astype(np.uint32)
    if upright.mode == "P":
        palette = np.array(image.getpalette("RGB"), np.uint8)
        return Pixels(values, "palette", _packed(palette.reshape(-1, 3)), lossy)
    return Pixels(values, "bits" if upright.mode == "1" else "grey", table, lossy, step)


def _opaque(image: Image.Image) -> Image.Image:
    """Take the alpha channel away, which has to be opaque throughout."""
    if image.mode not in ("LA", "RGBA"):
        return image
    if image.getchannel("A").getextrema() != (255, 255):
        raise DecodeError("the mask is transparent in part, which is no class")
    return image.getchannel("L") if image.mode == "LA" else image.convert("RGB")


def _packed(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]:
    """Return colours 0xRRGGBB [...] of channels [..., 3]."""
    red, green, blue = np.moveaxis(rgb.astype(np.uint32), -1, 0)
    return red << 16 | green << 8 | blue


def _refuse(
    pixels: npt.NDArray[np.uint32],
    wrong: npt.NDArray[np.bool_],
    why: str,
    colour: bool = True,
) -> NoReturn:
    """Raise `DecodeError` that tells the first wrong pixel and how many there are."""
    y, x = np.argwhere(wrong)[0]
    value = written(int(pixels[y, x]), colour)
    raise DecodeError(
        f"the mask's value {value} at x={x}, y={y} {why} "
        f"({int(wrong.sum())} such pixels)"
    )


def written(value: int, colour: bool) -> str:
    """Return a value as options have it: a number, or six hexadecimal digits."""
    return f"{value:06x}" if colour else str(value)


@dataclass(frozen=True)
class Coding:
    """Which values of mask files are which class.

    Attributes:
        values: The value of each class, K numbers or colours 0xRRGGBB.
        void: Values that do not count.
        colour: Whether the values are colours; else they are numbers, of files with a
            palette the places in it.
        nearest: Take a value that is none of these for the nearest one.
    """

    values: tuple[int, ...]
    void: tuple[int, ...] = ()
    colour: bool = False
    nearest: bool = False

    def places(self, file: File) -> npt.NDArray[np.uint8]:
        """Return the class places [H, W] of a mask file, `VOID` where none counts.

        Raises:
            DecodeError: It holds no mask, or one with a value that is no class.
        """
        read = read_pixels(file)
        pixels = read.colours() if self.colour else read.numbers(white(self.values))
        known = np.array([*self.values, *self.void], np.uint32)
        places = np.full(len(known), VOID, np.uint8)
        places[: len(self.values)] = np.arange(len(self.values))
        order = np.argsort(known)
        known, places = known[order], places[order]
        # A mask has long runs: look up the ends of each alone.
        flat = pixels.ravel()
        starts = np.flatnonzero(np.r_[True, flat[1:] != flat[:-1]])
        firsts = flat[starts]
        if self.nearest:
            found = _nearest(firsts, known, self.colour)
        else:
            found = np.searchsorted(known, firsts).clip(max=len(known) - 1)
        codes = places[found]
        if not self.nearest:
            codes[known[found] != firsts] = _NONE
        lengths = np.diff(np.r_[starts, len(flat)])
        result = np.repeat(codes, lengths).reshape(pixels.shape)
        if (codes == _NONE).any():
            _refuse(pixels, result == _NONE, "is no class", self.colour)
        return result


def _nearest(
    values: npt.NDArray[np.uint32], known: npt.NDArray[np.uint32], colour: bool
) -> npt.NDArray[np.intp]:
    """Return the place of the nearest of `known`, by distance in grey or in RGB."""
    distinct, inverse = np.unique(values, return_inverse=True)
    distance = np.zeros((len(distinct), len(known)), np.int64)
    for shift in (16, 8, 0) if colour else (0,):
        bits = 0xFF if colour else 0xFFFFFFFF
        ours, theirs = ((v >> shift & bits).astype(np.int64) for v in (distinct, known))
        distance += (ours[:, None] - theirs) ** 2
    return distance.argmin(axis=1)[inverse]


@dataclass(frozen=True, eq=False)
class CodedMasks:
    """Masks by their files.

    Attributes:
        files: The mask files.
        coding: Which of their values is which class.
    """

    files: Encoded
    coding: Coding

    def __len__(self) -> int:
        """Return the number of masks."""
        return len(self.files)

    def __getitem__(self, index: int) -> npt.NDArray[np.uint8]:
        """Return one mask [H, W]; `DecodeError` if it cannot be used."""
        return self.coding.places(self.files[index])

    def stamp(self, index: int) -> str:
        """Return what changes with the mask's file, and with what its values mean."""
        return f"{self.coding} {stamp(self.files, index)}"
