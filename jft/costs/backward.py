"""The FLOPs that gradients of trained parameters need, and what is beyond them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from jft import tree
from jft.costs.totals import Cost
from jft.models import ModelSpec
from jft.models.own import OwnModel

if TYPE_CHECKING:
    from jft.types import Params

# The layer, and the step in it: where an input is ready, or an output.
Position = tuple[float, float]
_LAST = 1000  # a decoder's classifier comes after all of its blocks


def expected_backward(
    costs: Mapping[str, Cost], frozen: Params, model: ModelSpec | OwnModel
) -> dict[str, int]:
    """Return the floating point operations that the trained part's gradients need.

    A module whose kernel is trained needs that kernel's gradient. A module with
    anything trained before it in the forward pass, even a bias, needs the
    gradient of its input. Each of the two has the multiply-adds of the forward pass:
    it runs over the same triples of input, kernel and output elements.

    Args:
        costs: Of each module, from `module_costs`; only the forward part is read.
        frozen: Tree of bools like the parameters: True where one does not move.
        model: The network, for the way of its data.

    Returns:
        FLOPs by module in depth order, for those in `costs` that are of the network.
    """
    is_frozen = tree.flatten(frozen)
    trained = (
        name.rpartition("/")[0] for name, fixed in is_frozen.items() if not fixed
    )
    first = min((_span(m, model)[1] for m in trained), default=(math.inf, math.inf))
    modules = sorted((m for m in costs if m), key=lambda m: _span(m, model))

    def gradients(module: str) -> int:
        of_kernel = is_frozen.get(f"{module}/kernel") is False
        of_input = first <= _span(module, model)[0]
        return of_kernel + of_input

    return {m: gradients(m) * costs[m].forward for m in modules}


def full_backward(
    costs: Mapping[str, Cost], params: Params, model: ModelSpec | OwnModel
) -> dict[str, int]:
    """Return what the backward pass would need if everything were trained.

    XLA:CPU computes the kernel's gradient of a depthwise convolution as if it were
    dense: there alone a compiled step takes more than this.

    The arguments and the result are as for `expected_backward`; of `params` only the
    names are used.
    """
    return expected_backward(costs, dict.fromkeys(tree.flatten(params), False), model)


def unneeded_backward(
    costs: Mapping[str, Cost], expected: Mapping[str, int]
) -> list[str]:
    """Return the modules with a compiled backward pass that nothing trained needs.

    That is what freezing is to save: the gradient of a frozen kernel, or of an input
    before which nothing is trained. A depthwise convolution of which only the kernel
    is to have a gradient is named on CPU without cause, see `full_backward`.

    Args:
        costs: Of each module of the compiled step, from `module_costs`.
        expected: What the trained part needs, from `expected_backward`.

    Returns:
        Names of modules, in depth order.
    """
    # On CPU both are the same number. The hundredth is for compilers that pad. Where
    # both gradients are needed there is nothing to save, whatever they take.
    return [
        module
        for module, needed in expected.items()
        if needed < 2 * costs[module].forward
        if costs[module].backward > 1.01 * needed
    ]


def _span(module: str, model: ModelSpec | OwnModel) -> tuple[Position, Position]:
    """Return where a module's input is ready, and where its output is.

    A module that ends no later than another one begins comes before it. The
    modules of a layer follow each other, except the shortcut: it begins with the
    block's first convolution and ends with the block.
    """
    if isinstance(model, OwnModel):
        stage, _, rest = module.partition("/")
        number = model.stages.index(stage)
        # The order inside a stage is unknown: each module may come after the others.
        return ((number, 1), (number, 0)) if rest else ((number, 0), (number, 1))
    for number, layer in enumerate(model.layers):
        if f"{module}/".startswith(f"{layer}/"):
            name = module.removeprefix(layer)
            decodes = layer == "head" and model.decoder != "none"
            begin, end = _decoder_steps(name) if decodes else _steps(name, model)
            return (number, begin), (number, end)
    # Outside the layers of a stage: a VGG's pooling before its hidden layers, and the
    # normalisation after the last block of a pre-activation network.
    stage, _, rest = module.partition("/")
    inside = [
        i for i, layer in enumerate(model.layers) if layer.startswith(f"{stage}/")
    ]
    position = (inside[-1], math.inf) if rest else (inside[0], 0)
    return position, position


def _steps(name: str, model: ModelSpec) -> tuple[float, float]:
    """Return the steps between which a module of a layer runs."""
    pre_activation = model.variant.pre_activation
    order = ("norm", "conv") if pre_activation else ("conv", "norm")
    if name.startswith("/shortcut"):
        return order.index("conv"), math.inf
    kind = name.strip("/").rstrip("0123456789")
    number = int(name[len(kind) + 1 :] or 1)
    step = 2 * (number - 1) + (kind == order[1])
    return step, step + 1


def _decoder_steps(name: str) -> tuple[float, float]:
    """Return the steps between which a module of a decoder runs.

    A U-Net's blocks follow each other; DeepLab's branches begin together. The skips
    add nothing: their sources also feed the first block.
    """
    if not name:
        return math.inf, math.inf  # enlarging the logits
    if name == "/classifier":
        return _LAST, _LAST + 1
    part, _, layer = name.strip("/").rpartition("/")
    number = int(part[2:]) if part.startswith("up") else 1
    offset = {"project": 2, "": 4}  # after the branches of DeepLab
    step = 4 * (number - 1) + offset.get(part, 0)
    step += 2 * layer.endswith("2") + layer.startswith("norm")
    return step, step + 1
