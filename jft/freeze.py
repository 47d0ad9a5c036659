"""What stays as it is: one rule for gradients, optimizer and normalisation together."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jft import tree
from jft.errors import InputError, nearest
from jft.models import ModelSpec

if TYPE_CHECKING:
    from jft.types import Params

GRAMMAR = "none, until:STAGE, first:N, all-but:STAGE, or glob patterns as 'stem/*'"


@dataclass(frozen=True)
class FreezeSpec:
    """The parameters that do not move, as glob patterns of their '/'-joined names.

    A normalisation layer whose scale and bias are both frozen also keeps its stored
    statistics and normalises by them in training, so a frozen layer stays the same
    function.
    """

    patterns: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str, model: ModelSpec) -> FreezeSpec:
        """Read the rule that a user wrote, without building the network.

        Args:
            text: `none`; `until:STAGE`, that stage and all before it; `first:N`, the
                first N layers in depth order (the stem, each residual block, the
                head); `all-but:STAGE[,STAGE]`; or glob patterns separated by commas.
            model: The network whose stages and layers are meant.

        Raises:
            InputError: The rule is not of these forms, or names no part of the model.

        >>> from jft.models import MODELS
        >>> FreezeSpec.parse("until:stage1", MODELS["resnet20"])
        FreezeSpec(patterns=('stem/*', 'stage1/*'))
        """
        kind, _, value = text.partition(":")
        if text == "none":
            return cls()
        if kind == "until":
            if value == model.stages[-1]:
                raise InputError(_nothing_left(text))
            last = model.stages.index(_part(value, model.stages, model))
            return cls(_below(model.stages[: last + 1]))
        if kind == "first":
            return cls(_below(model.layers[: _layer_count(value, model)]))
        if kind == "all-but":
            free = [_part(v.strip(), model.stages, model) for v in value.split(",")]
            return cls(_below(s for s in model.stages if s not in free))
        if ":" in text or not any(c in text for c in "*?[/"):
            hint = nearest(text, _examples(model))
            if text in model.stages:
                hint = f"; did you mean 'until:{text}' or '{text}/*'?"
            raise InputError(f"freeze {text!r} is not a rule{hint}\nrules: {GRAMMAR}")
        return cls(tuple(part.strip() for part in text.split(",")))

    def frozen(self, params: Params) -> dict[str, Any]:
        """Return a nested dict like `params` of bools: True where a leaf is frozen.

        Raises:
            InputError: A pattern matches nothing, or nothing is left to train.
        """
        names = list(tree.flatten(params))
        hits = tree.match(self.patterns, names)
        if len(hits) == len(names):
            raise InputError(_nothing_left(",".join(self.patterns)))
        return tree.unflatten({name: name in hits for name in names})


def _nothing_left(rule: str) -> str:
    return (
        f"freeze {rule!r} leaves nothing to train; all-but:head trains the head alone"
    )


def _below(modules: Any) -> tuple[str, ...]:
    return tuple(f"{module}/*" for module in modules)


def _part(name: str, valid: tuple[str, ...], model: ModelSpec) -> str:
    if name not in valid:
        raise InputError(
            f"{model.name} has no stage {name!r}{nearest(name, valid, count=1)}\n"
            f"stages: {', '.join(valid)}"
        )
    return name


def _layer_count(value: str, model: ModelSpec) -> int:
    if not (value.isascii() and value.isdecimal()) or not 1 <= int(value) < len(
        model.layers
    ):
        raise InputError(
            f"freeze first:{value} must give a number of layers from 1 to "
            f"{len(model.layers) - 1}: {model.name} has {len(model.layers)}"
        )
    return int(value)


def _examples(model: ModelSpec) -> list[str]:
    stages = model.stages[:-1]
    return ["none", "first:1", "all-but:head", *(f"until:{s}" for s in stages)]


def stored_norms(frozen: Params) -> frozenset[str]:
    """Return the names of normalisation layers whose scale and bias are both frozen.

    Args:
        frozen: Tree of bools from `FreezeSpec.frozen`.
    """
    flat = tree.flatten(frozen)
    scales = [n.removesuffix("/scale") for n in fnmatch.filter(flat, "*/scale")]
    return frozenset(n for n in scales if flat[f"{n}/scale"] and flat[f"{n}/bias"])


@dataclass(frozen=True)
class StageCount:
    """Parameters of one stage: all of them, and those that are frozen."""

    stage: str
    total: int
    frozen: int


def summarise(params: Params, frozen: Params, model: ModelSpec) -> list[StageCount]:
    """Count parameters and frozen parameters per stage, in depth order."""
    held = tree.flatten(frozen)
    sizes = {name: int(leaf.size) for name, leaf in tree.flatten(params).items()}

    def count(stage: str) -> StageCount:
        names = [n for n in sizes if n.startswith(f"{stage}/")]
        return StageCount(
            stage, sum(sizes[n] for n in names), sum(sizes[n] for n in names if held[n])
        )

    return [count(stage) for stage in model.stages]
