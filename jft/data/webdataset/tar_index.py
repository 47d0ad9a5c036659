"""The positions of files in tar archives: headers are read once, then any file."""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jft.data.decode import DecodeError
from jft.data.webdataset.files import file_stamp
from jft.errors import InputError

# A long name is read into memory at once, as many bytes as the header gives.
_MAX_HEADER_BYTES = 2**20
_MAX_MEMBER_BYTES = 2**29
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}


class _Headers:
    """A file that gives out headers alone, and goes forward only.

    `tarfile` itself reads as much as a header declares, and follows one with a negative
    size back to where it came from.
    """

    def __init__(self, file: Any) -> None:
        self._file = file

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        if not 0 <= size <= _MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header declares {size:,} bytes")
        return self._file.read(size)

    def seek(self, position: int) -> None:
        """Move forward to a position."""
        if position < self._file.tell():
            raise tarfile.ReadError("a header declares a negative size")
        self._file.seek(position)

    def tell(self) -> int:
        """Return the position."""
        return self._file.tell()


@dataclass(frozen=True)
class Member:
    """A file in an archive: its name, and where its bytes are."""

    name: str
    offset: int
    size: int


def read_members(path: Path) -> Iterator[Member | None]:
    """Yield the regular files in an archive; None for each other entry."""
    try:
        with path.open("rb") as file:
            _require_plain(path, file.read(6))
            file.seek(0)
            archive = tarfile.TarFile(fileobj=_Headers(file), mode="r")  # pyright: ignore[reportArgumentType]
            kept: Any = vars(archive)["members"]
            while (member := archive.next()) is not None:
                kept.clear()  # tarfile would keep them all, a kilobyte each
                if member.isreg() and not member.issparse():
                    yield Member(member.name, member.offset_data, member.size)
                else:
                    yield None
            _require_end(path, file, archive.offset)
    except (
        tarfile.TarError,
        OSError,
        ValueError,
        OverflowError,
        RecursionError,
    ) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{str(path)!r} is not a complete tar archive: {error}"
        ) from error


def _require_plain(path: Path, start: bytes) -> None:
    for magic, name in _COMPRESSED.items():
        if start.startswith(magic):
            raise InputError(
                f"{str(path)!r} is compressed ({name}), so that no file in it can be "
                "read without all before it; unpack it to a plain .tar first"
            )


def _require_end(path: Path, file: Any, offset: int) -> None:
    """Raise `InputError` unless an archive ends here, as tarfile believes.

    An end is two empty blocks, and zeros behind them. tarfile takes a damaged header
    for it, and one empty block.
    """
    file.seek(offset)
    end = file.read(2 * tarfile.BLOCKSIZE)
    if end[: tarfile.BLOCKSIZE].strip(b"\0"):
        raise InputError(f"{str(path)!r} is damaged: no tar header at byte {offset:,}")
    if len(end) < 2 * tarfile.BLOCKSIZE:
        raise InputError(
            f"{str(path)!r} is cut short at byte {offset + len(end):,}: an archive "
            "ends with two empty blocks"
        )
    while not end.strip(b"\0"):
        if not (end := file.read(2**20)):
            return
    raise InputError(
        f"{str(path)!r} does not end at byte {offset:,}, where an empty block ends it: "
        "a header is damaged, or it is several archives, one after the other; give "
        "each a file of its own"
    )


@dataclass(frozen=True, eq=False)
class Members:
    """Files in archives, by their positions.

    Attributes:
        root: The folder that archives' names are relative to.
        archives: Their names.
        which: Of each file, its index in `archives`, int32 [N].
        offsets: Where its bytes begin, int64 [N].
        sizes: How many they are, int64 [N].
    """

    root: Path
    archives: tuple[str, ...]
    which: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self.which)

    def __getitem__(self, index: int) -> bytes:
        """Return the bytes of one file.

        Raises:
            DecodeError: They can no longer be read, or are too many.
        """
        size = int(self.sizes[index])
        if size > _MAX_MEMBER_BYTES:
            raise DecodeError(
                f"has {size:,} bytes; at most {_MAX_MEMBER_BYTES:,} are read"
            )
        try:
            with (self.root / self.archives[int(self.which[index])]).open("rb") as file:
                file.seek(int(self.offsets[index]))
                data = file.read(size)
        except OSError as error:
            raise DecodeError(
                f"its archive cannot be read: {error.strerror}"
            ) from error
        if len(data) < size:
            raise DecodeError("its archive is cut short")
        return data

    def stamp(self, index: int) -> str:
        """Return what changes with one file: its archive, and its position in that."""
        archive = self.root / self.archives[int(self.which[index])]
        return f"{file_stamp(archive)} {self.offsets[index]} {self.sizes[index]}"
