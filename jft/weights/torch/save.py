"""Writes what `torch.load` reads, without torch: a state dict in torch's zip container.

The pickle is written opcode by opcode, since Python's pickler writes names only of what
it can import. Source: torch's `serialization.py`, version 3 of the zip format.
"""

import pickle
import struct
import zipfile
from collections.abc import Mapping
from typing import IO

import numpy as np

STORAGES = {
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "int64": "LongStorage",
}
"""torch's names of the types that networks here have, by NumPy's."""

_ROOT = "archive"
_CALL = b"R"
_EMPTY_DICT = b"ccollections\nOrderedDict\n)" + _CALL


def write_torch(file: IO[bytes], tensors: Mapping[str, np.ndarray]) -> None:
    """Write a state dict as `torch.save` would.

    Args:
        file: Open for writing.
        tensors: Contiguous little-endian arrays of the types in `STORAGES`.
    """
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        # A member's name alone, so that it has no date: equal weights, equal files.
        archive.writestr(zipfile.ZipInfo(f"{_ROOT}/data.pkl"), _pickle(tensors))
        archive.writestr(zipfile.ZipInfo(f"{_ROOT}/byteorder"), b"little")
        for key, array in enumerate(tensors.values()):
            member = zipfile.ZipInfo(f"{_ROOT}/data/{key}")
            member.file_size = array.nbytes
            with archive.open(member, "w") as stream:
                stream.write(array.reshape(-1).view(np.uint8).data)
        archive.writestr(zipfile.ZipInfo(f"{_ROOT}/version"), b"3\n")


def _pickle(tensors: Mapping[str, np.ndarray]) -> bytes:
    """Return the pickle of an OrderedDict of tensors."""
    items = (
        _text(name) + _tensor(key, array)
        for key, (name, array) in enumerate(tensors.items())
    )
    return b"\x80\x02" + _EMPTY_DICT + b"(" + b"".join(items) + b"u."


def _tensor(key: int, array: np.ndarray) -> bytes:
    """Return the call that rebuilds a tensor around the storage of that key."""
    kind = f"ctorch\n{STORAGES[array.dtype.name]}\n".encode()
    storage = (
        _text("storage"),
        kind,
        _text(str(key)),
        _text("cpu"),
        _whole(array.size),
    )
    strides = tuple(stride // array.itemsize for stride in array.strides)
    arguments = (
        _tuple(*storage) + b"Q",
        _whole(0),
        _tuple(*map(_whole, array.shape)),
        _tuple(*map(_whole, strides)),
        b"\x89",  # False: it requires no gradient
        _EMPTY_DICT,
    )
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + _tuple(*arguments) + _CALL


def _tuple(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def _text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def _whole(value: int) -> bytes:
    return pickle.dumps(value, 2)[2:-1]  # without PROTO and STOP
