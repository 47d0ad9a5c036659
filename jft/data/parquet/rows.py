"""Random access to columns of Parquet files: by row groups, of which some are kept."""

import bisect
import functools
import os
import threading
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jft.data.decode import DecodeError
from jft.data.webdataset.files import file_stamp
from jft.errors import InputError

# What a process keeps of the row groups it read last, and the largest that is read:
# Parquet can only be unpacked a row group at a time.
_KEPT_BYTES = 2**28
MAX_GROUP_BYTES = 2**30


class _ChunkCache:
    """What this process read last of row groups, up to `_KEPT_BYTES` and one more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._chunks: OrderedDict[tuple[object, ...], Any] = OrderedDict()

    def chunk(self, file: str, check: int, group: int, column: str) -> Any:
        """Return a column of a row group; one is read at a time.

        A file that was written again is read again.
        """
        try:
            status = os.stat(file)
        except OSError as error:
            raise DecodeError(
                f"its row group cannot be read: {error.strerror}"
            ) from error
        key = file, check, status.st_size, status.st_mtime_ns, group, column
        with self._lock:
            if key in self._chunks:
                self._chunks.move_to_end(key)
                return self._chunks[key]
            chunk = _read(file, check, group, column)
            self._chunks[key] = chunk
            while len(self._chunks) > 1 and self._bytes() > _KEPT_BYTES:
                self._chunks.popitem(last=False)
            return chunk

    def _bytes(self) -> int:
        return sum(chunk.nbytes for chunk in self._chunks.values())


_cache = _ChunkCache()


def _read(file: str, check: int, group: int, column: str) -> Any:
    """Return a column of a row group, if the file's footer is still the same."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as opened:
            if _footer_check(Path(file), opened.metadata) != check:
                raise DecodeError("its file has changed since it was listed")
            table = opened.read_row_group(group, columns=[column], use_threads=False)
            return table.column(column)
    except (OSError, pa.ArrowException) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DecodeError(f"its row group cannot be read: {why}") from error


@dataclass(frozen=True)
class Groups:
    """Where the rows of some Parquet files are.

    Attributes:
        root: The folder that the files' names are relative to.
        groups: Name of the file, index of the row group in it, for each row group.
        starts: The first row of each row group, and the number of all rows.
        checks: A checksum of each file's footer, for each row group.
    """

    root: Path
    groups: tuple[tuple[str, int], ...]
    starts: tuple[int, ...]
    checks: tuple[int, ...]

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.starts[-1]

    def locate(self, row: int) -> tuple[str, int, int]:
        """Return the file's name, the row group and the row's index in that."""
        index = bisect.bisect_right(self.starts, row) - 1
        name, group = self.groups[index]
        return name, group, row - self.starts[index]

    def _check(self, row: int) -> int:
        return self.checks[bisect.bisect_right(self.starts, row) - 1]

    def keys(self) -> tuple[str, ...]:
        """Return a name for each row: that of the file, and the row in that."""
        keys: list[str] = []
        rows: dict[str, int] = {}
        for (name, _), start, end in zip(
            self.groups, self.starts, self.starts[1:], strict=False
        ):
            first = rows.get(name, 0)
            rows[name] = first + end - start
            keys += [f"{name}/{row}" for row in range(first, rows[name])]
        return tuple(keys)

    def row_checks(self) -> list[int]:
        """Return for each row the checksum of its file's footer."""
        counts = (
            end - start
            for start, end in zip(self.starts, self.starts[1:], strict=False)
        )
        pairs = zip(self.checks, counts, strict=True)
        return [check for check, count in pairs for _ in range(count)]

    def value(self, row: int, column: str) -> Any:
        """Return the value of a column in a row.

        Raises:
            DecodeError: It can no longer be read.
        """
        name, group, index = self.locate(row)
        chunk = _cache.chunk(str(self.root / name), self._check(row), group, column)
        try:
            return chunk[index].as_py()
        except (LookupError, ValueError) as error:
            raise DecodeError(f"its cell cannot be read: {error}") from error

    def stamp(self, row: int) -> str:
        """Return what changes with a row, which is not read: file, footer, index."""
        name, group, index = self.locate(row)
        file = file_stamp(self.root / name)
        return f"{file} {self._check(row)} {group} {index}"

    def full(self, row: int, leaf: str) -> bool:
        """Return whether no row around this one lacks a value, as the footer has it.

        Args:
            row: One of a row group.
            leaf: A column, or a part of one such as `image.bytes`.
        """
        name, group, _ = self.locate(row)
        return group in _full_groups(self.root / name, self._check(row), leaf)


def find_groups(root: Path, names: tuple[str, ...]) -> Groups:
    """Find the row groups of some files."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    groups: list[tuple[str, int]] = []
    starts, checks = [0], list[int]()
    for name in names:
        try:
            metadata = pq.read_metadata(root / name)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"cannot read {str(root / name)!r}: {error}") from error
        check = _footer_check(root / name, metadata)
        for index in range(metadata.num_row_groups):
            group = metadata.row_group(index)
            if group.total_byte_size > MAX_GROUP_BYTES:
                raise InputError(_too_large(root / name, index, group.total_byte_size))
            groups.append((name, index))
            starts.append(starts[-1] + group.num_rows)
            checks.append(check)
    return Groups(root, tuple(groups), tuple(starts), tuple(checks))


def _footer_check(path: Path, metadata: Any) -> int:
    """Return a checksum of a file's end: offsets, sizes and bounds of its columns."""
    with path.open("rb") as file:
        file.seek(-min(metadata.serialized_size + 8, path.stat().st_size), 2)
        return zlib.crc32(file.read())


@functools.lru_cache(maxsize=64)
def _full_groups(path: Path, check: int, leaf: str) -> frozenset[int]:
    """Return the row groups in which the footer counts no null in a column."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    full: set[int] = set()
    try:
        metadata = pq.read_metadata(path)
        leaves = range(metadata.num_columns)
        columns = [i for i in leaves if metadata.schema.column(i).path == leaf]
        for group in range(metadata.num_row_groups if columns else 0):
            counts = metadata.row_group(group).column(columns[0]).statistics
            if counts is not None and counts.has_null_count and not counts.null_count:
                full.add(group)
    except (OSError, pa.ArrowException):
        return frozenset()
    return frozenset(full)


def _too_large(path: Path, index: int, size: int) -> str:
    return (
        f"row group {index} of {str(path)!r} has {size:,} bytes, and at most "
        f"{MAX_GROUP_BYTES:,} are read at once. Write the file again in smaller ones: "
        "pyarrow.parquet.write_table(table, FILE, row_group_size=100)"
    )
