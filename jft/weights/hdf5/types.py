"""Decodes the HDF5 messages that describe an array or an attribute."""

import struct
from typing import Any

import numpy as np

from jft.errors import InputError
from jft.weights.ranges import MOST_DIMENSIONS

OPAQUE = np.dtype("V2")
"""The type under which h5py stores bfloat16, which HDF5 lacks."""

_FIXED, _FLOAT, _OPAQUE, _VARIABLE = 0, 1, 5, 9
_BIG_ENDIAN, _SIGNED, _TEXT = 1, 8, 1
# Bits of: precision offset and size; exponent offset and size; mantissa offset and
# size; exponent bias. They make a float of so many bytes that of IEEE 754.
_IEEE = {
    2: (0, 16, 10, 5, 0, 10, 15),
    4: (0, 32, 23, 8, 0, 23, 127),
    8: (0, 64, 52, 11, 0, 52, 1023),
}


def dtype_of(message: bytes) -> np.dtype[Any]:
    """Return the NumPy type that a datatype message describes.

    Raises:
        InputError: If it is not a little-endian integer, IEEE float or `OPAQUE`.
        struct.error: If it is cut short.
    """
    kind, bits, _, size = struct.unpack_from("<2BHI", message)
    if kind & 15 == _OPAQUE and size == OPAQUE.itemsize:
        return OPAQUE
    if kind & 15 in (_FIXED, _FLOAT) and bits & _BIG_ENDIAN:
        raise InputError("is big-endian")
    whole = kind & 15 == _FIXED and size in (1, 2, 4, 8)
    if whole and struct.unpack_from("<2H", message, 8) == (0, 8 * size):
        return np.dtype(f"<{'i' if bits & _SIGNED else 'u'}{size}")
    real = kind & 15 == _FLOAT and size in _IEEE
    if real and struct.unpack_from("<2H4BI", message, 8) == _IEEE[size]:
        return np.dtype(f"<f{size}")
    raise InputError("has neither integers nor floating-point numbers")


def shape_of(message: bytes) -> tuple[int, ...]:
    """Return the shape that a dataspace message describes.

    Raises:
        struct.error: If it is cut short.
    """
    version, rank, _, kind = struct.unpack_from("<4B", message)
    # Version 2 has no padding, and a kind: scalar, simple, or without any element.
    if version not in (1, 2) or rank > MOST_DIMENSIONS or (version, kind) == (2, 2):
        raise InputError("has a shape that Keras never writes")
    return struct.unpack_from(f"<{rank}Q", message, 8 if version == 1 else 4)


def text_offset(attribute: bytes, name: bytes) -> tuple[int, int] | None:
    """Return where the text of an attribute is: a global heap, and an index in it.

    None for another attribute than `name`, or one that is no text of variable length.

    Raises:
        struct.error: If it is cut short.
    """
    version, _, name_size, type_size, space_size = struct.unpack_from(
        "<2B3H", attribute
    )
    # Version 1 pads each part to 8 bytes; version 3 adds the name's encoding.
    start, unit = (9 if version == 3 else 8), (8 if version == 1 else 1)
    parts: list[bytes] = []
    for size in (name_size, type_size, space_size):
        parts.append(attribute[start : start + size])
        start += -(-size // unit) * unit
    kind, bits = struct.unpack_from("<2B", parts[1])
    if parts[0].rstrip(b"\0") != name or (kind & 15, bits & 15) != (_VARIABLE, _TEXT):
        return None
    _, heap, index = struct.unpack_from("<IQI", attribute, start)
    return heap, index
