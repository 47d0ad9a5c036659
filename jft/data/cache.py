"""Decoded squares in files that later runs and other processes map into memory."""

import atexit
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from jft.data.geometry import Square
from jft.data.listing import ClassMaps, Encoded, Listing, stamp
from jft.data.squares import INDEX, Mapped, SquareFile, written
from jft.errors import StorageError

FORMAT = 1  # raised whenever the same files would give other pixels, or other files
DECODERS = ("pillow", "simplejpeg")

Put = Callable[[int, npt.NDArray[np.uint8], npt.NDArray[np.uint8] | None], None]
"""Takes the index of an example in the listing, its square, and that of its mask."""


Shapes = dict[str, tuple[int, ...]]  # of each array


@dataclass(frozen=True, eq=False)
class Stored:
    """A split as a cache has it.

    Attributes:
        images: Those that could be read.
        masks: Theirs, if there are any.
        bad: Of each other one, its index in the listing, and the reason.
    """

    images: Mapped
    masks: Mapped | None
    bad: dict[int, str]


@dataclass(frozen=True)
class Cache:
    """A folder of decoded splits, each in a folder named by what it was made of.

    Attributes:
        folder: Their folder; made when it is needed.
        own: Whether it is only for worker processes, in a folder the user did not name.
    """

    folder: Path
    own: bool = False

    def stored(
        self,
        listing: Listing,
        square: Square,
        fill: Callable[[Put], dict[int, str]],
    ) -> Stored:
        """Return a split, which is decoded only if it is not there whole.

        Of several processes one decodes while the others wait.

        Args:
            listing: The split.
            square: What its images are brought to.
            fill: Decodes all of it into what it is given; returns as `Stored.bad`.

        Raises:
            StorageError: The cache cannot be written.
        """
        path = self.folder / name_of(listing, square)
        n, size = len(listing.keys), square.preprocess.size
        shapes: Shapes = {"images": (n, size, size, square.channels)}
        if listing.masks is not None:
            shapes["masks"] = (n, size, size)
        found = _open(path, shapes)
        if found is None:
            with written(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
                lock = FileLock(path.with_suffix(".lock")).acquire()
            with lock:
                found = _open(path, shapes)
                if found is None:
                    self._require_space(shapes)
                    found = _build(path, shapes, fill)
        return found

    def _require_space(self, shapes: Shapes) -> None:
        """Raise `StorageError` now, and not when hours of decoding filled the disk."""
        needed = sum(int(np.prod(shape)) for shape in shapes.values())
        with written(self.folder):
            free = shutil.disk_usage(self.folder).free
        if needed <= free:
            return
        space = (
            f"{needed / 1e9:.1f} GB in {str(self.folder)!r}, and {free / 1e9:.1f} GB "
            "are free; "
        )
        if self.own:
            raise StorageError(
                f"the worker processes need {space}give --cache FOLDER on another disk "
                "(or set TMPDIR), or --workers 0"
            )
        raise StorageError(f"the cache needs {space}take another --cache, or none")


def temporary() -> Path:
    """Return a new folder that is removed when this process ends.

    Worker processes read what is in memory from there, instead of a copy for each.
    """
    folder = tempfile.mkdtemp(prefix="jft-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def name_of(listing: Listing, square: Square) -> str:
    """Return a hex SHA-256 of all that squares depend on: of labels, masks alone.

    The files count by their `stamp`, masks by their files' and by what these mean.
    """
    preprocess = square.preprocess
    digest = hashlib.sha256()

    def add(*fields: object) -> None:
        digest.update(b"".join(os.fsencode(str(field)) + b"\0" for field in fields))

    add(FORMAT, *map(_version, DECODERS), preprocess.crop, square.fast)
    add(preprocess.size, preprocess.resized, preprocess.interpolation)
    add(square.channels)
    add(preprocess.fill if preprocess.crop == "letterbox" else "")
    parts: list[Encoded | ClassMaps] = [listing.images]
    if listing.masks is not None:
        parts.append(listing.masks)
    for i, key in enumerate(listing.keys):
        add(key, *(stamp(part, i) for part in parts))
    return digest.hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _open(path: Path, shapes: Shapes) -> Stored | None:
    """Return what is in the folder, or None if it is not complete."""
    try:
        # A zip file: it has a checksum of its own for each array. Opened here, as
        # NumPy leaves a damaged one open.
        with (path / INDEX).open("rb") as file:
            index = np.load(file, allow_pickle=False)
            sums = {name: index[name] for name in shapes}
            bad = dict(zip(index["bad"].tolist(), index["why"].tolist(), strict=True))
        good = np.setdiff1d(np.arange(shapes["images"][0]), list(bad))
        for name, shape in shapes.items():
            array = np.load(path / f"{name}.npy", mmap_mode="r", allow_pickle=False)
            if array.shape != shape or array.dtype != np.uint8:
                return None
    except Exception:  # damaged files raise a dozen kinds
        return None
    mapped = {k: Mapped(path / f"{k}.npy", good, sums[k]) for k in shapes}
    return Stored(mapped["images"], mapped.get("masks"), bad)


def _build(
    path: Path,
    shapes: Shapes,
    fill: Callable[[Put], dict[int, str]],
) -> Stored:
    """Decode a split into a folder that gets its name when it is complete."""
    part = path.with_suffix(".part")
    for old in (part, path):  # left by a process that was killed, or damaged
        shutil.rmtree(old, ignore_errors=True)
    try:
        with written(path.parent):
            part.mkdir()
        _write(part, shapes, fill)
        with written(path.parent):
            part.rename(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    stored = _open(path, shapes)
    assert stored is not None
    return stored


def _write(
    part: Path,
    shapes: Shapes,
    fill: Callable[[Put], dict[int, str]],
) -> None:
    """Write the files of a split, and last of all the file that marks them complete."""
    with ExitStack() as stack:
        with written(part.parent):
            files = {
                name: stack.enter_context(SquareFile(part / f"{name}.npy", shape))
                for name, shape in shapes.items()
            }

        def put(i: int, *squares: npt.NDArray[np.uint8] | None) -> None:
            for file, square in zip(files.values(), squares, strict=False):
                assert square is not None
                file.put(i, square)

        bad = fill(put)
        with written(part.parent):
            for file in files.values():
                file.flush()
    indices, why = np.array(list(bad), np.int64), np.array(list(bad.values()), np.str_)
    arrays: dict[str, Any] = {name: file.sums for name, file in files.items()}
    with written(part.parent):
        np.savez(part / INDEX, bad=indices, why=why, **arrays)
