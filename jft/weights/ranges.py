"""Runs of bytes of an open file, read into memory when they are asked for."""

import hashlib
import math
import mmap
import os
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from jft.errors import InputError

MOST_DIMENSIONS = 32
"""No tensor of a network has more; NumPy stops at 64."""

_STEP = 1 << 20
_HUGE = 1 << 21  # bytes of a huge page


def byte_size(dtype: np.dtype[Any], shape: tuple[int, ...]) -> int:
    """Return the size in bytes of an array with this dtype and shape.

    Raises:
        InputError: If NumPy cannot have such a shape, even without elements.
    """
    if math.prod(max(n, 1) for n in shape) * dtype.itemsize >= 2**63:
        raise InputError(f"has the impossible shape {shape}")
    return math.prod(shape) * dtype.itemsize


def own_pages(size: int) -> np.ndarray:
    """Return bytes [size] that begin a page of memory, and give it back when freed.

    What malloc keeps of large arrays that are read one after another would be a third
    of the network.
    """
    pages = mmap.mmap(-1, max(size, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if size >= _HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
        # To be given small pages one by one takes as long as reading the file.
        with suppress(OSError):
            pages.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(pages, np.uint8, size)


class FileRange:
    """A run of bytes of a regular file; no read goes outside it.

    The file stays open as long as a range of it is in use, so replacing it under
    the same name is harmless; a change in place is an error.
    """

    def __init__(self, file: "_OpenFile", start: int, size: int) -> None:
        self._file = file
        self._start = start
        self.size = size

    @classmethod
    def open(cls, path: Path) -> "FileRange":
        """Return the range of the whole file.

        Raises:
            OSError: If it cannot be opened.
        """
        file = _OpenFile(path)
        return cls(file, 0, file.size)

    def part(self, start: int, size: int) -> "FileRange":
        """Return a range inside this one, `start` counted from its beginning."""
        self._check(start, size)
        return FileRange(self._file, self._start + start, size)

    def read(self, start: int, size: int) -> bytes:
        """Return a copy of some bytes."""
        self._check(start, size)
        buffer = bytearray(size)
        self._file.fill(memoryview(buffer), self._start + start)
        return bytes(buffer)

    def array(self, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray:
        """Return an array of its own memory, filled from the beginning of the range."""
        size = byte_size(dtype, shape)
        self._check(0, size)
        # As bytes, because not every dtype (bfloat16) has a buffer to read into.
        buffer = own_pages(size) if size >= _HUGE else np.empty(size, np.uint8)
        self._file.fill(buffer.data, self._start)
        return buffer.view(dtype).reshape(shape)

    def _check(self, start: int, size: int) -> None:
        if not 0 <= start <= start + size <= self.size:
            raise InputError(
                f"is cut short or damaged: it refers to bytes {start} to "
                f"{start + size} of {self.size}"
            )

    def sha256(self) -> str:
        """Return the hex digest of the bytes, read step by step."""
        digest = hashlib.sha256()
        buffer = memoryview(bytearray(min(_STEP, self.size)))
        for start in range(0, self.size, _STEP):
            piece = buffer[: min(_STEP, self.size - start)]
            self._file.fill(piece, self._start + start)
            digest.update(piece)
        return digest.hexdigest()


class _OpenFile:
    """A descriptor that is closed with its last user, and the file's first stamp."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._descriptor)
        self._stamp = self._state()
        self.size = self._stamp[0]

    def _state(self) -> tuple[int, int]:
        status = os.fstat(self._descriptor)
        return status.st_size, status.st_mtime_ns

    def fill(self, buffer: memoryview, start: int) -> None:
        done = 0
        try:
            while done < len(buffer):
                # One call reads at most 2 GiB.
                count = os.preadv(self._descriptor, [buffer[done:]], start + done)
                if count == 0:
                    break
                done += count
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}") from None
        if done < len(buffer) or self._state() != self._stamp:
            raise InputError("changed while it was read; read it again")
