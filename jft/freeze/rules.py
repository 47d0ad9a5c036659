"""What is frozen, and how fast the rest learns: a multiplier for every parameter."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from jft import tree
from jft.errors import InputError, nearest
from jft.models.protocol import Architecture

if TYPE_CHECKING:
    from jft.types import Params

GRAMMAR = (
    "none, until:STAGE, from:STAGE, first:N, all-but:STAGE, bias-only, norm-only, or "
    "patterns as 'stem/*' or 'stem/*=0, stage1/*=0.1'"
)
# What these train beside the head, which is usually new; the rest is frozen.
_ONLY = {"bias-only": "*/bias", "norm-only": "*norm*/*"}


@dataclass(frozen=True)
class FreezeSpec:
    """How fast each parameter learns, by ordered patterns of '/'-joined names.

    The first pattern that matches a name gives its learning-rate multiplier: 0
    is frozen. What no pattern matches has 1.
    """

    rules: tuple[tuple[str, float], ...] = ()

    @classmethod
    def parse(cls, text: str, model: Architecture | None = None) -> FreezeSpec:
        """Read the rule that a user wrote, without building the network.

        Args:
            text: `none`; `until:STAGE`, that stage and all before it; `from:STAGE`,
                that stage and all after it except the head; `first:N`, the first N
                layers in depth order (the stem, each residual block, the head);
                `all-but:STAGE[,STAGE]`; `bias-only` or `norm-only`, which also train
                the head; or patterns separated by commas, each with its learning-rate
                multiplier, by default 0.
            model: The network with these stages and layers.

        Raises:
            InputError: The rule is not of these forms, or names no part of the model.

        >>> from jft.models import MODELS
        >>> FreezeSpec.parse("until:stem", MODELS["resnet20"])
        FreezeSpec(rules=(('stem/*', 0.0),))
        """
        if model is None:
            raise InputError(
                f"freeze {text!r} needs the network whose parts it names: "
                "FreezeSpec.parse(text, net.spec) with net = jft.load_pretrained(...)"
            )
        kind, _, value = text.partition(":")
        stages = model.stages
        if text == "none":
            return cls()
        if text in _ONLY:
            return _only(text, model)
        if kind == "until":
            if value == stages[-1]:
                raise InputError(nothing_left(text))
            return cls(_frozen_rules(stages[: _index(value, model) + 1]))
        if kind == "from":
            if value == stages[-1]:
                raise InputError(f"freeze {text!r} would freeze a new head")
            return cls(_frozen_rules(stages[_index(value, model) : -1]))
        if kind == "first":
            return cls(_frozen_rules(model.layers[: _layer_count(value, model)]))
        if kind == "all-but":
            free = {stages[_index(v.strip(), model)] for v in value.split(",")}
            return cls(_frozen_rules(s for s in stages if s not in free))
        if ":" in text or not any(c in text for c in "*?[/="):
            raise InputError(_no_rule(text, model))
        return cls(tree.parse_rules(text, what="freeze", default=0.0))

    def lr_mults(
        self, params: Params, model: Architecture, layer_decay: float = 1.0
    ) -> dict[str, Any]:
        """Return a nested dict like `params` of floats: learning-rate multipliers.

        Args:
            params: The parameters, or anything with their names.
            model: The network, for the order of its layers.
            layer_decay: Factor from each layer to the one before it, in (0, 1] (Bao et
                al. 2021, https://arxiv.org/abs/2106.08254).

        Raises:
            InputError: A pattern matches nothing, or nothing is left to train.
        """
        names = list(tree.flatten(params))
        given = tree.first_match(self.rules, names, what="freeze")
        mults = {
            name: given.get(name, 1.0) * layer_decay ** _height(name, model)
            for name in names
        }
        if not any(mults.values()):
            raise InputError(nothing_left(",".join(p for p, _ in self.rules)))
        # Of the same type, as optax takes no dict beside a FrozenDict.
        return cast(Any, type(params))(tree.unflatten(mults))


def frozen(lr_mults: Params) -> dict[str, Any]:
    """Return a tree of bools: True where the multiplier is 0."""
    return tree.unflatten({n: mult == 0 for n, mult in tree.flatten(lr_mults).items()})


def frozen_layers(lr_mults: Params, model: Architecture) -> frozenset[str]:
    """Return the layers (`Architecture.layers`) of which every parameter is frozen."""
    moving = {layer_of(n, model) for n, mult in tree.flatten(lr_mults).items() if mult}
    return frozenset(model.layers) - moving


def layer_of(name: str, model: Architecture) -> str:
    """Return the layer that a parameter belongs to.

    What is in a stage but in none of its blocks, BiT's last normalisation, belongs to
    the last of them.
    """
    stage = name.partition("/")[0]
    within = [x for x in model.layers if x == stage or x.startswith(f"{stage}/")]
    return next((x for x in within if name.startswith(f"{x}/")), within[-1])


def _height(name: str, model: Architecture) -> int:
    """Return how many layers come after that of a parameter."""
    return len(model.layers) - 1 - model.layers.index(layer_of(name, model))


def nothing_left(rule: str) -> str:
    """Return the message for a rule that freezes everything."""
    return (
        f"freeze {rule!r} leaves nothing to train; all-but:head trains the head alone"
    )


def _frozen_rules(modules: Iterable[str]) -> tuple[tuple[str, float], ...]:
    return tuple((f"{module}/*", 0.0) for module in modules)


def _only(text: str, model: Architecture) -> FreezeSpec:
    if text == "norm-only" and not model.normalised:
        raise InputError(f"freeze norm-only: {model.name} has no normalisation")
    return FreezeSpec(((_ONLY[text], 1.0), ("head/*", 1.0), ("*", 0.0)))


def _index(name: str, model: Architecture) -> int:
    """Return the position of a stage."""
    if name not in model.stages:
        raise InputError(
            f"{model.name} has no stage {name!r}{nearest(name, model.stages, count=1)}"
            f"\nstages: {', '.join(model.stages)}"
        )
    return model.stages.index(name)


def _layer_count(value: str, model: Architecture) -> int:
    if not (value.isascii() and value.isdecimal()) or not 1 <= int(value) < len(
        model.layers
    ):
        raise InputError(
            f"freeze first:{value} must give a number of layers from 1 to "
            f"{len(model.layers) - 1}: {model.name} has {len(model.layers)}"
        )
    return int(value)


def _no_rule(text: str, model: Architecture) -> str:
    stages = model.stages[:-1]
    examples = ["none", "first:1", "all-but:head", *_ONLY]
    hint = nearest(text, [*examples, *(f"until:{s}" for s in stages)])
    if text in model.stages:
        hint = f"; did you mean 'until:{text}' or '{text}/*'?"
    return f"freeze {text!r} is not a rule{hint}\nrules: {GRAMMAR}"


@dataclass(frozen=True)
class StageCount:
    """Parameters of one stage: all of them, and those that are frozen."""

    stage: str
    total: int
    frozen: int


def summarise(
    params: Params, lr_mults: Params, model: Architecture
) -> list[StageCount]:
    """Count parameters and frozen parameters per stage, in depth order."""
    trained = tree.flatten(lr_mults)
    sizes = {name: int(leaf.size) for name, leaf in tree.flatten(params).items()}

    def count(stage: str) -> StageCount:
        names = [n for n in sizes if n.startswith(f"{stage}/")]
        frozen = sum(sizes[n] for n in names if not trained[n])
        return StageCount(stage, sum(sizes[n] for n in names), frozen)

    return [count(stage) for stage in model.stages]
