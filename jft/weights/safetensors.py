"""Reads safetensors: a JSON header with each tensor's offsets, then the bytes.

The format: https://huggingface.co/docs/safetensors. The header is checked here and the
tensors are read one by one, because the library maps the file, and a mapped file that
is cut short ends the process.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple, cast

import ml_dtypes
import numpy as np

from jft.errors import InputError
from jft.weights.lazy import Contents
from jft.weights.ranges import MOST_DIMENSIONS, FileRange, byte_size
from jft.weights.strict_json import check_length, parse_json

_DTYPES = {
    "F16": np.float16,
    "F32": np.float32,
    "F64": np.float64,
    "BF16": ml_dtypes.bfloat16,
    "I8": np.int8,
    "I16": np.int16,
    "I32": np.int32,
    "I64": np.int64,
    "U8": np.uint8,
    "U16": np.uint16,
    "U32": np.uint32,
    "U64": np.uint64,
    "BOOL": np.bool_,
}


_KEYS = {"dtype", "shape", "data_offsets"}


class _Entry(NamedTuple):
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    begin: int
    end: int


def read_safetensors(file: FileRange) -> Contents:
    """Read the header, and find every tensor; names are sorted.

    Raises:
        InputError: If the header is damaged, or the tensors that it describes do not
            fill the file exactly, one after another.
    """
    length = int.from_bytes(file.read(0, 8), "little")
    if length > file.size - 8:
        raise InputError(
            f"is cut short, or is not a safetensors file: its header of {length} "
            f"bytes is longer than the file of {file.size}"
        )
    check_length(length, "its header")
    header = parse_json(file.read(8, length), "its header")
    metadata = _metadata(header.pop("__metadata__", {}))
    entries = {name: _entry(name, header[name]) for name in sorted(header)}
    _check_offsets(entries, file.size - 8 - length)
    body = file.part(8 + length, file.size - 8 - length)
    readers = {
        name: partial(body.part(e.begin, e.end - e.begin).array, e.dtype, e.shape)
        for name, e in entries.items()
    }
    return Contents(dict(readers), metadata)


def _metadata(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise InputError("its __metadata__ is not an object of strings")
    notes = cast(dict[str, Any], value)
    if not all(isinstance(note, str) for note in notes.values()):
        raise InputError("its __metadata__ is not an object of strings")
    return notes


def _entry(name: str, value: Any) -> _Entry:
    try:
        if not isinstance(value, dict) or cast(dict[str, Any], value).keys() != _KEYS:
            raise InputError("needs a dtype, a shape and data_offsets")
        kind = value["dtype"]
        if not isinstance(kind, str) or kind not in _DTYPES:
            valid = ", ".join(sorted(_DTYPES))
            raise InputError(f"has dtype {kind!a:.40}; valid are {valid}")
        dtype = np.dtype(_DTYPES[kind])
        shape, offsets = _wholes(value["shape"]), _wholes(value["data_offsets"])
        size = byte_size(dtype, shape)
        if len(offsets) != 2 or offsets[1] - offsets[0] != size:
            raise InputError(
                f"of dtype {kind} and shape {shape} needs {size} bytes, but its "
                f"data_offsets are {offsets}"
            )
    except InputError as error:
        raise InputError(f"tensor {name!r:.200} {error}") from None
    return _Entry(dtype, shape, *offsets)


def _wholes(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or len(cast(list[Any], value)) > MOST_DIMENSIONS:
        raise InputError(f"has a shape or offsets that are not a list: {value!a:.40}")
    for item in cast(list[Any], value):
        if type(item) is not int or not 0 <= item < 2**63:
            raise InputError(f"has {item!a:.40} in its shape or offsets")
    return tuple(value)


def _check_offsets(entries: Mapping[str, _Entry], size: int) -> None:
    """Check that the tensors fill the bytes without gap or overlap."""
    position = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1][2:]):
        if entry.begin != position:
            raise InputError(
                f"tensor {name!r:.200} begins at byte {entry.begin}, where {position} "
                "is expected: tensors overlap, or leave a gap"
            )
        position = entry.end
    if position != size:
        raise InputError(
            f"is cut short or damaged: it has {size} bytes of tensors, where its "
            f"header describes {position}"
        )
