"""Reads `.npz`, which NumPy's `savez` writes and in which BiT publishes its weights.

A zip archive with one `.npy` file for each array: the format is that of
https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html. Its header is a
Python dict; a pattern reads it here, where NumPy would parse it as Python.
"""

import re
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from jft.errors import InputError
from jft.weights.lazy import Contents
from jft.weights.ranges import MOST_DIMENSIONS, byte_size
from jft.weights.zip_archive import ZipArchive

SUFFIX = ".npy"
"""Ends the name of every member."""

_MAGIC = b"\x93NUMPY"
_LONGEST_HEADER = 4096
# Python 2 wrote 3L for 3.
_HEADER = re.compile(
    rb"\{'descr': (?P<descr>'[^'\\]*'|\[.*\]), "
    rb"'fortran_order': (?P<fortran>True|False), "
    rb"'shape': \((?P<shape>(?:\d+L?, ?)*(?:\d+L?)?)\),? *\}[ \n]*"
)
_DTYPES = {
    descr: np.dtype(descr)
    for descr in (
        *("<f2", "<f4", "<f8", "|b1"),
        *("|i1", "<i2", "<i4", "<i8", "|u1", "<u2", "<u4", "<u8"),
    )
}


class _Layout(NamedTuple):
    """Where the elements of an array begin, and what they are."""

    start: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    order: str


def read_npz(archive: ZipArchive) -> Contents:
    """Find every array; each keeps its member's name without `.npy`."""
    layouts = {name: _layout(archive, name) for name in archive.members}
    readers = {
        name.removesuffix(SUFFIX): partial(_array, archive, name, layout)
        for name, layout in layouts.items()
    }
    return Contents(dict(readers), {})


def _array(archive: ZipArchive, name: str, layout: _Layout) -> np.ndarray:
    elements = archive.content(name)[layout.start :].view(layout.dtype)
    return elements.reshape(layout.shape, order="F" if layout.order == "F" else "C")


def _layout(archive: ZipArchive, name: str) -> _Layout:
    head = archive.content(name, most=_LONGEST_HEADER).tobytes()
    try:
        start, header = _header(head)
        layout = _parsed(start, header)
        size = archive.members[name].size - layout.start
        if byte_size(layout.dtype, layout.shape) != size:
            raise InputError(
                f"has {size} bytes, where {layout.dtype} of shape {layout.shape} "
                f"needs {byte_size(layout.dtype, layout.shape)}"
            )
    except InputError as error:
        raise InputError(f"its member {name!r:.200} {error}") from None
    return layout


def _header(head: bytes) -> tuple[int, bytes]:
    """Return where the header ends, and the header; version 1 has a shorter length."""
    if head[:6] != _MAGIC or head[6:7] not in (b"\1", b"\2", b"\3"):
        raise InputError("is not a NumPy array")
    begin = 10 if head[6] == 1 else 12
    end = begin + int.from_bytes(head[8:begin], "little")
    if end > len(head):
        raise InputError(f"has a header of {end} bytes, or is cut short")
    return end, head[begin:end]


def _parsed(start: int, header: bytes) -> _Layout:
    match = _HEADER.fullmatch(header)
    if match is None:
        raise InputError(f"has a header that NumPy never writes: {header!r:.80}")
    descr = match["descr"].decode(errors="replace").strip("'")
    if descr == "|O":
        raise InputError(
            "contains Python objects, which cannot be read without running code"
        )
    if descr not in _DTYPES:
        raise InputError(f"has dtype {descr!r:.40}; valid are {', '.join(_DTYPES)}")
    sizes = [size.strip(b" L") for size in match["shape"].split(b",")]
    shape = tuple(int(size) for size in sizes if size)
    if len(shape) > MOST_DIMENSIONS or any(size >= 2**63 for size in shape):
        raise InputError(f"has the impossible shape {shape!s:.80}")
    order = "F" if match["fortran"] == b"True" else "C"
    return _Layout(start, _DTYPES[descr], shape, order)
