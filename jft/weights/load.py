"""Put a checkpoint's tensors into our variables; no variable stays random unnoticed."""

import math
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from ml_dtypes import bfloat16

from jft.config.schema import StemInit
from jft.errors import InputError
from jft.models import ModelSpec
from jft.preprocess import CAFFE, Preprocess
from jft.weights.layout import Layout
from jft.weights.names import IGNORED, head_names, layout_of, layouts
from jft.weights.ranges import own_pages
from jft.weights.stem import STEMS, adapted

MAX_LINES = 30
READERS = 2  # a tensor is in memory twice while its reader converts it
_LINE = 64  # bytes of a cache line


def head_classes(tensors: Mapping[str, np.ndarray], spec: ModelSpec) -> int | None:
    """Return the number of classes of a checkpoint's head; None if it has none."""
    for layout in layouts(spec):
        kernel = tensors.get(layout.name(head_names(spec)[0], spec))
        if kernel is not None and kernel.ndim in (2, 4):
            return kernel.shape[0 if layout.torch else -1]
    return None


def usual_preprocess(tensors: Mapping[str, np.ndarray], spec: ModelSpec) -> Preprocess:
    """Return the preprocessing of weights that do not state it.

    One network has two answers: Keras trained its VGGs on other pixels than
    torchvision did.
    """
    names = (*head_names(spec), "params/stage1/layer0/conv/kernel")
    if spec.variant.family == "vgg":
        layout = layout_of(tensors, names, spec)
        if layout.names[0].startswith("keras"):
            return CAFFE
    return spec.preprocess


def assign(
    shapes: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
    source: str,
    spec: ModelSpec,
    *,
    new_head: bool = False,
    stem_init: StemInit = "auto",
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Return the variables that a checkpoint gives, and the tensors that are not used.

    A head that is missing as a whole is left out of the result, also where the
    checkpoint has another head (`fc.1.weight`), and of one with another number
    of classes the last layer. Whatever else does not fit is an error.

    Args:
        shapes: Our variables by name (`params/head/kernel`), each with a `shape` and
            `dtype`.
        tensors: The checkpoint's tensors by their own names.
        source: Named in the error.
        spec: The network.
        new_head: Leave the head's last layer out whatever its size.
        stem_init: How the first convolution is adapted to images that are not RGB.

    Returns:
        Arrays of our shapes and dtypes, by our names, each in memory that a device may
        take over; and the names of the ignored tensors.

    Raises:
        InputError: Tensors are missing, left over, misshapen or not finite; one
            sorted message lists them all.
    """
    layout = layout_of(tensors, shapes, spec)
    theirs = {name: layout.name(name, spec) for name in shapes}
    _check_task(theirs, tensors, source, spec)
    head = [name for name in shapes if name.split("/")[1] == "head"]
    headless = not any(theirs[name] in tensors for name in head)
    if headless:
        left_out = head
    elif new_head or _other_classes(shapes, tensors, layout, spec):
        left_out = [name for name in head_names(spec) if theirs[name] in tensors]
    else:
        left_out = []
    wanted = {name: theirs[name] for name in shapes if name not in left_out}
    fitted = _fit_all(wanted, shapes, tensors, layout, stem_init)
    loaded = {name: array for name, (_, array) in fitted.items() if array is not None}
    spare = sorted(set(tensors) - set(theirs.values()))
    unused = _left_out(layout, spec)
    if headless and loaded:
        unused |= _of_another_kind(spare, wanted.values())
    ignored = tuple(n for n in spare if n in unused or IGNORED.fullmatch(n))
    problems = [
        f"- {name.partition('/')[2]} ({theirs[name]}): {problem}"
        for name, (problem, _) in fitted.items()
        if problem
    ] + [
        f"- {n}: in the checkpoint, not in the model" for n in spare if n not in ignored
    ]
    if problems:
        raise InputError(_message(source, sorted(problems), len(loaded), len(shapes)))
    return loaded, ignored


def _of_another_kind(spare: Iterable[str], body: Iterable[str]) -> set[str]:
    """Return the tensors of another head: their names do not begin as the body's."""

    def kind(name: str) -> str:  # `layer#`
        return re.sub(r"\d+", "#", re.split("[./]", name)[0])

    known = {kind(name) for name in body}
    return {name for name in spare if kind(name) not in known}


def _fit_all(
    wanted: Mapping[str, str],
    shapes: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
    layout: Layout,
    stem_init: StemInit,
) -> dict[str, tuple[str, np.ndarray | None]]:
    """Return what `_fit` returns of each of our variables, in their order."""
    # The largest first: they are in memory twice while little else is there.
    by_size = sorted(wanted, key=lambda name: -math.prod(shapes[name].shape))

    def fit(name: str) -> tuple[str, np.ndarray | None]:
        return _fit(tensors.get(wanted[name]), name, shapes[name], layout, stem_init)

    with ThreadPoolExecutor(READERS) as pool:
        found = dict(zip(by_size, pool.map(fit, by_size), strict=True))
    return {name: found[name] for name in wanted}


def _other_classes(
    shapes: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
    layout: Layout,
    spec: ModelSpec,
) -> bool:
    """Return whether the checkpoint's head differs in its number of classes alone.

    Or in its inputs too, where what comes before it has been left out of the network.
    """
    name = head_names(spec)[0]
    kernel = tensors.get(layout.name(name, spec))
    if kernel is None:
        return False
    shape = _folded(layout.to_ours(kernel, name).shape, 2)
    want_inputs, want_classes = shapes[name].shape
    if len(shape) != 2:
        return False
    if shape[0] != want_inputs:
        return spec.decoder == "none" and bool(_left_out(layout, spec))
    return shape[1] != want_classes


def _left_out(layout: Layout, spec: ModelSpec) -> set[str]:
    """Return their names of what the user has left out of the network.

    A VGG's hidden layers, and for a decoder the layers that give an image one class.
    """
    decodes, layers = spec.decoder != "none", list[str]()
    if spec.variant.family == "vgg" and (decodes or not spec.variant.hidden):
        layers += ["pre_logits/fc1", "pre_logits/fc2"]
    if decodes:
        layers.append("head")
    names = (f"params/{x}/{leaf}" for x in layers for leaf in ("kernel", "bias"))
    return {layout.name(name, spec) for name in names}


def _check_task(
    theirs: Mapping[str, str],
    tensors: Mapping[str, np.ndarray],
    source: str,
    spec: ModelSpec,
) -> None:
    """Refuse a segmentation network's weights for one that has no decoder."""
    head = "params/head/classifier/kernel"
    native = head in tensors and head not in theirs
    torch = {"backbone.conv1.weight", "classifier.4.weight"} <= set(tensors)
    if spec.decoder == "none" and (native or torch):
        raise InputError(
            f"{source} is a segmentation network, but {spec.name} predicts one class "
            "per image: use other weights, or a network with a decoder"
        )


def _fit(
    tensor: np.ndarray | None,
    ours: str,
    want: Any,
    layout: Layout,
    stem_init: StemInit,
) -> tuple[str, np.ndarray | None]:
    """Return what keeps a tensor from fitting, or '' and the array."""
    if tensor is None:
        return "not in the checkpoint", None
    array = layout.to_ours(tensor, ours)
    if ours in STEMS and array.ndim == 4 and array.shape[2] != want.shape[2]:
        given = array.shape[2]
        if given != 3:
            return f"is for images of {given} channels: --model.channels {given}", None
        array = adapted(array, want.shape[2], stem_init)
    shape = _folded(array.shape, len(want.shape))
    if shape != want.shape:
        return f"model {tuple(want.shape)}, checkpoint {shape}", None
    if not (np.issubdtype(array.dtype, np.floating) or array.dtype == bfloat16):
        return f"has the dtype {array.dtype}, which is not floating-point", None
    # XLA takes over what begins a page without a copy.
    pages = own_pages(math.prod(want.shape) * want.dtype.itemsize)
    fitting = pages.view(want.dtype).reshape(want.shape)
    _lay_out(fitting.reshape(array.shape), array)
    if bad := _not_finite(fitting):
        return f"{bad} of {fitting.size} values are not finite", None
    if ours.endswith("/var") and (fitting < 0).any():
        return f"{int((fitting < 0).sum())} variances are negative", None
    return "", fitting


def _not_finite(array: np.ndarray) -> int:
    """Count the values that are not finite: their sum shows at once if there are any.

    It may overflow too, and then they are looked at one by one.
    """
    with np.errstate(all="ignore"):
        if np.isfinite(array.sum()):
            return 0
    return array.size - int(np.isfinite(array).sum())


def _folded(shape: tuple[int, ...], ndim: int) -> tuple[int, ...]:
    """Return the shape with the axes in one that are one for a dense layer of ours."""
    if len(shape) == 4 and ndim == 2:
        return math.prod(shape[:3]), shape[3]
    return shape


def _lay_out(into: np.ndarray, array: np.ndarray) -> None:
    """Copy an array of the same shape, whose axes may be in another order in memory.

    As many outputs at a time as a cache line holds: a kernel of torch's, turned
    around as a whole, would miss the cache at every number.
    """
    with np.errstate(all="ignore"):
        if array.flags.c_contiguous:
            np.copyto(into, array, casting="same_kind")
            return
        step = _LINE // into.itemsize
        for i in range(0, into.shape[-1], step):
            part = array[..., i : i + step]
            np.copyto(into[..., i : i + step], part, casting="same_kind")


def _message(source: str, problems: list[str], fitting: int, wanted: int) -> str:
    shown = problems[:MAX_LINES]
    if len(problems) > len(shown):
        shown.append(f"... and {len(problems) - len(shown)} more")
    many = "1 tensor does" if len(problems) == 1 else f"{len(problems)} tensors do"
    head = f"{source}: {many} not fit ({fitting} of the model's {wanted} do)"
    return "\n".join([head, *shown])
