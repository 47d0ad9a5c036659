"""Where the images of a COCO file are."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from jft.data.coco.file import CocoFile, refuse
from jft.data.describe import few, size_of, with_slashes
from jft.errors import InputError


def find_images(file: CocoFile, folders: Sequence[Path]) -> tuple[Path, list[str]]:
    """Return the first folder that holds an image of a file, and all paths within it.

    Backslashes divide folders unless a file has them in its name. Where no image is
    found so, as of absolute paths, the last part of each path is looked for.
    """
    given = [image.name for image in file.images.values()]
    last = [PureWindowsPath(name).name for name in given]
    for folder in folders:
        relative = [_relative(name, folder) for name in given]
        if any(name and size_of(folder / name) >= 0 for name in relative):
            return folder, _distinct(file, [*map(str, relative)])
    for folder in folders:
        if any(name and size_of(folder / name) >= 0 for name in last):
            return folder, _distinct(file, last)
    looked = few([str(folder) for folder in folders])
    raise InputError(
        f"{str(file.path)!r}: no image is found, such as {given[0]!r}; images=FOLDER "
        f"names the folder. Looked in{looked}"
    )


def _relative(name: str, folder: Path) -> str:
    """Return a path with slashes; an absolute one is empty."""
    if PureWindowsPath(name).anchor:
        return ""
    return str(PurePosixPath(with_slashes(name, folder)))


def _distinct(file: CocoFile, names: list[str]) -> list[str]:
    if absolute := [
        i.name for i, n in zip(file.images.values(), names, strict=True) if not n
    ]:
        refuse(file.path, f"{len(absolute)} file names are absolute{few(absolute)}")
    counts = Counter(names)
    if twice := [name for name, count in counts.items() if count > 1]:
        refuse(file.path, f"images have the same file name{few(twice)}")
    return names
