"""A file of squares: written in any order, mapped into memory by who reads it."""

import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from jft.errors import DamageError, StorageError

INDEX = "index.npz"
"""Is beside the files of a folder that is complete."""


@dataclass(frozen=True, eq=False)
class Mapped:
    """Squares in a file, indexed like an array of them; pickled as the file's path.

    Attributes:
        path: A `.npy` file, uint8 [M, S, S, 3] or [M, S, S].
        indices: int64 [N], where the N squares are among the M.
        sums: uint32 [M], the CRC-32 of each.
    """

    path: Path
    indices: npt.NDArray[np.int64]
    sums: npt.NDArray[np.uint32]

    def __len__(self) -> int:
        """Return the number of squares N."""
        return len(self.indices)

    def __getitem__(self, index: int) -> npt.NDArray[np.uint8]:
        """Return one square; `InputError` if the file is damaged, which is noted.

        Each square is checked when it is first read.
        """
        row = int(self.indices[index])
        square = self._array[row]
        if self._sound[row]:
            return square
        if zlib.crc32(square) != self.sums[row]:
            with suppress(OSError):  # without its index the next run builds it again
                (self.path.parent / INDEX).unlink()
            raise DamageError(
                f"the cache {str(self.path.parent)!r} is damaged; run again: it will "
                "be built again, and the run goes on from its last checkpoint"
            )
        self._sound[row] = True
        return square

    @cached_property
    def _array(self) -> npt.NDArray[np.uint8]:
        return np.load(self.path, mmap_mode="r", allow_pickle=False)

    @cached_property
    def _sound(self) -> npt.NDArray[np.bool_]:
        """Which squares this process has checked; a sum takes as long as a copy."""
        return np.zeros(len(self.sums), np.bool_)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open file, and what was checked, to this process."""
        own = ("_array", "_sound")
        return {k: v for k, v in self.__dict__.items() if k not in own}


class SquareFile:
    """A `.npy` file of squares, written in any order and by several threads.

    Attributes:
        sums: uint32 [M], the CRC-32 of each square.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        """Make the file for squares uint8 `shape`, [M, S, S, 3] or [M, S, S]."""
        header = io.BytesIO()
        form = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_2_0(header, form)
        self.sums = np.zeros(shape[0], np.uint32)
        self._folder = path.parents[1]
        self._start, self._bytes = header.tell(), int(np.prod(shape[1:]))
        self._file = path.open("wb", buffering=0)
        self._file.write(header.getvalue())
        self._file.truncate(self._start + self._bytes * shape[0])

    def put(self, index: int, square: npt.NDArray[np.uint8]) -> None:
        """Write one square. Not through a map: a full disk would be a SIGBUS."""
        content = memoryview(square.tobytes())
        self.sums[index] = zlib.crc32(content)
        at = self._start + index * self._bytes
        with written(self._folder):
            while content:
                done = os.pwrite(self._file.fileno(), content, at)
                content, at = content[done:], at + done

    def flush(self) -> None:
        """Wait until all of it is on the disk."""
        os.fsync(self._file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()


@contextmanager
def written(folder: Path) -> Iterator[None]:
    """Name the cache in the error if it cannot be written."""
    try:
        yield
    except OSError as error:
        why = os.strerror(error.errno).lower() if error.errno else str(error)
        raise StorageError(f"cannot write the cache {str(folder)!r}: {why}") from error
