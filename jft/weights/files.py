"""The door to checkpoint files: their tensors by name, whatever the container.

Nothing in a file is ever executed, and neither torch nor pickle is needed.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import ml_dtypes
import numpy as np
import safetensors

from jft.errors import InputError, nearest
from jft.weights.torch_container import LEGACY_MAGIC, read_legacy, read_zip

VALID = "safetensors, or a state dict that torch.save wrote (.pth, .pt, .th, .bin)"
"""The formats, for messages."""

PREFIXES = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before every name."""

_SAFETENSORS_DTYPES = {
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

_OTHER_FORMATS = (
    (b"version https://git-lfs", "a Git LFS pointer; run `git lfs pull`"),
    (b"<", "an HTML or XML page; download the file itself"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x1f\x8b", "a gzip archive; unpack it"),
    (b"\x80", "a pickle, but not of torch.save, or cut short"),
)


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of one file.

    Attributes:
        tensors: Each array in the file's dtype, bf16 as `ml_dtypes.bfloat16`; arrays
            may be read-only, may share memory and need not be contiguous.
        metadata: The file's own notes (safetensors `__metadata__`), else empty.
        sha256: The hex digest of the file's bytes.
    """

    tensors: dict[str, np.ndarray]
    metadata: dict[str, str]
    sha256: str


def read_tensors(path: str | os.PathLike[str]) -> Checkpoint:
    """Read the named tensors of a safetensors or PyTorch checkpoint.

    The content decides the format, not the extension. Prefixes that DataParallel
    (`module.`) or torch.compile (`_orig_mod.`) put before every name are dropped.

    Args:
        path: The file.

    Raises:
        InputError: If the file is missing, of another format, cut short, or asks
            for code to be run; the message starts with the path.
    """
    path = Path(path)
    try:
        data = _content(path)
        reader = _reader(data)
        if reader is None:
            raise InputError(f"is {_description(path, data)}; valid are {VALID}")
        tensors, metadata = reader(data)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    digest = hashlib.sha256(data).hexdigest()
    return Checkpoint(_without_prefixes(tensors), metadata, digest)


_Tensors = dict[str, np.ndarray]
_Reader = Callable[[bytes], tuple[_Tensors, dict[str, str]]]

_deserialize = cast(
    Callable[[bytes], list[tuple[str, dict[str, Any]]]],
    safetensors.deserialize,  # pyright: ignore[reportUnknownMemberType]
)


def _content(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise InputError(f"is a directory; name a file in it: {VALID}")
        if not path.exists():
            siblings = [sibling.name for sibling in path.parent.glob("*")]
            raise InputError(f"no such file{nearest(path.name, siblings)}")
        if not path.is_file():
            raise InputError(f"is not a regular file; valid are {VALID}")
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}") from None
    if not data:
        raise InputError(f"is empty; valid are {VALID}")
    return data


def _reader(data: bytes) -> _Reader | None:
    """Choose a reader by the first bytes; None for an unknown format."""
    if data[:4] == b"PK\x03\x04":
        return lambda content: (read_zip(content), {})
    if data[:1] == b"\x80" and LEGACY_MAGIC in data[:32]:
        return lambda content: (read_legacy(content), {})
    # A header length in 8 bytes, which the format keeps below 100 MB, then JSON.
    if data[4:9] == b"\0\0\0\0{":
        return _read_safetensors
    return None


def _description(path: Path, data: bytes) -> str:
    head = data[:512].lstrip()
    for magic, description in _OTHER_FORMATS:
        if head.startswith(magic):
            return description
    named = f" named {path.suffix}" if path.suffix else ""
    return f"{len(data)} bytes of an unknown format{named}"


def _read_safetensors(data: bytes) -> tuple[_Tensors, dict[str, str]]:
    try:
        entries = _deserialize(data)
    except safetensors.SafetensorError as error:
        reason = ascii(str(error))[1:-1]
        raise InputError(
            f"is not a valid safetensors file, or is cut short: {reason:.200}"
        ) from None
    tensors = {name: _safetensor(name, entry) for name, entry in entries}
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    # The library gives no order that stays the same.
    return dict(sorted(tensors.items())), header.get("__metadata__") or {}


def _safetensor(name: str, entry: Mapping[str, Any]) -> np.ndarray:
    if entry["dtype"] not in _SAFETENSORS_DTYPES:
        raise InputError(
            f"tensor {name!r:.200} has dtype {entry['dtype']}; "
            f"valid are {', '.join(sorted(_SAFETENSORS_DTYPES))}"
        )
    dtype = _SAFETENSORS_DTYPES[entry["dtype"]]
    try:
        return np.frombuffer(entry["data"], dtype).reshape(entry["shape"])
    except ValueError as error:
        raise InputError(f"tensor {name!r:.200} is unusable: {error}") from None


def _without_prefixes(tensors: _Tensors) -> _Tensors:
    """Drop each prefix that every name has, however they are combined."""
    for prefix in PREFIXES * 2:
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name[len(prefix) :]: array for name, array in tensors.items()}
    return tensors
