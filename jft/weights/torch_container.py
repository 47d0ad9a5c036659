"""Reads what `torch.save` writes: the zip and the legacy container, into arrays.

The arrays are read-only views of the file's bytes: they have the strides and share
the storages that the tensors had.
"""

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from jft.errors import InputError
from jft.weights.torch_names import Entries, Storage, Tensor, whole
from jft.weights.torch_pickle import unpickle

LEGACY_MAGIC = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"
"""How the integer that opens a legacy file is pickled."""

WRAPPERS = ("state_dict", "model_state_dict", "model", "params")
"""Where training scripts put the state dict, beside the optimizer and the epoch."""

_LEGACY_PROTOCOL = 1001


def read_zip(data: bytes) -> dict[str, np.ndarray]:
    """Read the container that torch writes since 1.6.

    Raises:
        InputError: If it is not such a container, is damaged, or would run code.
    """
    members = _zip_members(data)
    root = _zip_root(members)
    order = f"{root}/byteorder"
    if order in members and bytes(_stored(data, members, order)) != b"little":
        raise InputError("is big-endian; save it again on a little-endian machine")
    value = unpickle(bytes(_stored(data, members, f"{root}/data.pkl"))).value
    arrays: dict[str, np.ndarray] = {}
    storages: dict[str, memoryview] = {}
    for name, tensor in state_dict(value).items():
        key = tensor.storage.key
        if key not in storages:
            member = f"{root}/data/{key}"
            storages[key] = _stored(data, members, member, f", the data of {name!r},")
        arrays[name] = _array(name, tensor, storages[key])
    return arrays


def read_legacy(data: bytes) -> dict[str, np.ndarray]:
    """Read the container that torch wrote before 1.6: pickles, then raw storages.

    Raises:
        InputError: If it is damaged or would run code.
    """
    magic = unpickle(data)
    protocol = unpickle(data, magic.end)
    system = unpickle(data, protocol.end)
    if protocol.value != _LEGACY_PROTOCOL or not isinstance(system.value, Entries):
        raise InputError("is a torch file of an unknown legacy protocol")
    if system.value.get("little_endian") is not True:
        raise InputError("is big-endian; save it again on a little-endian machine")
    content = unpickle(data, system.end)
    keys = unpickle(data, content.end)
    tensors = state_dict(content.value)
    owners = {tensor.storage.key: name for name, tensor in tensors.items()}
    raw = _legacy_storages(data, keys.end, keys.value, content.storages, owners)
    for name, tensor in tensors.items():
        if tensor.storage.key not in raw:
            raise InputError(f"has no data for tensor {name!r:.200}")
    return {n: _array(n, t, raw[t.storage.key]) for n, t in tensors.items()}


def _zip_members(data: bytes) -> dict[str, zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error):
        raise InputError(
            "is cut short or damaged: a zip archive without a readable directory"
        ) from None
    by_name = {member.filename: member for member in members}
    if len(by_name) != len(members):
        raise InputError("is a zip archive with two members of one name")
    return by_name


def _zip_root(members: Mapping[str, zipfile.ZipInfo]) -> str:
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


def _stored(
    data: bytes, members: Mapping[str, zipfile.ZipInfo], name: str, role: str = ""
) -> memoryview:
    """View an uncompressed member's bytes, which its CRC confirms."""
    shown = f"its member {name!r:.200}{role:.200}"
    if name not in members:
        raise InputError(f"{shown} is missing")
    member = members[name]
    if member.compress_type != zipfile.ZIP_STORED:
        raise InputError(f"{shown} is compressed, which torch.save never does")
    start = member.header_offset
    header = data[start : start + 30] if start >= 0 else b""
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise InputError(f"{shown} is outside the file")
    start += 30 + sum(struct.unpack("<HH", header[26:]))
    raw = memoryview(data)[start : start + member.file_size]
    # torch can be told to write no checksum, which leaves a 0.
    if len(raw) != member.file_size or member.CRC not in (0, zlib.crc32(raw)):
        raise InputError(f"{shown} is cut short or damaged")
    return raw


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
        owner = owners.get(key, "a value beside the state dict")
        if len(data) < position + 8 + size:
            raise InputError(f"is cut short in the data of {owner!r:.200}")
        if count != known[key].numel:
            raise InputError(f"is damaged: {owner!r:.200} has data of another size")
        raw[key] = memoryview(data)[position + 8 : position + 8 + size]
        position += 8 + size
    return raw


def state_dict(value: Any) -> dict[str, Tensor]:
    """Return the tensors of a state dict, or of the one inside a checkpoint.

    A dict under one of `WRAPPERS` goes first; else the dict with most tensors, out of
    the object itself and the dicts directly in it.

    Raises:
        InputError: If there is no such dict, or no single one.
    """
    if not isinstance(value, Entries):
        raise InputError(
            f"holds a {_kind(value)}; a dict of tensors (a state dict) is needed"
        )
    inner = {name: found for name in value if (found := _tensors(value[name]))}
    for name in WRAPPERS:
        if name in inner:
            return inner[name]
    found = {"": _tensors(value), **inner}
    most = max(map(len, found.values()))
    names = sorted(name for name in found if len(found[name]) == most)
    if not most:
        shown = ", ".join(f"{name!r:.40}" for name in sorted(value)[:8]) or "nothing"
        raise InputError(f"holds no dict of tensors; at its top it has {shown}")
    if len(names) > 1:
        shown = ", ".join(f"{name!r:.40}" for name in names[:8])
        raise InputError(f"holds several state dicts ({shown}); save the one you want")
    return found[names[0]]


def _tensors(value: Any) -> dict[str, Tensor]:
    if not isinstance(value, Entries):
        return {}
    return {name: leaf for name, leaf in value.items() if isinstance(leaf, Tensor)}


def _kind(value: Any) -> str:
    return "tensor" if isinstance(value, Tensor) else type(value).__name__


def _array(name: str, tensor: Tensor, raw: memoryview) -> np.ndarray:
    """View a tensor's elements in its storage's bytes, every index inside them.

    Args:
        name: For the messages.
        tensor: What the pickle says; nothing in it is trusted.
        raw: The bytes of its storage in the container.
    """
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
        raise InputError(f"a list was expected where it has a {_kind(values)}")
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
