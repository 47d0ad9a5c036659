"""Put a checkpoint's tensors into our variables; nothing stays random unnoticed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ml_dtypes import bfloat16

from jft.errors import InputError
from jft.weights import names

MAX_LINES = 30
HEAD = ("params/head/kernel", "params/head/bias")


@dataclass(frozen=True)
class LoadReport:
    """How a checkpoint went into a network; names are '/'-joined, sorted.

    Attributes:
        source: The file or the name that was asked for.
        sha256: Hex digest of the file's bytes; '' for random weights.
        loaded: Variables taken from the checkpoint.
        reinitialised: Variables that keep their random initial values.
        ignored: Tensors of the checkpoint that no network here uses.
    """

    source: str
    sha256: str
    loaded: tuple[str, ...]
    reinitialised: tuple[str, ...]
    ignored: tuple[str, ...] = ()


def head_classes(tensors: Mapping[str, np.ndarray]) -> int | None:
    """Return the number of classes of a checkpoint's head; None if it has none."""
    ours = "params/head/kernel"
    native = names.is_native(tensors)
    kernel = tensors.get(ours if native else names.torch_name(ours, tensors))
    if kernel is None or kernel.ndim != 2:
        return None
    return kernel.shape[1 if native else 0]


def place(
    shapes: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
    source: str,
    *,
    fresh_head: bool = False,
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Return the variables that a checkpoint gives, and the tensors it has to spare.

    A head of another number of classes is left out of the result; whatever else does
    not fit is an error.

    Args:
        shapes: Our variables by name (`params/head/kernel`), each with a `shape` and
            `dtype`.
        tensors: The checkpoint's tensors by their own names.
        source: Named in the error.
        fresh_head: Leave the head out whatever its size.

    Returns:
        Arrays of our shapes and dtypes by our names, and the ignored tensors' names.

    Raises:
        InputError: Tensors are missing, left over, misshapen or not finite; one
            sorted message lists them all.
    """
    native = names.is_native(tensors)
    theirs = {n: n if native else names.torch_name(n, tensors) for n in shapes}
    fresh_head |= _other_classes(shapes, tensors, theirs, native)
    skip = HEAD if fresh_head else ()
    placed: dict[str, np.ndarray] = {}
    problems: list[str] = []
    for ours, want in shapes.items():
        if ours in skip and theirs[ours] in tensors:
            continue
        problem, array = _fit(tensors.get(theirs[ours]), want, native)
        if array is not None and ours.endswith("/var") and (array < 0).any():
            problem = f"{int((array < 0).sum())} variances are negative"
        if problem:
            problems.append(f"- {ours.partition('/')[2]} ({theirs[ours]}): {problem}")
        elif array is not None:
            placed[ours] = array
    spare = sorted(set(tensors) - set(theirs.values()))
    ignored = tuple(n for n in spare if names.IGNORED.fullmatch(n))
    problems += [
        f"- {n}: in the checkpoint, not in the model" for n in spare if n not in ignored
    ]
    if problems:
        raise InputError(_message(source, sorted(problems), len(placed), len(shapes)))
    return placed, ignored


def _other_classes(
    shapes: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
    theirs: Mapping[str, str],
    native: bool,
) -> bool:
    """Tell whether the checkpoint's head differs in its number of classes alone."""
    kernel = tensors.get(theirs["params/head/kernel"])
    if kernel is None or kernel.ndim != 2:
        return False
    inputs, classes = kernel.shape if native else kernel.shape[::-1]
    want_inputs, want_classes = shapes["params/head/kernel"].shape
    return inputs == want_inputs and classes != want_classes


def _fit(
    tensor: np.ndarray | None, want: Any, native: bool
) -> tuple[str, np.ndarray | None]:
    """Return what keeps a tensor from fitting, or '' and the array."""
    if tensor is None:
        return "not in the checkpoint", None
    array = tensor if native else names.from_torch_layout(tensor)
    if array.shape != want.shape:
        return f"model {tuple(want.shape)}, checkpoint {array.shape}", None
    if not (np.issubdtype(array.dtype, np.floating) or array.dtype == bfloat16):
        return f"holds {array.dtype}, not floating-point numbers", None
    with np.errstate(all="ignore"):
        array = np.ascontiguousarray(array, want.dtype)
    bad = array.size - int(np.isfinite(array).sum())
    if bad:
        return f"{bad} of {array.size} values are not finite", None
    return "", array


def _message(source: str, problems: list[str], fitting: int, wanted: int) -> str:
    shown = problems[:MAX_LINES]
    if len(problems) > len(shown):
        shown.append(f"... and {len(problems) - len(shown)} more")
    many = "1 tensor does" if len(problems) == 1 else f"{len(problems)} tensors do"
    head = f"{source}: {many} not fit ({fitting} of the model's {wanted} do)"
    return "\n".join([head, *shown])
