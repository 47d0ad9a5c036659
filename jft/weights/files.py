"""Reads checkpoint files: their tensors by name, whatever the container.

Nothing in a file is ever executed, and neither torch nor pickle is needed.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from jft.errors import InputError, nearest
from jft.weights import npz
from jft.weights.hdf5 import read as hdf5
from jft.weights.keras.read import WEIGHTS_MEMBER, read_keras, read_keras_archive
from jft.weights.lazy import Contents
from jft.weights.ranges import FileRange
from jft.weights.safetensors import read_safetensors
from jft.weights.sharded import INDEX_SUFFIX, merged, read_shards
from jft.weights.torch.container import LEGACY_MAGIC, read_legacy, read_zip
from jft.weights.zip_archive import ZipArchive

VALID = (
    "safetensors, a state dict that torch.save wrote (.pth, .pt, .th, .bin), Keras "
    "(.keras, .weights.h5, .h5), NumPy's .npz, or a checkpoint's .index.json"
)
"""The formats, for messages."""

PREFIXES = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before every name."""

_OTHER_FORMATS = (
    (b"version https://git-lfs", "a Git LFS pointer; run `git lfs pull`"),
    (b"<", "an HTML or XML page; download the file itself"),
    (b"\x93NUMPY", "a NumPy array; .npz has names"),
    (b"\x1f\x8b", "a gzip archive; unpack it"),
    (b"\x80", "a pickle, but not of torch.save, or cut short"),
)
_HEAD = 512


def read_tensors(path: str | os.PathLike[str]) -> Contents:
    """Read the named tensors of a checkpoint.

    The content decides the format, not the extension; only an index of several files
    must be named `.index.json`. Prefixes that DataParallel (`module.`) or
    torch.compile (`_orig_mod.`) put before every name are dropped. The reader of each
    format describes how it names tensors.

    Args:
        path: The file, or an index of several.

    Raises:
        InputError: If the file is missing, of another format, cut short, or asks
            for code to be run; the message starts with the path.
    """
    path = Path(path)
    try:
        if os.path.isdir(path):
            raise InputError(f"is a directory; name a file in it: {VALID}")
        file = _open(path)
        files, contents = (file,), Contents({}, {})
        if path.name.endswith(INDEX_SUFFIX):
            shards = read_shards(file, lambda name: _read_shard(path.parent / name))
            files = (file, *(shard for shard, _ in shards.values()))
            contents = merged(shards)
        else:
            contents = _read(path, file)
        if not contents.readers:
            raise InputError("holds no tensors")
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    readers = _without_prefixes(dict(contents.readers))
    return replace(contents, readers=readers, files=files, source=str(path))


def _open(path: Path) -> FileRange:
    try:
        if not path.exists():
            siblings = [sibling.name for sibling in path.parent.glob("*")]
            raise InputError(f"no such file{nearest(path.name, siblings)}")
        if not path.is_file():
            raise InputError(f"is not a regular file; valid are {VALID}")
        file = FileRange.open(path)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}") from None
    if not file.size:
        raise InputError(f"is empty; valid are {VALID}")
    return file


def _read_shard(path: Path) -> tuple[FileRange, Contents]:
    try:
        file = _open(path)
        return file, _read(path, file)
    except InputError as error:
        raise InputError(f"its file {path.name!r:.80}: {error}") from None


def _read(path: Path, file: FileRange) -> Contents:
    head = file.read(0, min(file.size, _HEAD))
    reader = _reader(head)
    if reader is None:
        raise InputError(f"is {_description(path, file, head)}; valid are {VALID}")
    return reader(file)


def _reader(head: bytes) -> Callable[[FileRange], Contents] | None:
    """Choose a reader by the first bytes; None for an unknown format."""
    if head[:4] == b"PK\x03\x04":
        return _read_archive
    if head[:1] == b"\x80" and LEGACY_MAGIC in head[:32]:
        return read_legacy
    if head[:8] == hdf5.SIGNATURE:
        return read_keras
    # A header length in 8 bytes, which the format keeps below 100 MB, then JSON.
    if head[4:9] == b"\0\0\0\0{":
        return read_safetensors
    return None


def _read_archive(file: FileRange) -> Contents:
    archive = ZipArchive(file)
    if WEIGHTS_MEMBER in archive.members:
        return read_keras_archive(archive)
    if any(name.endswith(npz.SUFFIX) for name in archive.members):
        return npz.read_npz(archive)
    return read_zip(archive)


def _description(path: Path, file: FileRange, head: bytes) -> str:
    start = head.lstrip()
    for magic, description in _OTHER_FORMATS:
        if start.startswith(magic):
            return description
    named = f" named {path.suffix}" if path.suffix else ""
    return f"{file.size} bytes of an unknown format{named}"


_T = TypeVar("_T")


def _without_prefixes(named: dict[str, _T]) -> dict[str, _T]:
    """Drop each prefix that every name has, however they are combined."""
    for prefix in PREFIXES * 2:
        if named and all(name.startswith(prefix) for name in named):
            named = {name[len(prefix) :]: value for name, value in named.items()}
    return named
