"""Masks that lie as files within larger files, and what their values mean."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from jft.data.decode import DecodeError
from jft.data.formats.mask_files import Coding, read_pixels
from jft.data.formats.mask_options import read_options
from jft.data.formats.mask_values import VOID_VALUE, Found, given, inferred
from jft.data.listing import Encoded, stamp
from jft.errors import InputError


@dataclass(frozen=True, eq=False)
class EncodedMasks:
    """Masks out of encoded files.

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
        file = self.files[index]
        if isinstance(file, np.ndarray):
            raise DecodeError("the mask is no file")
        return self.coding.places(file)

    def stamp(self, index: int) -> str:
        """Return what changes with the mask's file."""
        return stamp(self.files, index)


def find_coding(
    files: Sequence[Encoded], options: Mapping[str, str], names: tuple[str, ...] | None
) -> tuple[Coding, tuple[str, ...]]:
    """Return which values are which class, and the class names.

    All masks are read once, unless the options tell their `values`. Numbers without
    gaps that begin at 1 or above are classes too, called by their numbers, since
    their file names none; 255 is void. All else is as `masks:PATH` has it.

    Args:
        files: The masks of each split.
        options: May have `values`, `void` and `nearest`.
        names: What the classes 0, 1, ... are called; None if nobody says.

    Raises:
        InputError: The values could be anything; they are listed.
    """
    wanted = read_options({k: v for k, v in options.items() if k != "classes"})
    wanted = replace(wanted, names=names)
    if wanted.values is not None:
        return given(wanted)
    found = _find_values(files)
    numbers = sorted({*found.masks} - {VOID_VALUE})
    counted = list(range(numbers[0], numbers[0] + len(numbers))) if numbers else []
    if wanted.names is None and numbers == counted[:254] and numbers[:1] != [0]:
        wanted = replace(wanted, names=tuple(map(str, numbers)), source="the masks")
    return inferred(found, wanted)


def _find_values(files: Sequence[Encoded]) -> Found:
    """Read all masks and collect their values, but for those that cannot be read."""
    masks: Counter[int] = Counter()
    good = rgb = coloured = lossy = False
    why = "there are none"
    for pixels in _read(files, None):
        if isinstance(pixels, str):
            why = pixels
            continue
        good, rgb, lossy = True, rgb or pixels.colour, lossy or pixels.lossy
        masks.update(pixels.values)
        grey = all(value == (value & 0xFF) * 0x010101 for value in pixels.values)
        coloured = coloured or (pixels.colour and not grey)
    if not good:
        raise InputError(f"no mask can be read: {why}")
    if rgb:  # the same kind of value from all: colours, or else numbers
        again = (one for one in _read(files, coloured) if not isinstance(one, str))
        masks = Counter(value for one in again for value in one.values)
    return Found(masks, coloured, lossy)


@dataclass(frozen=True)
class _Distinct:
    """The distinct values of a mask, and whether they are colours, and lossy."""

    values: list[int]
    colour: bool
    lossy: bool


def _read(files: Sequence[Encoded], colour: bool | None) -> Iterable[_Distinct | str]:
    """Yield the distinct values of each mask, or what is wrong with it."""

    def read(where: tuple[Encoded, int]) -> _Distinct | str:
        try:
            file = where[0][where[1]]
            if isinstance(file, np.ndarray):
                raise DecodeError("the mask is no file")
            pixels = read_pixels(file, colour=colour)
        except DecodeError as error:
            return str(error)
        flat = pixels.values.ravel()
        ends = np.r_[True, flat[1:] != flat[:-1]]  # runs are long, and sorting is slow
        return _Distinct(np.unique(flat[ends]).tolist(), pixels.colour, pixels.lossy)

    places = [(some, i) for some in files for i in range(len(some))]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(read, places)
