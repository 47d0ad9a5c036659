"""Reads what `torch.save` writes: the zip and the legacy container, into arrays.

The arrays are read-only views of the file's bytes: they have the strides and share
the storages that the tensors had.
"""

import math
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np

from jft.errors import InputError
from jft.weights.lazy import Contents
from jft.weights.ranges import FileRange
from jft.weights.torch.entries import choose, state_dicts
from jft.weights.torch.names import Entries, Storage, Tensor, whole
from jft.weights.torch.pickle import unpickle
from jft.weights.zip_archive import Member, ZipArchive

LEGACY_MAGIC = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"
"""How the integer that opens a legacy file is pickled."""

_LEGACY_PROTOCOL = 1001


def read_zip(archive: ZipArchive, key: str = "") -> Contents:
    """Read the container that torch writes since 1.6; `key` is as `choose` takes it."""
    root = _zip_root(archive.members)
    order = f"{root}/byteorder"
    if order in archive.members and bytes(_stored(archive, order)) != b"little":
        raise InputError("is big-endian; save it again on a little-endian machine")
    value = unpickle(bytes(_stored(archive, f"{root}/data.pkl"))).value
    found = state_dicts(value)
    entry = choose(found, key)
    tensors = found[entry]
    storages: dict[str, memoryview] = {}
    for name, tensor in tensors.items():
        key = tensor.storage.key
        if key not in storages:
            member = f"{root}/data/{key}"
            storages[key] = _stored(archive, member, f", the data of {name!r},")
    return _contents(tensors, storages, entry, found)


def read_legacy(file: FileRange, key: str = "") -> Contents:
    """Read the container that torch wrote before 1.6: pickles, then raw storages."""
    data = file.read(0, file.size)
    magic = unpickle(data)
    protocol = unpickle(data, magic.end)
    system = unpickle(data, protocol.end)
    if protocol.value != _LEGACY_PROTOCOL or not isinstance(system.value, Entries):
        raise InputError("is a torch file of an unknown legacy protocol")
    if system.value.get("little_endian") is not True:
        raise InputError("is big-endian; save it again on a little-endian machine")
    content = unpickle(data, system.end)
    keys = unpickle(data, content.end)
    found = state_dicts(content.value)
    entry = choose(found, key)
    tensors = found[entry]
    owners = {tensor.storage.key: name for name, tensor in tensors.items()}
    raw = _legacy_storages(data, keys.end, keys.value, content.storages, owners)
    for name, tensor in tensors.items():
        if tensor.storage.key not in raw:
            raise InputError(f"has no data for tensor {name!r:.200}")
    return _contents(tensors, raw, entry, found)


def _contents(
    tensors: Mapping[str, Tensor],
    storages: Mapping[str, memoryview],
    entry: str,
    entries: Iterable[str],
) -> Contents:
    arrays = {n: _array(n, t, storages[t.storage.key]) for n, t in tensors.items()}
    # The views are made at once, so that a bad one is refused before any is used.
    readers = {name: partial(np.asarray, array) for name, array in arrays.items()}
    return Contents(readers, {}, entry=entry, entries=tuple(entries))


def _zip_root(members: Mapping[str, Member]) -> str:
    roots = [n[: -len("/data.pkl")] for n in members if n.endswith("/data.pkl")]
    if len(roots) != 1 or "/" in roots[0]:
        raise InputError(
            "is a zip archive but not a torch file: it needs one <name>/data.pkl "
            f"and has {len(roots)}"
        )
    if f"{roots[0]}/constants.pkl" in members:
        raise InputError(
            "is a TorchScript program; save model.state_dict() with torch.save instead"
        )
    return roots[0]


def _stored(archive: ZipArchive, name: str, role: str = "") -> memoryview:
    archive.stored(name, role)
    return archive.content(name, role).data.toreadonly()


def _legacy_storages(
    data: bytes,
    position: int,
    keys: Any,
    known: Mapping[str, Storage],
    owners: Mapping[str, str],
) -> dict[str, memoryview]:
    """Find each storage: an int64 count of elements, then the elements."""
    raw: dict[str, memoryview] = {}
    for key in _listed(keys):
        if not isinstance(key, str) or key not in known:
            raise InputError("is damaged: it lists a storage that nothing uses")
        count = int.from_bytes(data[position : position + 8], "little")
        size = known[key].numel * known[key].dtype.itemsize
        owner = owners.get(key, "a value next to the state dict")
        if len(data) < position + 8 + size:
            raise InputError(f"is cut short in the data of {owner!r:.200}")
        if count != known[key].numel:
            raise InputError(f"is damaged: {owner!r:.200} has data of another size")
        raw[key] = memoryview(data)[position + 8 : position + 8 + size]
        position += 8 + size
    return raw


def _array(name: str, tensor: Tensor, raw: memoryview) -> np.ndarray:
    """View an untrusted tensor's elements in its storage's bytes, none outside them."""
    storage, item = tensor.storage, tensor.dtype.itemsize
    try:
        offset = whole(tensor.offset)
        size, stride = _wholes(tensor.size), _wholes(tensor.stride)
        if len(size) != len(stride):
            raise InputError(f"{len(size)} sizes and {len(stride)} strides")
        window = raw[storage.start * storage.dtype.itemsize :]
        window = window[: storage.length * storage.dtype.itemsize]
        if len(window) != storage.length * storage.dtype.itemsize:
            raise InputError(f"its storage has only {len(raw)} bytes")
        _check_bounds(offset, size, stride, len(window) // item)
        steps = [s * item if n > 1 else item for n, s in zip(size, stride, strict=True)]
        if 0 in size:
            return np.zeros(size, tensor.dtype)
        return np.ndarray(size, tensor.dtype, window, offset * item, steps)
    except (InputError, ValueError) as error:
        raise InputError(f"tensor {name!r:.200} is unusable: {error}") from None


def _wholes(values: Any) -> tuple[int, ...]:
    sizes = tuple(whole(value) for value in _listed(values))
    if len(sizes) > 32:
        raise InputError(f"it has {len(sizes)} dimensions, at most 32 are read")
    return sizes


def _listed(values: Any) -> tuple[Any, ...]:
    if type(values) not in (tuple, list):
        kind = type(values).__name__
        raise InputError(f"a list was expected where it has a {kind}")
    return tuple(values)


def _check_bounds(
    offset: int, size: tuple[int, ...], stride: tuple[int, ...], available: int
) -> None:
    if 0 in size:
        return
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if last >= available:
        raise InputError(
            f"shape {size} with strides {stride} from element {offset} needs "
            f"{last + 1} elements, and its storage has {available}"
        )
    # An expanded tensor would let a small file ask for any amount of memory.
    if math.prod(size) > available:
        raise InputError(
            f"shape {size} repeats the {available} elements of its storage; "
            "save the tensor's .contiguous() copy"
        )
