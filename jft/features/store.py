"""Features in files of the user's cache folder, which later runs map into memory.

Each entry is a folder named by a digest of all that its content depends on. It is
written under another name and renamed when it is complete, so it is there whole or not
at all. Every block of rows has a checksum, which is compared whenever a run opens it.
"""

import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from jft.config.folders import cache_folder
from jft.data.squares import written
from jft.errors import InputError

LIMIT_GB = 20.0
VARIABLE = "JFT_FEATURES_GB"
_BLOCK = 2**26  # bytes of a checksum
_ARRAY, _RECORD = "features.npy", "record.json"

Array = npt.NDArray[np.float32]
Blocks = Callable[[], Iterator[Array]]
"""Computes the rows of an array, [b, ...] at a time, in order."""


def folder() -> Path:
    """Return the folder of all entries; it need not exist."""
    return cache_folder() / "features"


def limit() -> int:
    """Return how many bytes all entries may have together.

    Raises:
        InputError: `JFT_FEATURES_GB` is not a number.
    """
    text = os.environ.get(VARIABLE, "") or str(LIMIT_GB)
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):  # NaN included
        raise InputError(
            f"{VARIABLE} must be a number of gigabytes, at least 0, got {text!r}"
        )
    return int(value * 1e9)


def space() -> int:
    """Return the bytes that a new entry may have: of the limit, and of the disk."""
    here = folder()
    while not here.exists():
        here = here.parent
    if not os.access(here, os.W_OK):
        return 0
    return min(limit(), shutil.disk_usage(here).free * 9 // 10)


@dataclass(frozen=True, eq=False)
class Entry:
    """An array of features.

    Attributes:
        array: float32 [N, ...], mapped from its file or in memory.
        hit: Whether it was there before.
    """

    array: Array
    hit: bool


def stored(key: str, shape: tuple[int, ...], blocks: Blocks) -> Entry:
    """Return an entry, which is computed only if it is not there whole.

    Of several processes one computes while the others wait.

    Args:
        key: Digest of all that the content depends on.
        shape: Of the array.
        blocks: Computes its rows.

    Raises:
        StorageError: The cache cannot be written.
    """
    path = folder() / key
    found = _open(path, shape)
    if found is not None:
        return Entry(found, hit=True)
    with written(folder()):
        folder().mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{path}.lock").acquire()
    with lock:
        found = _open(path, shape)
        if found is not None:
            return Entry(found, hit=True)
        _build(path, shape, blocks)
        found = _open(path, shape)
        assert found is not None, f"{path} was damaged while it was written"
        shrink(keep=key)
    return Entry(found, hit=False)


def held(shape: tuple[int, ...], blocks: Blocks) -> Entry:
    """Return features that are computed into memory.

    Args:
        shape: Of the array.
        blocks: Computes its rows.
    """
    array, row = np.empty(shape, np.float32), 0
    for block in blocks():
        array[row : row + len(block)] = block
        row += len(block)
    return Entry(array, hit=False)


def _open(path: Path, shape: tuple[int, ...]) -> Array | None:
    """Return what is in a folder; None if it is absent, incomplete or damaged."""
    try:
        record = json.loads((path / _RECORD).read_text())
        array = np.load(path / _ARRAY, mmap_mode="r", allow_pickle=False)
        sound = array.shape == shape and array.dtype == np.float32
        if not (sound and record["sums"] == list(_sums(array))):
            return None
        with suppress(OSError):
            os.utime(path / _RECORD)  # the time of its last use
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return array


def _sums(array: Array) -> Iterator[int]:
    """Yield the CRC-32 of each block of rows."""
    rows = max(_BLOCK // max(array[:1].nbytes, 1), 1)
    for first in range(0, len(array), rows):
        yield zlib.crc32(np.ascontiguousarray(array[first : first + rows]).data)


def _build(path: Path, shape: tuple[int, ...], blocks: Blocks) -> None:
    """Compute an entry in a folder of another name, and rename that when complete."""
    shutil.rmtree(path, ignore_errors=True)  # damaged
    with written(path.parent):
        part = Path(tempfile.mkdtemp(".part", f"{path.name}.", path.parent))
    try:
        with written(path.parent):
            _write(part, shape, blocks)
            part.rename(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write(part: Path, shape: tuple[int, ...], blocks: Blocks) -> None:
    header: Any = {"descr": "<f4", "fortran_order": False, "shape": shape}
    with (part / _ARRAY).open("wb") as file:
        np.lib.format.write_array_header_2_0(file, header)
        for block in blocks():
            file.write(np.ascontiguousarray(block, "<f4").data)
        file.flush()
        os.fsync(file.fileno())
    array = np.load(part / _ARRAY, mmap_mode="r", allow_pickle=False)
    (part / _RECORD).write_text(json.dumps({"sums": list(_sums(array))}))


def shrink(keep: str) -> None:
    """Remove what is used least recently until all entries fit in `limit`.

    What killed processes have left is removed too. A file that another process has
    mapped stays readable for it.

    Args:
        keep: The entry that stays in any case.
    """
    for part in folder().glob("*.part"):
        _remove(part, part.name.partition(".")[0], keep)
    entries = [path for path in folder().iterdir() if path.suffix == ""]
    sizes = {path: _size(path) for path in entries}
    total = sum(size for size, _ in sizes.values())
    for path in sorted(entries, key=lambda path: sizes[path][1]):
        if total <= limit():
            break
        if _remove(path, path.name, keep):
            total -= sizes[path][0]


def _size(path: Path) -> tuple[int, float]:
    """Return the bytes of an entry, and when it was used last."""
    try:
        used = (path / _RECORD).stat().st_mtime
        return sum(file.stat().st_size for file in path.iterdir()), used
    except OSError:
        return 0, 0.0


def _remove(path: Path, key: str, keep: str) -> bool:
    """Remove a folder unless its entry is being computed; return whether it was."""
    if key == keep:
        return False
    lock = FileLock(folder() / f"{key}.lock")
    try:
        with lock.acquire(timeout=0):
            shutil.rmtree(path, ignore_errors=True)
            with suppress(OSError):
                Path(lock.lock_file).unlink()
    except (Timeout, OSError):
        return False
    return True
