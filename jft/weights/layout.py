"""How a library names and lays out variables, for reading and for writing."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from jft.models import ModelSpec
from jft.models.variants import GRID

TORCH_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How one library names and lays out the variables of a family of networks.

    Attributes:
        names: What `--to` calls it, and other libraries with the same layout.
        modules: Our modules to theirs. Ours without stage and block, `#` for a number
            (`conv#`); theirs a format of the fields that `_fields` gives.
        leaves: Our leaves to theirs; "norm bias" for a normalisation's bias, where that
            has a name of its own.
        separator: Between a module and its leaf.
        torch: Kernels are [O, I, H, W] and [O, I], not [H, W, I, O] and [I, O].
        convs: Dense layers of ours that are convolutions there, and their size.
        flattened: Dense layers of ours that flatten [C, H, W] there, not [H, W, C].
        ordered: Whether files are read by the order of their layers, which within a
            block is that of `modules`.
    """

    names: tuple[str, ...]
    modules: Mapping[str, str]
    leaves: Mapping[str, str] = field(default_factory=lambda: TORCH_LEAVES)
    separator: str = "."
    torch: bool = True
    convs: Mapping[str, int] = field(default_factory=dict[str, int])
    flattened: tuple[str, ...] = ()
    ordered: bool = False

    def name(self, ours: str, spec: ModelSpec) -> str:
        """Return their name for one of our variables; our name if they have none.

        Ours begins with its collection: `params/stage1/block0/conv1/kernel`.
        """
        if not self.modules:
            return ours
        fields = _fields(self._module(ours), spec)
        part = str(fields["part"])
        theirs = self.modules.get(part) or self.modules.get(re.sub(r"\d", "#", part))
        if theirs is None:
            return ours
        return theirs.format(**fields) + self.separator + self.leaves[self._leaf(ours)]

    def position(self, ours: str) -> tuple[float, ...]:
        """Return the sort key of one of our variables in an ordered layout."""
        stage, block, part = _location(self._module(ours))
        outside = -math.inf if part.startswith("stem") else math.inf
        return (
            outside if stage is None else int(stage),
            math.inf if block is None else int(block),
            list(self.modules).index(part),
            list(self.leaves).index(self._leaf(ours)),
        )

    def to_ours(self, array: np.ndarray, ours: str) -> np.ndarray:
        """Return a view of their array in our layout.

        A dense layer that is a convolution there, or flattens in another order, has
        four axes: the first three are our first one, which no view could merge.
        """
        if not ours.endswith("/kernel") or not self.modules:
            return array
        flattened = self._module(ours) in self.flattened and array.ndim == 2
        if flattened and array.shape[1] % GRID**2 == 0:
            array = array.reshape(len(array), -1, GRID, GRID)
        if self.torch and array.ndim == 4:
            array = array.transpose(2, 3, 1, 0)
        elif self.torch and array.ndim == 2:
            array = array.T
        return array

    def to_theirs(self, array: np.ndarray, ours: str) -> np.ndarray:
        """Return one of our arrays in their layout: the inverse of `to_ours`."""
        if not ours.endswith("/kernel") or not self.modules:
            return array
        module, outputs = self._module(ours), array.shape[-1]
        flattened = module in self.flattened
        if module in self.convs or flattened:
            side = GRID if flattened else self.convs[module]
            array = array.reshape(side, side, -1, outputs)
        if self.torch:
            array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
        return array.reshape(outputs, -1) if flattened else array

    def _module(self, ours: str) -> str:
        return ours.partition("/")[2].rpartition("/")[0]

    def _leaf(self, ours: str) -> str:
        """Return the key of `leaves`."""
        module, _, leaf = ours.rpartition("/")
        if leaf == "bias" and "norm" in module.rpartition("/")[2]:
            return "norm bias" if "norm bias" in self.leaves else leaf
        return leaf


def _location(module: str) -> tuple[str | None, str | None, str]:
    """Split a module into the numbers of its stage and block, and the rest."""
    found = re.fullmatch(r"(?:stage(\d+)/)?(?:(?:block|layer)(\d+)/)?(.+?)", module)
    assert found, module
    return found[1], found[2], found[3]


def _fields(module: str, spec: ModelSpec) -> dict[str, int | str]:
    """Return what formats of `Layout.modules` may use.

    `part` is the module without stage and block, `n` the last number in it,
    `letter` that number as a, b, c; `stage` counts from 1 and `block` from 0 as ours
    do; `child` is a ResNet's stage among all its children; `features` is the position
    of a VGG's convolution among all its modules.
    """
    found = _location(module)
    stage, block, part = int(found[0] or 0), int(found[1] or 0), found[2]
    number = int((re.findall(r"\d", part) or ["0"])[-1])
    fields: dict[str, int | str] = {
        "part": part,
        "n": number,
        "n0": number - 1,
        "letter": " abc"[number] if number <= 3 else "",
        "stage": stage,
        "stage0": stage - 1,
        "stage1": stage + 1,
        "child": stage + 3,
        "block": block,
        "block1": block + 1,
    }
    if spec.variant.family == "vgg" and stage:
        before = sum(spec.stage_sizes[: stage - 1]) + block
        # Convolution, normalisation and ReLU of each layer, and a pool after a stage.
        features = before * (3 if spec.variant.batch_norm else 2) + stage - 1
        fields |= {"features": features, "features1": features + 1}
    return fields
