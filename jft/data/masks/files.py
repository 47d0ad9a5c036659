"""Masks out of files: which of their values is which class."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jft.data.decode import DecodeError
from jft.data.listing import Encoded, File, stamp
from jft.data.masks.pixels import read_pixels, refuse_pixels, white
from jft.types import VOID

MAX_CLASSES = 254
_NONE = 254  # an index that no class has, since there are at most 254


@dataclass(frozen=True)
class Coding:
    """Which values of mask files are which class.

    Attributes:
        values: The value of each class, K numbers or colours 0xRRGGBB.
        void: Values that do not count.
        colour: Whether the values are colours; else they are numbers, of files with a
            palette the indices in it.
        nearest: Take a value that is not one of these for the nearest one.
        transparent: What transparent pixels are: `void`, `background` (the value 0), or
            no mask at all (`no`).
    """

    values: tuple[int, ...]
    void: tuple[int, ...] = ()
    colour: bool = False
    nearest: bool = False
    transparent: str = "no"

    def indices(self, file: File) -> npt.NDArray[np.uint8]:
        """Return the class indices [H, W] of a mask file, `VOID` where none counts.

        Raises:
            DecodeError: It does not hold a mask, or a value is not a class.
        """
        read = read_pixels(file, transparent=self.transparent != "no")
        pixels = read.colours() if self.colour else read.numbers(white(self.values))
        known = np.array([*self.values, *self.void], np.uint32)
        indices = np.full(len(known), VOID, np.uint8)
        indices[: len(self.values)] = np.arange(len(self.values))
        order = np.argsort(known)
        known, indices = known[order], indices[order]
        # A mask has long runs: look up the ends of each alone.
        flat = pixels.ravel()
        starts = np.flatnonzero(np.r_[True, flat[1:] != flat[:-1]])
        firsts = flat[starts]
        if self.nearest:
            found = _nearest(firsts, known, self.colour)
        else:
            found = np.searchsorted(known, firsts).clip(max=len(known) - 1)
        codes = indices[found]
        if not self.nearest:
            codes[known[found] != firsts] = _NONE
        lengths = np.diff(np.r_[starts, len(flat)])
        result = np.repeat(codes, lengths).reshape(pixels.shape)
        if read.clear is not None and self.transparent == "void":
            result[read.clear] = VOID
            codes = result
        if (codes == _NONE).any():
            refuse_pixels(pixels, result == _NONE, "is not a class", self.colour)
        return result


def _nearest(
    values: npt.NDArray[np.uint32], known: npt.NDArray[np.uint32], colour: bool
) -> npt.NDArray[np.intp]:
    """Return the index of the nearest of `known`, by distance in grey or in RGB."""
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
        return self.coding.indices(self.files[index])

    def stamp(self, index: int) -> str:
        """Return what changes with the mask's file, and with what its values mean."""
        return f"{self.coding} {stamp(self.files, index)}"


@dataclass(frozen=True, eq=False)
class MergedMasks:
    """Masks of several files each, such as one for each object of an image.

    Attributes:
        masks: All files, those of one image one after another.
        counts: How many files each image has.
        background: The class that is below all others.
    """

    masks: CodedMasks
    counts: tuple[int, ...]
    background: int

    def __len__(self) -> int:
        """Return the number of masks."""
        return len(self.counts)

    def parts(self, index: int) -> range:
        """Return the indices of the files of one mask."""
        start = sum(self.counts[:index])
        return range(start, start + self.counts[index])

    def __getitem__(self, index: int) -> npt.NDArray[np.uint8]:
        """Return one mask [H, W]; void is on top, and the background below.

        Raises:
            DecodeError: A file cannot be used, or two have different classes or sizes.
        """
        result, *others = (self.masks[i] for i in self.parts(index))
        for other in others:
            if other.shape != result.shape:
                raise DecodeError("the masks of the image have different sizes")
            below, above = (m == self.background for m in (result, other))
            clash = ~below & ~above & (result != other) & (other != VOID)
            if (clash & (result != VOID)).any():
                y, x = np.argwhere(clash & (result != VOID))[0]
                raise DecodeError(f"its masks have different classes at x={x}, y={y}")
            result = np.where(below | (other == VOID), other, result)
        return result

    def stamp(self, index: int) -> str:
        """Return what changes with the files of a mask."""
        return " ".join(self.masks.stamp(i) for i in self.parts(index))
