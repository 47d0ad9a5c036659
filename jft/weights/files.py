"""Reads checkpoint files: their tensors by name, whatever the container.

Nothing in a file is ever executed, and neither torch nor pickle is needed.
"""

import os
import re
from collections.abc import Callable, Sequence
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

# What torch.compile, FSDP and activation checkpointing put inside of names too.
_INSIDE = re.compile(r"(?<![^.])_(?:orig_mod|\w+_wrapped_module)\.")

_OTHER_FORMATS = (
    (b"version https://git-lfs", "a Git LFS pointer; run `git lfs pull`"),
    (b"<", "an HTML or XML page; download the file itself"),
    (b"\x93NUMPY", "a NumPy array without a name; save an .npz"),
    (b"\x1f\x8b", "a gzip archive; unpack it"),
    (b"\x80", "a pickle that torch.save did not write, or that is cut short"),
)
_HEAD = 512


def read_tensors(path: str | os.PathLike[str], key: str = "") -> Contents:
    """Read the named tensors of a checkpoint.

    The content decides the format, not the extension; only an index of several files
    must be named `.index.json`. Prefixes that DataParallel (`module.`) or
    torch.compile (`_orig_mod.`) put before every name are dropped. The reader of each
    format describes how it names tensors.

    Args:
        path: The file, or an index of several.
        key: In a file of torch with several state dicts, the one to read; in any file,
            the prefix of the names of the tensors to read.

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
            contents = _read(path, file, key)
        if not contents.readers:
            raise InputError("contains no tensors")
        readers = dict(contents.readers)
        if key and not f".{contents.entry}".endswith(f".{key}"):
            readers = _below(readers, key, contents.entries)
        readers = _without_prefixes(readers)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
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


def _read(path: Path, file: FileRange, key: str = "") -> Contents:
    head = file.read(0, min(file.size, _HEAD))
    reader = _reader(head)
    if reader is None:
        raise InputError(f"is {_description(path, file, head)}; valid are {VALID}")
    return reader(file, key)


def _reader(head: bytes) -> Callable[[FileRange, str], Contents] | None:
    """Choose a reader by the first bytes; None for an unknown format."""
    if head[:4] == b"PK\x03\x04":
        return _read_archive
    if head[:1] == b"\x80" and LEGACY_MAGIC in head[:32]:
        return read_legacy
    if head[:8] == hdf5.SIGNATURE:
        return lambda file, key: read_keras(file)
    # A header length in 8 bytes, which the format keeps below 100 MB, then JSON.
    if head[4:9] == b"\0\0\0\0{":
        return lambda file, key: read_safetensors(file)
    return None


def _read_archive(file: FileRange, key: str) -> Contents:
    archive = ZipArchive(file)
    if WEIGHTS_MEMBER in archive.members:
        return read_keras_archive(archive)
    if any(name.endswith(npz.SUFFIX) for name in archive.members):
        return npz.read_npz(archive)
    return read_zip(archive, key)


def _description(path: Path, file: FileRange, head: bytes) -> str:
    start = head.lstrip()
    for magic, description in _OTHER_FORMATS:
        if start.startswith(magic):
            return description
    named = f" named {path.suffix}" if path.suffix else ""
    return f"{file.size} bytes of an unknown format{named}"


_T = TypeVar("_T")


def _below(named: dict[str, _T], key: str, entries: Sequence[str]) -> dict[str, _T]:
    """Return what has a key, as a whole part, in its name, by the rest of the name."""
    part = re.compile(rf"(?:.*[./])?{re.escape(key)}[./](.+)")
    found = {m[1]: value for n, value in named.items() if (m := part.fullmatch(n))}
    if not found:
        first = {re.split("[./]", name)[0] for name in named}
        names = sorted(set(filter(None, entries)) or first)
        shown = ", ".join(f"{name!r:.40}" for name in names[:8])
        raise InputError(
            f"has no entry {key!r:.80}{nearest(key, names)} (entries: {shown})"
        )
    return found


def _without_prefixes(named: dict[str, _T]) -> dict[str, _T]:
    """Drop each prefix that every name has, however they are combined.

    What FSDP and torch.compile put inside of names is dropped wherever it is.
    """
    plain = {_INSIDE.sub("", name): value for name, value in named.items()}
    named = plain if len(plain) == len(named) else named
    for prefix in PREFIXES * 2:
        if named and all(name.startswith(prefix) for name in named):
            named = {name[len(prefix) :]: value for name, value in named.items()}
    return named
