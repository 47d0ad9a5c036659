"""Masks that a run makes, as files: where they go, and that they replace none."""

import itertools
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from jft.data.masks.values import voc_colour
from jft.errors import InputError, StorageError


def make_way(names: Sequence[Path], output: str) -> list[Path]:
    """Return where the masks of images go, by `mask_paths`, and make the folders.

    Args:
        names: What the images are called, from the folder that a person named on.
        output: The folder for the masks.
    """
    masks = list(mask_paths(names, Path(os.path.expanduser(output))))
    there = [str(mask) for mask in masks if os.path.lexists(mask)]
    if there:
        more = f" and {len(there) - 1} more" if there[1:] else ""
        raise InputError(
            f"a mask would replace {there[0]!r}{more}; give another folder than "
            f"--output {output}, or move away what is in it"
        )
    try:
        for folder in dict.fromkeys(mask.parent for mask in masks):
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"cannot make the folder {str(error.filename)!r}: "
            f"{os.strerror(error.errno or 0).lower()}; give another --output"
        ) from None
    return masks


def mask_paths(names: Sequence[Path], folder: Path) -> Iterator[Path]:
    """Yield where each image's mask goes: into a folder at the image's path in its own.

    Of images whose masks would be one file, also on a disk that takes A and a for the
    same, the second and further ones get numbers, which make no name of another's.

    Args:
        names: What the images are called.
        folder: That of the masks.
    """
    plain = [name.with_name(f"{name.stem}.png") for name in names]
    taken = {_key(parent) for name in plain for parent in name.parents}
    free = {_key(name) for name in plain} - taken
    taken |= free
    numbers: defaultdict[str, Iterator[int]] = defaultdict(lambda: itertools.count(2))
    for name in plain:
        key, mask = _key(name), name
        if key in free:
            free.remove(key)
        else:
            while _key(mask) in taken:
                mask = name.with_name(f"{name.stem}-{next(numbers[key])}.png")
            taken.add(_key(mask))
        yield folder / mask


def _key(path: Path) -> str:
    """Return what is equal for all paths that may be one file."""
    return str(path).casefold()


def save_mask(found: npt.NDArray[np.uint8], path: Path) -> None:
    """Write class indices [H, W] as an indexed PNG in the colours of VOC.

    The file is there whole or not at all, and never replaces another.
    """
    mask = Image.fromarray(found)
    mask.putpalette(_palette())
    part = path.with_name(f".{os.getpid()}.part")
    try:
        mask.save(part, "PNG")
        if os.path.lexists(path):
            raise InputError(f"{str(path)!r} did not exist before; it is not changed")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@cache
def _palette() -> bytes:
    return b"".join(voc_colour(index).to_bytes(3, "big") for index in range(256))
