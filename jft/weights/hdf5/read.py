"""Reads the part of HDF5 that h5py writes for Keras: groups, arrays, text attributes.

The format: https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t11.html, and
of it superblock 0, version 1 object headers, groups with a symbol table, and arrays in
one piece. The HDF5 library is not used because damaged files can crash it. What Keras
never writes (links to other files, compressed chunks) is refused.
"""

import struct
from collections.abc import Collection, Iterator
from itertools import islice
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from jft.errors import InputError
from jft.weights.hdf5.blocks import (
    DAMAGED,
    DATASPACE,
    DATATYPE,
    LAYOUT,
    OTHER,
    TOO_LARGE,
    Blocks,
    Message,
    links,
    messages,
)
from jft.weights.hdf5.types import OPAQUE, dtype_of, shape_of, text_offset
from jft.weights.ranges import FileRange, byte_size

SIGNATURE = b"\x89HDF\r\n\x1a\n"
"""The first bytes of every HDF5 file."""

_NOWHERE = 2**64 - 1
_MOST_OBJECTS, _LONGEST_PATH = 20_000, 1000
# Kinds of messages.
_LINK_INFO, _LINK, _EXTERNAL, _FILTERS, _ATTRIBUTE, _TABLE = 2, 6, 7, 11, 12, 17


class Dataset(NamedTuple):
    """An array of the file.

    Attributes:
        dtype: The type of its elements.
        shape: Its shape.
        data: Its bytes, exactly as many as it needs.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    data: FileRange


class Hdf5Object:
    """A group or an array, as its header describes it.

    Attributes:
        path: Its '/'-joined name, '' for the root group.
        is_dataset: Whether it is an array, and no group.
    """

    def __init__(self, blocks: Blocks, path: str, address: int) -> None:
        self.path = path
        self._blocks = blocks
        self._messages = messages(blocks, address)
        self.is_dataset = any(m.kind == LAYOUT for m in self._messages)

    def dataset(self) -> Dataset:
        """Return its type, shape and offset."""
        try:
            kinds = {message.kind for message in self._messages}
            if kinds & {_FILTERS, _EXTERNAL}:
                raise InputError(
                    "is compressed or in another file; Keras writes neither"
                )
            dtype = dtype_of(self._needed(DATATYPE).body)
            if dtype == OPAQUE:
                if self.text("dtype") != "bfloat16":
                    raise InputError("has an unknown type")
                dtype = np.dtype(ml_dtypes.bfloat16)
            shape = shape_of(self._needed(DATASPACE).body)
            return Dataset(dtype, shape, self._data(byte_size(dtype, shape)))
        except struct.error:
            raise InputError(f"its array {self.path!r:.200} is damaged") from None
        except InputError as error:
            raise InputError(f"its array {self.path!r:.200} {error}") from None

    def text(self, name: str) -> str | None:
        """Return a text attribute; None if there is none of this name."""
        try:
            for message in self._messages:
                if message.kind == _ATTRIBUTE:
                    offset = text_offset(message.body, name.encode())
                    if offset is not None:
                        return self._blocks.text(*offset)
        except struct.error:
            raise InputError(f"{DAMAGED}: an attribute of {self.path!r:.200}") from None
        return None

    def links(self) -> Iterator[tuple[str, int]]:
        """Yield the name and the address of each object in the group."""
        if any(m.kind in (_LINK, _LINK_INFO) for m in self._messages):
            raise InputError(OTHER)
        for message in self._messages:
            if message.kind == _TABLE:
                table = struct.unpack_from("<2Q", message.body)
                yield from links(self._blocks, *table)

    def _needed(self, kind: int) -> Message:
        for message in self._messages:
            if message.kind == kind:
                return message
        raise InputError("is damaged: its header is incomplete")

    def _data(self, size: int) -> FileRange:
        layout = self._needed(LAYOUT)
        version, kind = struct.unpack_from("<2B", layout.body)
        if (version, kind) == (3, 0):
            (length,) = struct.unpack_from("<H", layout.body, 2)
            offset = layout.offset + 4
        elif (version, kind) == (3, 1):
            offset, length = struct.unpack_from("<2Q", layout.body, 2)
        else:
            raise InputError("is stored in chunks; Keras writes one piece")
        if size == 0:
            offset = length = 0
        if offset == _NOWHERE:
            raise InputError("has no data in the file")
        if length != size:
            raise InputError(f"has {length} bytes in the file and needs {size}")
        return self._blocks.file.part(offset, length)


def objects(file: FileRange, skip: Collection[str]) -> Iterator[Hdf5Object]:
    """Yield the root group, and each group and array below it, groups first.

    Groups whose path is in `skip` are left out, with their contents.

    Raises:
        InputError: If the file is damaged, has cycles, or parts Keras never writes.
    """
    blocks = Blocks(file)
    waiting = [("", _root(file))]
    try:
        while waiting:
            path, address = waiting.pop()
            found = Hdf5Object(blocks, path, address)
            yield found
            if len(path) > _LONGEST_PATH or len(waiting) > _MOST_OBJECTS:
                raise InputError(TOO_LARGE)
            if not found.is_dataset:
                inside = islice(found.links(), _MOST_OBJECTS)
                below = [(f"{path}/{n}".lstrip("/"), a) for n, a in inside]
                waiting += [link for link in reversed(below) if link[0] not in skip]
    except struct.error:
        raise InputError(DAMAGED) from None


def _root(file: FileRange) -> int:
    """Return the address of the root group, from the superblock."""
    if file.size < 96:
        raise InputError(DAMAGED)
    head = file.read(0, 96)
    if head[8] != 0 or head[13:15] != b"\x08\x08":
        raise InputError(f"{OTHER} (superblock {head[8]})")
    base, _, end, _, _, root = struct.unpack_from("<6Q", head, 24)
    if base != 0 or end > file.size:
        raise InputError(f"{DAMAGED}: it has {file.size} bytes and needs {end}")
    return root
