"""The names that a PyTorch pickle may use, and the inert records that replace them.

A name is only ever looked up in `GLOBALS`: nothing is imported, and what is called is
a function of this file.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from jft.errors import InputError


class _Unread:
    """A value that is accepted but cannot be part of a tensor; it keeps nothing."""

    def store(self, items: list[Any]) -> None:
        """Pass over what a dict would take."""

    def extend(self, items: list[Any]) -> None:
        """Pass over what a list would take."""


UNREAD = _Unread()
"""Replaces every such value."""


class Storage(NamedTuple):
    """A run of elements in the file, which tensors look into.

    Attributes:
        key: The name of the raw bytes in the container.
        dtype: The type of its elements; uint8 for an untyped storage.
        numel: How many elements the raw bytes hold.
        start: The first element of the window; above 0 only in old storage views.
        length: How many elements the window has.
    """

    key: str
    dtype: np.dtype[Any]
    numel: int
    start: int
    length: int


class Tensor(NamedTuple):
    """A tensor as the file describes it; everything but the types is unchecked.

    Attributes:
        storage: Where its elements are.
        offset: Its first element, counted from the start of the storage.
        size: Its shape.
        stride: Elements to skip to reach the next index of each dimension.
        dtype: The type of its elements.
    """

    storage: Storage
    offset: Any
    size: Any
    stride: Any
    dtype: np.dtype[Any]


class Global(NamedTuple):
    """A name in the pickle, and the function or dtype of ours that it represents."""

    name: str
    value: "Meaning"


class Entries(dict[str, Any]):
    """A dict of the file, without the entries whose key cannot name a tensor.

    Other keys are never hashed: the hash of a deeply nested tuple ends the process.
    """

    def store(self, items: list[Any]) -> None:
        """Add alternating keys and values."""
        for key, value in zip(items[::2], items[1::2], strict=True):
            if isinstance(key, str):
                self[key] = value


Meaning = Callable[..., Any] | np.dtype[Any]
"""The value of a name in `GLOBALS`."""


def read_storage(
    tag: Any, kind: Any, key: Any, location: Any, numel: Any, view: Any = None
) -> Storage:
    """Read the persistent id of a storage; where it lived (`cuda:0`) is unused."""
    del location
    if tag != "storage" or not isinstance(key, str):
        raise TypeError
    _, start, length = view or (key, 0, numel)
    if not 0 <= whole(start) <= whole(start) + whole(length) <= whole(numel):
        raise InputError(f"storage {key!r:.80} is a view outside its {numel} elements")
    return Storage(key, _dtype(kind), numel, start, length)


def _dtype(kind: Any) -> np.dtype[Any]:
    if not isinstance(kind, Global) or not isinstance(kind.value, np.dtype):
        raise TypeError
    return kind.value


def whole(value: Any) -> int:
    """Return `value`, which must be an int in `[0, 2**63)`."""
    if type(value) is not int or not 0 <= value < 2**63:
        raise InputError("a size, stride or offset is not a whole number from 0 up")
    return value


def _rebuild_tensor(
    storage: Any, offset: Any, size: Any, stride: Any, *rest: Any
) -> Tensor:
    _requires_grad, _hooks, metadata = (*rest, None, None, None)[:3]
    if not isinstance(storage, Storage):
        raise TypeError
    if metadata:
        raise InputError("contains a tensor with a lazy conjugate or negative bit")
    return Tensor(storage, offset, size, stride, storage.dtype)


def _rebuild_tensor_v3(*arguments: Any) -> Tensor:
    *plain, dtype = arguments[:7]
    tensor = _rebuild_tensor(*plain, *arguments[7:])
    return tensor._replace(dtype=_dtype(dtype))


def _rebuild_parameter(data: Any, *unused: Any) -> Tensor:
    if not isinstance(data, Tensor):
        raise TypeError
    return data


def _ordered_dict(pairs: Any = ()) -> Entries:
    result = Entries()
    for key, value in pairs:
        result.store([key, value])
    return result


def _unread(*unused: Any) -> Any:
    return UNREAD


_DTYPES = {
    "float16": ("HalfStorage", np.float16),
    "float32": ("FloatStorage", np.float32),
    "float64": ("DoubleStorage", np.float64),
    "bfloat16": ("BFloat16Storage", ml_dtypes.bfloat16),
    "int8": ("CharStorage", np.int8),
    "int16": ("ShortStorage", np.int16),
    "int32": ("IntStorage", np.int32),
    "int64": ("LongStorage", np.int64),
    "uint8": ("ByteStorage", np.uint8),
    "uint16": ("UInt16Storage", np.uint16),
    "uint32": ("UInt32Storage", np.uint32),
    "uint64": ("UInt64Storage", np.uint64),
    "bool": ("BoolStorage", np.bool_),
}

_KINDS = ("bool", "dict", "float", "int", "list", "long", "set", "str", "tuple")
# Values next to the tensors: the script's `args`, a NumPy accuracy, the milestones of
# a learning-rate schedule (a Counter).
_BESIDE = (
    "argparse.Namespace",
    "collections.Counter",
    "collections.defaultdict",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "lightning.fabric.utilities.data.AttributeDict",
    *(f"{module}.{kind}" for module in ("builtins", "__builtin__") for kind in _KINDS),
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
    "_codecs.encode",
    "torch.Size",
    "torch.device",
)

GLOBALS: dict[str, Meaning] = {
    "collections.OrderedDict": _ordered_dict,
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v3": _rebuild_tensor_v3,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": _rebuild_parameter,
    "torch.storage.UntypedStorage": np.dtype(np.uint8),
    **{f"torch.{dtype}": np.dtype(kind) for dtype, (_, kind) in _DTYPES.items()},
    **{f"torch.{storage}": np.dtype(kind) for storage, kind in _DTYPES.values()},
    **dict.fromkeys(_BESIDE, _unread),
}
