"""Reads the blocks that an HDF5 file consists of: headers, name tables, heaps.

The format: https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t11.html.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from jft.errors import InputError
from jft.weights.ranges import FileRange

DAMAGED = "is a damaged HDF5 file, or is cut short"
TOO_LARGE = "is an HDF5 file with too many or too large parts"
OTHER = "is an HDF5 file of a kind that Keras does not write"
"""What may be wrong with a file, for messages."""

DATASPACE, DATATYPE, LAYOUT = 0x01, 0x03, 0x08
"""Kinds of messages: the shape, type and offset of an array."""

_CONTINUATION, _SHARED = 0x10, 2
# Keras's ResNet-50 has 3000 blocks, of 0.6 MB together.
_MOST_BLOCKS, _LONGEST_BLOCKS = 50_000, 16 << 20
_MOST_MESSAGES, _LONGEST_NAME = 1000, 255


class Message(NamedTuple):
    """A part of an object's header.

    Attributes:
        kind: Shape, type or attribute.
        offset: Offset of its body in the file, in bytes.
        body: Its bytes.
    """

    kind: int
    offset: int
    body: bytes


class Blocks:
    """The blocks of a file; reading one twice is an error, which ends cycles.

    Args:
        file: The file; its addresses count from its beginning.
    """

    def __init__(self, file: FileRange) -> None:
        self.file = file
        self._seen: set[int] = set()
        self._taken = 0
        self._heaps: dict[int, dict[int, bytes]] = {}

    def _read(self, address: int, size: int) -> bytes:
        self._seen.add(address)
        self._taken += size
        if len(self._seen) > _MOST_BLOCKS or self._taken > _LONGEST_BLOCKS:
            raise InputError(TOO_LARGE)
        return self.file.read(address, size)

    def first(self, address: int, size: int) -> bytes:
        """Return a block that was not read before."""
        if address in self._seen:
            raise InputError(
                "is an HDF5 file that uses a part twice: a cycle or a link"
            )
        return self._read(address, size)

    def text(self, heap: int, index: int) -> str:
        """Return a short text of a global heap, which may be asked often."""
        if heap not in self._heaps:
            self._heaps[heap] = dict(self._texts(heap))
        if index not in self._heaps[heap]:
            raise InputError(DAMAGED)
        return self._heaps[heap][index].decode(errors="replace")

    def _texts(self, heap: int) -> Iterator[tuple[int, bytes]]:
        magic, size = struct.unpack("<4s4xQ", self.first(heap, 16))
        if magic != b"GCOL":
            raise InputError(DAMAGED)
        data = self._read(heap, size)
        position = 16
        while position + 16 <= size:
            index, length = struct.unpack_from("<H6xQ", data, position)
            # Index 0 is the free rest; a network's configuration is not a name.
            if index == 0:
                return
            if length <= _LONGEST_NAME:
                yield index, data[position + 16 : position + 16 + length]
            position += 16 + -(-length // 8) * 8


def messages(blocks: Blocks, address: int) -> list[Message]:
    """Return the messages of an object's header.

    Raises:
        struct.error: If it is cut short.
    """
    version, size = struct.unpack("<B7xI4x", blocks.first(address, 16))
    if version != 1:
        raise InputError(OTHER)
    found: list[Message] = []
    waiting = [(address + 16, size)]
    while waiting:
        start, size = waiting.pop(0)
        data = blocks.first(start, size)
        position = 0
        while position + 8 <= size:
            kind, length, flags = struct.unpack_from("<2HB", data, position)
            body = data[position + 8 : position + 8 + length]
            if flags & _SHARED and kind in (DATATYPE, DATASPACE, LAYOUT):
                raise InputError(OTHER)
            if kind == _CONTINUATION:
                waiting.append(struct.unpack_from("<2Q", body))
            elif kind:
                found.append(Message(kind, start + position + 8, body))
            if len(found) > _MOST_MESSAGES:
                raise InputError(TOO_LARGE)
            position += 8 + length
    return found


def links(blocks: Blocks, tree: int, heap: int) -> Iterator[tuple[str, int]]:
    """Yield the name and the address of each object of a group, sorted by name.

    Its B-tree is at the address `tree`, its names at `heap`.

    Raises:
        struct.error: If it is cut short.
    """
    magic, size, _, offset = struct.unpack("<4s4x3Q", blocks.first(heap, 32))
    if magic != b"HEAP":
        raise InputError(DAMAGED)
    names = blocks.first(offset, size)
    for leaf in _leaves(blocks, tree):
        magic, count = struct.unpack("<4s2xH", blocks.first(leaf, 8))
        if magic != b"SNOD":
            raise InputError(DAMAGED)
        entries = blocks.first(leaf + 8, 40 * count)
        for start, address, kind in struct.iter_unpack("<2QI20x", entries):
            end = names.find(b"\0", start, start + _LONGEST_NAME + 1)
            name = names[start:end]
            if end <= start or b"/" in name:
                raise InputError(DAMAGED)
            shown = name.decode(errors="replace")
            if kind == 2:
                raise InputError(f"its link {shown!r:.200} leads to another object")
            yield shown, address


def _leaves(blocks: Blocks, root: int) -> Iterator[int]:
    """Yield the addresses of a group's symbol tables, in the order of their names."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        magic, kind, level, count = struct.unpack("<4s2BH16x", blocks.first(node, 24))
        if magic != b"TREE" or kind != 0:
            raise InputError(DAMAGED)
        # Keys and children alternate, and begin and end with a key.
        children = struct.iter_unpack("<8xQ", blocks.first(node + 24, 16 * count))
        below = [child for (child,) in children]
        if level == 0:
            yield from below
        else:
            waiting += reversed(below)
