"""What each normalisation layer does in training, by a rule for every stage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from jft import tree
from jft.errors import InputError, nearest
from jft.models.protocol import Architecture

if TYPE_CHECKING:
    from jft.types import Params

MODES = ("stored", "adapt", "batch")
AUTO = "auto"


def parse(text: str, model: Architecture) -> dict[str, str]:
    """Return the mode of each stage that a rule names.

    Args:
        text: `auto`; a mode for all stages; or `STAGE=MODE`, separated by commas.
        model: The network whose stages are meant.
    """
    if text == AUTO:
        return {}
    if not model.normalising:
        raise InputError(f"norm {text!r}: {model.name} has no batch normalisation")
    if "=" not in text:
        return dict.fromkeys(model.stages, _mode(text, text))
    pairs = [entry.partition("=") for entry in text.split(",")]
    stages = [stage.strip() for stage, _, _ in pairs]
    for stage in stages:
        if stage not in model.normalising:
            raise InputError(
                f"norm {text!r}: {model.name} has no batch normalisation in stage "
                f"{stage!r}{nearest(stage, model.normalising, count=1)}"
            )
        if stages.count(stage) > 1:
            raise InputError(f"norm {text!r} names {stage} twice")
    return {
        stage: _mode(m.strip(), text)
        for stage, (_, _, m) in zip(stages, pairs, strict=True)
    }


def _mode(mode: str, text: str) -> str:
    if mode not in MODES:
        raise InputError(
            f"norm {text!r}: unknown mode {mode!r}{nearest(mode, MODES, count=1)}\n"
            f"modes: {', '.join(MODES)}; or {AUTO}, or STAGE=MODE,..."
        )
    return mode


def choose(
    given: Mapping[str, str], lr_mults: Params, layers: Iterable[str]
) -> dict[str, str]:
    """Return the mode of each layer.

    Without a given mode, a layer uses its stored statistics if its scale and bias are
    both frozen, so that a frozen layer is the same function, and otherwise the batch's.

    Args:
        given: Modes by stage, from `parse`.
        lr_mults: Learning-rate multiplier of each parameter.
        layers: Names of the layers that have statistics, `stage1/block0/norm1`.
    """
    flat = tree.flatten(lr_mults)
    frozen = {n: not (flat[f"{n}/scale"] or flat[f"{n}/bias"]) for n in layers}
    modes = {
        name: given.get(name.partition("/")[0], "stored" if still else "batch")
        for name, still in frozen.items()
    }
    wrong = {
        n.partition("/")[0] for n in modes if modes[n] == "adapt" and not frozen[n]
    }
    if wrong:
        raise InputError(
            f"norm adapt is for frozen stages, but {', '.join(sorted(wrong))} are "
            "trained: use batch or stored there, or freeze them"
        )
    return modes


def in_mode(modes: Mapping[str, str], mode: str) -> frozenset[str]:
    """Return the names of the layers in a mode."""
    return frozenset(name for name, chosen in modes.items() if chosen == mode)


def with_statistics(batch_stats: Params) -> list[str]:
    """Return the names of the layers that have statistics."""
    flat = tree.flatten(batch_stats)
    return [n.removesuffix("/mean") for n in flat if n.endswith("/mean")]
