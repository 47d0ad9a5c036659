"""Recognises the network of a checkpoint by its tensors."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from jft.config import ModelConfig
from jft.models import MODELS, ModelSpec, config_of
from jft.weights.layout import Layout
from jft.weights.names import readable_layouts
from jft.weights.prefix import first_kernels, network_part

_FIRST = "params/stage1/block0"
_SIDES = {"conv7": 7, "cifar": 3}  # of a stem's kernel
_DECODERS = {"none": (), "fcn": ("conv/kernel",), "deeplabv3": ("project/conv/kernel",)}


def recognise(tensors: Mapping[str, np.ndarray]) -> ModelConfig | None:
    """Return the network of `jft.models.MODELS` that tensors fit; None if none does.

    Compared are the names of the kernels of every block, that there is no block more,
    and the shapes of the first block's kernels, which give the width and the groups.
    """
    found: list[tuple[int, bool, ModelSpec]] = []
    for spec in MODELS.values():
        part = network_part(tensors, spec)
        required = _required(spec)
        for layout in readable_layouts(spec):
            if all(layout.name(n, spec) in part for n in required) and not any(
                layout.name(n, spec) in part for n in _excess(spec)
            ):
                fitting = _of_width(part, layout, spec)
                if fitting:
                    found.append((len(required), fitting == spec, fitting))
                break
    if not found:
        return None
    best = max(found, key=lambda each: each[:2])[2]
    layouts = readable_layouts(best)
    part, hidden = network_part(tensors, best), "params/pre_logits/fc1/kernel"
    pooled = not best.variant.residual and not any(
        layout.name(hidden, best) in part for layout in layouts
    )
    return replace(config_of(best), pooled_head=pooled)


def _required(spec: ModelSpec) -> list[str]:
    """Return our names of variables that distinguish a network from all others."""
    names = first_kernels(spec)
    variant = spec.variant
    if variant.residual:
        count = 2 if _basic(spec) else 3
        for i in range(1, count + 1):
            names += [f"{_FIRST}/conv{i}/kernel", f"{_FIRST}/norm{i}/scale"]
        names.append(_stem(spec))
        if getattr(variant, "conv_bias", False):
            names.append(f"{_FIRST}/conv1/bias")
        if variant.pre_activation and variant.normalisation == "batch":
            names.append("params/stem/bias")
    elif variant.normalisation == "batch":
        names.append("params/stage1/layer0/norm/scale")
    decoder = [f"params/head/{name}" for name in _DECODERS[spec.decoder]]
    return names + decoder


def _excess(spec: ModelSpec) -> list[str]:
    """Return our names of variables that the next larger networks have."""
    layer, sizes = spec.variant.layer, spec.stage_sizes
    last = "conv1" if spec.variant.residual else "conv"
    more = [f"stage{i + 1}/{layer}{n}" for i, n in enumerate(sizes)]
    names = [f"params/{block}/{last}/kernel" for block in more]
    names.append(f"params/stage{len(sizes) + 1}/{layer}0/{last}/kernel")
    return [*names, f"{_FIRST}/conv3/kernel"] if _basic(spec) else names


def _basic(spec: ModelSpec) -> bool:
    return getattr(spec.variant, "block", "") == "basic"


def _stem(spec: ModelSpec) -> str:
    if spec.variant.pre_activation:
        return "params/stem/kernel"
    deep = getattr(spec.variant, "stem", "") == "deep"
    return f"params/stem/conv{'1' if deep else ''}/kernel"


def _of_width(
    part: Mapping[str, np.ndarray], layout: Layout, spec: ModelSpec
) -> ModelSpec | None:
    """Return the network with the width of its first kernels; None if it has others."""

    def shape(ours: str) -> tuple[int, ...]:
        return layout.to_ours(part[layout.name(ours, spec)], ours).shape

    if not spec.variant.residual:
        return _wide(spec, shape(first_kernels(spec)[0])[-1])
    side = _SIDES.get(getattr(spec.variant, "stem", ""))
    if side and shape(_stem(spec))[0] != side:
        return None
    first, second = (shape(f"{_FIRST}/conv{i}/kernel") for i in (1, 2))
    width = first[-2]
    groups = getattr(spec.variant, "groups", 1)
    inner = width * getattr(spec.variant, "group_width", 64) // 64 * groups
    if second[-2:] != ((inner // groups, inner) if not _basic(spec) else (width,) * 2):
        return None
    return _wide(spec, width)


def _wide(spec: ModelSpec, width: int) -> ModelSpec | None:
    if width % spec.variant.width_step:
        return None
    return spec if width == spec.width else spec.adapted(width=width)
