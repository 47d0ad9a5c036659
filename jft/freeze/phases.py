"""A run as phases one after another: what is frozen in each, how long and how fast."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from jft.config import TrainConfig
from jft.errors import InputError, Problems
from jft.freeze.rules import FreezeSpec
from jft.models.protocol import Architecture

GRAMMAR = (
    "EPOCHS*RULE[@RATE] separated by semicolons, as '3*all-but:head@0.1', or "
    "gradual:EPOCHS"
)


@dataclass(frozen=True)
class Phase:
    """Some epochs under one rule.

    Attributes:
        epochs: How many.
        freeze: What is frozen, as in `TrainConfig.freeze`.
        learning_rate: Peak learning rate; each phase starts the schedule again.
        candidate: Whether this is one of several first phases that try another
            learning rate each, from the same start; the best one continues.
        spec: The freeze rule, parsed.
    """

    epochs: int
    freeze: str
    learning_rate: float
    candidate: bool = False
    spec: FreezeSpec = field(default_factory=FreezeSpec)


def plan_phases(config: TrainConfig, model: Architecture) -> tuple[Phase, ...]:
    """Return the phases of a run in order; the last one is `freeze` for `epochs`.

    Sources: gradual unfreezing, Howard and Ruder 2018,
    https://arxiv.org/abs/1801.06146; the head first, from the best of a sweep, and
    then all, Kumar et al. 2022, https://arxiv.org/abs/2202.10054.

    Raises:
        InputError: `phases` is not in the grammar, or names no part of the network.
    """
    text, problems = config.phases.strip(), Problems()
    attempt = problems.attempt
    main = Phase(config.epochs, config.freeze, config.optim.learning_rate)
    if not text:
        before: list[Phase] | None = []
    elif text.startswith("gradual:"):
        before = attempt(_gradual, text.removeprefix("gradual:"), main, model)
    else:
        entries = [entry.strip() for entry in text.split(";")]
        read = [attempt(_entry, e, i, config) for i, e in enumerate(entries)]
        before = [phase for entry in read for phase in entry or ()]
    phases = [*(before or ()), main]
    texts = dict.fromkeys(phase.freeze for phase in phases)
    specs = {text: attempt(FreezeSpec.parse, text, model) for text in texts}
    attempt(_check_warmup, phases, config.optim.warmup_epochs)
    problems.require_none()
    return tuple(
        replace(phase, spec=specs[phase.freeze] or phase.spec) for phase in phases
    )


def _entry(text: str, index: int, config: TrainConfig) -> list[Phase]:
    epochs, star, rest = text.partition("*")
    rule, at, rates = rest.rpartition("@")
    if not at:
        rule, rates = rest, str(config.optim.learning_rate)
    if not star or not rule.strip():
        raise InputError(f"phases: {text!r} is not a phase\nphases: {GRAMMAR}")
    choices = [_rate(rate, text) for rate in rates.split("|")]
    if len(choices) > 1 and index:
        raise InputError(
            f"phases: {text!r} has several learning rates, which only the first phase "
            "may have"
        )
    candidate = len(choices) > 1
    count = _epochs(epochs, text)
    return [Phase(count, rule.strip(), rate, candidate) for rate in choices]


def _gradual(value: str, main: Phase, model: Architecture) -> list[Phase]:
    """Begin with the head, and unfreeze one stage after the other."""
    epochs = _epochs(value, f"gradual:{value}")
    kind, _, last = main.freeze.partition(":")
    stages = model.stages
    if main.freeze != "none" and not (kind == "until" and last in stages):
        raise InputError(
            f"phases gradual:{epochs} ends with freeze none or until:STAGE, not "
            f"{main.freeze!r}"
        )
    first = stages.index(last) + 1 if kind == "until" else 0
    if not stages[first:-1]:
        raise InputError(
            f"phases gradual:{epochs}: freeze {main.freeze!r} leaves no stage to "
            "unfreeze"
        )
    steps = reversed(stages[first:-1])
    return [Phase(epochs, f"until:{stage}", main.learning_rate) for stage in steps]


def _epochs(value: str, text: str) -> int:
    value = value.strip()
    if not (value.isascii() and value.isdecimal() and int(value)):
        raise InputError(
            f"phases: {text!r} must start with a number of epochs, got {value!r}\n"
            f"phases: {GRAMMAR}"
        )
    return int(value)


def _rate(value: str, text: str) -> float:
    try:
        rate = float(value)
    except ValueError:
        rate = math.nan
    if not 0 < rate < math.inf:
        raise InputError(
            f"phases: the learning rate in {text!r} must be above 0 and finite, got "
            f"{value.strip()!r}"
        )
    return rate


def _check_warmup(phases: list[Phase], warmup: float) -> None:
    short = [p for p in phases[:-1] if p.epochs <= warmup]
    if short:
        raise InputError(
            f"phases: '{short[0].epochs}*{short[0].freeze}' must be longer than "
            f"optim.warmup_epochs {warmup:g}: every phase starts with the warmup"
        )
