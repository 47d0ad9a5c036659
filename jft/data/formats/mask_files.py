"""Mask files as they are: numbers or colours, and which of them is which class."""

import os
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from jft.data.decode import FORMATS, MAX_PIXELS, DecodeError, open_file
from jft.data.listing import Encoded, File, stamp
from jft.types import VOID

MAX_CLASSES = 254
_NONE = 254  # a place that no class has, since there are at most 254
_GREY = ("1", "L", "P", "I;16", "I;16L", "I;16B", "I;16N", "I")


@dataclass(frozen=True, eq=False)
class Pixels:
    """The pixels of a mask file.

    Attributes:
        values: uint32 [H, W]: grey levels, places in the palette, or colours 0xRRGGBB.
        colour: Whether they are colours.
        lossy: Whether JPEG may have changed them.
    """

    values: npt.NDArray[np.uint32]
    colour: bool
    lossy: bool


def read_pixels(file: File, *, colour: bool | None = None) -> Pixels:
    """Read a mask file; one with a palette gives the places in it, not its colours.

    Args:
        file: Path, or the file's bytes.
        colour: True asks for colours: those of the palette, and greys as colours.
            False asks for numbers, which an RGB file holds if it is grey. None takes
            what the file has.

    Raises:
        DecodeError: It holds no mask: damaged, transparent in part, or float.
    """
    if isinstance(file, np.ndarray):
        raise DecodeError("the mask is no file")
    try:
        with open_file(file) as opened, Image.open(opened, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DecodeError(f"declares {image.width} x {image.height} pixels")
            image.load()
            lossy = image.format == "JPEG"
            values, coloured = _values(_opaque(ImageOps.exif_transpose(image)))
            if colour is not None and colour != coloured:
                convert = _to_colours if colour else _to_numbers
                values = convert(values, image.getpalette("RGB"))
            return Pixels(values, coloured if colour is None else colour, lossy)
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


def _opaque(image: Image.Image) -> Image.Image:
    """Take the alpha channel away, which has to be opaque throughout."""
    if image.mode not in ("LA", "RGBA"):
        return image
    if image.getchannel("A").getextrema() != (255, 255):
        raise DecodeError("the mask is transparent in part, which is no class")
    return image.getchannel("L") if image.mode == "LA" else image.convert("RGB")


def _values(image: Image.Image) -> tuple[npt.NDArray[np.uint32], bool]:
    """Return grey levels or places in the palette; or colours, and True."""
    pixels = np.asarray(image)
    if image.mode == "RGB":
        red, green, blue = np.moveaxis(pixels.astype(np.uint32), -1, 0)
        return _packed(red, green, blue), True
    if image.mode not in _GREY:
        raise DecodeError(f"the mask has {image.mode} pixels; save it as a grey PNG")
    if image.mode == "I" and pixels.min() < 0:
        raise DecodeError("the mask has negative values")
    return pixels.astype(np.uint32), False


def _packed(
    red: npt.NDArray[np.uint32],
    green: npt.NDArray[np.uint32],
    blue: npt.NDArray[np.uint32],
) -> npt.NDArray[np.uint32]:
    return (red << 16 | green << 8 | blue).astype(np.uint32, copy=False)


def _to_numbers(
    colours: npt.NDArray[np.uint32], palette: list[int] | None
) -> npt.NDArray[np.uint32]:
    blue = colours & np.uint32(0xFF)
    wrong = colours != blue * 0x010101
    if wrong.any():
        _refuse(colours, wrong, "is coloured, where other masks hold numbers")
    return blue.astype(np.uint32, copy=False)


def _to_colours(
    numbers: npt.NDArray[np.uint32], palette: list[int] | None
) -> npt.NDArray[np.uint32]:
    table = np.arange(256, dtype=np.uint32) * np.uint32(0x010101)
    if palette is not None:
        red, green, blue = np.array(palette, np.uint32).reshape(-1, 3).T
        table = _packed(red, green, blue)
    if numbers.max() >= len(table):
        _refuse(numbers, numbers >= len(table), "is no colour")
    return table[numbers]


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
        colour: Whether the values are colours.
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
        pixels = read_pixels(file, colour=self.colour).values
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
        """Return what changes with the mask's file."""
        return stamp(self.files, index)
