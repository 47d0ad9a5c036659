"""Reads zip archives: a directory that is checked as a whole, members on demand.

The format: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT. Python's
`zipfile` takes ten times the directory's size of memory, and allows members that
overlap.
"""

import struct
import zlib
from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from jft.errors import InputError
from jft.weights.ranges import FileRange

_STORED, _DEFLATED = 0, 8
_ENCRYPTED = 1
_LONGEST_DIRECTORY = 4 << 20
_MOST_MEMBERS = 20_000
_STEP = 1 << 20
# What members may inflate to, besides twice the size of the archive.
_INFLATED = 16 << 20

_END = struct.Struct("<4s4H2IH")
_END_64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR_64 = struct.Struct("<4sIQI")
_ENTRY = struct.Struct("<4s6H3I5H2I")
_LOCAL = struct.Struct("<4s5H3I2H")
_DAMAGED = "is cut short or damaged: a zip archive without a readable directory"


class Member(NamedTuple):
    """A file in the archive, as the directory describes it.

    Attributes:
        method: 0 for stored, 8 for deflated.
        crc: The CRC-32 of its content.
        packed: The bytes that it takes in the archive.
        size: The bytes of its content.
        header: Where its own header is.
    """

    method: int
    crc: int
    packed: int
    size: int
    header: int


class ZipArchive:
    """The members of a zip archive, by name.

    Args:
        file: The archive.

    Raises:
        InputError: If it is damaged, has members that overlap, share a name or have a
            name that leads out of a folder, or would inflate to much more than it is.
    """

    def __init__(self, file: FileRange) -> None:
        start, size = _find_directory(file)
        self.members = _members(file.read(start, size))
        self._packed = _packed(file.part(0, start), self.members)
        inflated = sum(m.size for m in self.members.values() if m.method == _DEFLATED)
        if inflated > 2 * file.size + _INFLATED:
            raise InputError(
                f"has {file.size} bytes and decompresses to {inflated}, too many "
                "for weights"
            )

    def stored(self, name: str, role: str = "") -> FileRange:
        """Return where the content of an uncompressed member is.

        In a message `role` follows its name: `, the data of 'w',`.
        """
        shown = f"its member {name!r:.200}{role:.200}"
        if name not in self.members:
            raise InputError(f"{shown} is missing")
        if self.members[name].method != _STORED:
            raise InputError(f"{shown} is compressed, which its writer never does")
        return self._packed[name]

    def content(self, name: str, role: str = "", most: int | None = None) -> np.ndarray:
        """Return a member's bytes, inflated, which its CRC confirms.

        With `most`, only so many bytes, which the CRC then does not confirm.
        """
        member, packed = self.members[name], self._packed[name]
        size = member.size if most is None else min(most, member.size)
        shown = f"its member {name!r:.200}{role:.200}"
        if member.method == _STORED:
            content = packed.part(0, size).array(np.dtype(np.uint8), (size,))
        else:
            content = _inflated(packed, size, shown)
        # torch can be set to write no checksum, which leaves a 0.
        if size == member.size and member.crc not in (0, zlib.crc32(content.data)):
            raise InputError(f"{shown} is cut short or damaged")
        return content


def _find_directory(file: FileRange) -> tuple[int, int]:
    """Find the directory through the record that ends the archive."""
    tail_start = max(0, file.size - _END.size - 0xFFFF)
    tail = file.read(tail_start, file.size - tail_start)
    offset = tail.rfind(b"PK\5\6")
    if offset < 0 or len(tail) - offset < _END.size:
        raise InputError(_DAMAGED)
    *_, size, start, comment = _END.unpack_from(tail, offset)
    end = tail_start + offset
    if comment != len(tail) - offset - _END.size:
        raise InputError(_DAMAGED)
    size, start, end = _find_directory_64(file, end) or (size, start, end)
    # Nothing may precede the archive, or be between directory and end.
    if start + size != end:
        raise InputError(_DAMAGED)
    if size > _LONGEST_DIRECTORY:
        raise InputError(f"is a zip archive with a directory of {size} bytes")
    return start, size


def _find_directory_64(file: FileRange, end: int) -> tuple[int, int, int] | None:
    """Find it through the zip64 record, which torch writes in small archives too."""
    if end < _LOCATOR_64.size + _END_64.size:
        return None
    record = file.read(end - _LOCATOR_64.size - _END_64.size, _END_64.size)
    locator = file.read(end - _LOCATOR_64.size, _LOCATOR_64.size)
    if record[:4] != b"PK\6\6" or locator[:4] != b"PK\6\7":
        return None
    *_, size, start = _END_64.unpack(record)
    return size, start, end - _LOCATOR_64.size - _END_64.size


def _members(directory: bytes) -> dict[str, Member]:
    members: dict[str, Member] = {}
    position = 0
    while position < len(directory):
        try:
            magic, *fields = _ENTRY.unpack_from(directory, position)
        except struct.error:
            raise InputError(_DAMAGED) from None
        if magic != b"PK\1\2" or len(members) == _MOST_MEMBERS:
            raise InputError(_DAMAGED)
        name_end = position + _ENTRY.size + fields[9]
        extra_end = name_end + fields[10]
        name = _name(directory[position + _ENTRY.size : name_end], members)
        members[name] = _member(name, fields, directory[name_end:extra_end])
        position = extra_end + fields[11]
    return members


def _name(raw: bytes, members: Mapping[str, Member]) -> str:
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        raise InputError(f"has a member whose name is not UTF-8: {raw!r:.80}") from None
    # No member is ever unpacked to a file; an honest writer still has no such names.
    if "\\" in name or "\0" in name or ".." in name.split("/") or name[:1] in ("", "/"):
        raise InputError(f"has a member with the unsafe name {name!r:.80}")
    if name in members:
        raise InputError(f"has two members named {name!r:.80}")
    return name


def _member(name: str, fields: list[int], extra: bytes) -> Member:
    _, _, flags, method, _, _, crc, packed, size, *_, header = fields
    if 0xFFFFFFFF in (packed, size, header):
        size, packed, header = _wide(size, packed, header, extra)
    if flags & _ENCRYPTED or method not in (_STORED, _DEFLATED):
        raise InputError(
            f"its member {name!r:.200} is encrypted, or compressed without deflate"
        )
    if method == _STORED and packed != size:
        raise InputError(f"its member {name!r:.200} is damaged")
    return Member(method, crc, packed, size, header)


def _wide(size: int, packed: int, header: int, extra: bytes) -> list[int]:
    """Replace the fields that have no room in 32 bits by those of the zip64 extra."""
    values = [size, packed, header]
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, position)
        data = extra[position + 4 : position + 4 + length]
        if kind == 1:
            for index, value in enumerate(values):
                if value == 0xFFFFFFFF and len(data) >= 8:
                    values[index] = int.from_bytes(data[:8], "little")
                    data = data[8:]
        position += 4 + length
    return values


def _packed(file: FileRange, members: Mapping[str, Member]) -> dict[str, FileRange]:
    """Find the bytes of each member, after its own header; none may overlap."""
    found: dict[str, FileRange] = {}
    spans: list[tuple[int, int]] = []
    for name, member in members.items():
        shown = f"its member {name!r:.200} is outside the file or overlaps another"
        if member.header + _LOCAL.size > file.size:
            raise InputError(shown)
        local = _LOCAL.unpack(file.read(member.header, _LOCAL.size))
        start = member.header + _LOCAL.size + local[-2] + local[-1]
        if local[0] != b"PK\3\4" or start + member.packed > file.size:
            raise InputError(shown)
        found[name] = file.part(start, member.packed)
        spans.append((member.header, start + member.packed))
    for (_, end), (begin, _) in pairwise(sorted(spans)):
        if begin < end:
            raise InputError("has members that overlap")
    return found


def _inflated(packed: FileRange, size: int, shown: str) -> np.ndarray:
    """Inflate to exactly `size` bytes, or to the first `size`, step by step."""
    content = np.empty(size, np.uint8)
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    done = position = 0
    waiting = b""
    while done < size:
        if not waiting:
            count = min(_STEP, packed.size - position)
            waiting = packed.read(position, count)
            position += count
        try:
            piece = engine.decompress(waiting, min(_STEP, size - done))
        except zlib.error:
            raise InputError(f"{shown} is cut short or damaged") from None
        if not piece and not engine.unconsumed_tail and position == packed.size:
            raise InputError(f"{shown} is cut short")
        content[done : done + len(piece)] = np.frombuffer(piece, np.uint8)
        done += len(piece)
        waiting = engine.unconsumed_tail
    return content
