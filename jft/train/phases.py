"""The phases of a run with their training steps, and its first state."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import optax
from flax.core import FrozenDict

from jft import tree
from jft.config import TrainConfig
from jft.freeze import rules
from jft.freeze.phases import Phase
from jft.optim import chain, schedules
from jft.step import StepSpec, TrainState, trained
from jft.tasks import Task
from jft.train.checks import check_new_values
from jft.train.phase_rules import PhaseRules
from jft.train.timeline import Interval, timeline
from jft.types import Params
from jft.weights.initial import Initialised


@dataclass(frozen=True)
class TrainPhase:
    """One phase of a run, ready to be compiled.

    Attributes:
        phase: What was asked for.
        start: Steps of the run before it.
        stop: Steps of the run at its end.
        step_spec: What its training step is made of.
        norms: Mode of each layer that has statistics.
        counts: Parameters and frozen parameters per stage.
    """

    phase: Phase
    start: int
    stop: int
    step_spec: StepSpec
    norms: dict[str, str]
    counts: list[rules.StageCount]

    def trained(self, params: Params) -> dict[str, Any]:
        """Return the leaves that this phase trains, by name."""
        return trained(params, self.step_spec.lr_mults)


@dataclass(frozen=True)
class Trainee:
    """What is trained, and on what.

    Attributes:
        pretrained: The network and its weights.
        task: What is learned.
        axis_name: The mapped axis of devices; None on one device.
        steps_per_epoch: Steps per epoch.
    """

    pretrained: Initialised
    task: Task
    axis_name: str | None
    steps_per_epoch: int


def build_phases(
    config: TrainConfig,
    phase_rules: Sequence[PhaseRules],
    trainee: Trainee,
    *,
    learning_rate: optax.Schedule | None = None,
    optimizer: optax.GradientTransformation | None = None,
) -> tuple[TrainPhase, ...]:
    """Return the phases of a run.

    Args:
        config: The configuration.
        phase_rules: What each phase trains.
        trainee: What is trained, and on what.
        learning_rate: By step, instead of the configured one.
        optimizer: Your own optimizer, instead of the configured one.
    """
    intervals = timeline([each.phase for each in phase_rules], trainee.steps_per_epoch)
    built: list[TrainPhase] = []
    began: dict[str, int] = {}
    for i, (each, interval) in enumerate(zip(phase_rules, intervals, strict=True)):
        _check_new(each, trainee.pretrained)
        # All candidates begin from the first state, independent of earlier candidates.
        now = 0 if each.phase.candidate else i
        began = {name: began.get(name, now) for name in each.trained()}
        rate = learning_rate or schedules.learning_rate(
            config.optim,
            steps=interval.stop - interval.start,
            steps_per_epoch=trainee.steps_per_epoch,
            peak=each.phase.learning_rate,
        )
        starts = {
            n: interval.discarded + intervals[k].counted for n, k in began.items()
        }
        spec = StepSpec(
            model=trainee.pretrained.spec.build(
                trainee.pretrained.model.num_classes,
                mode=each.mode,
                axis_name=trainee.axis_name,
            ),
            task=trainee.task,
            tx=chain.with_lr_mults(optimizer, each.lr_mults)
            if optimizer
            else chain.make_optimizer(
                config.optim,
                _from(rate, interval.counted),
                each.lr_mults,
                steps_per_epoch=trainee.steps_per_epoch,
                decay=each.decay,
                **_origins(began, trainee.pretrained),
            ),
            lr_mults=each.lr_mults,
            preprocess=trainee.pretrained.preprocess,
            learning_rate=None if optimizer else _from(rate, interval.start),
            augment=config.augment,
            optim=config.optim,
            steps_per_epoch=trainee.steps_per_epoch,
            ema_start=starts if config.optim.ema else {},
            hold_out=each.phase.candidate,
        )
        built.append(_phase(each, interval, spec, trainee.pretrained))
    return tuple(built)


def _phase(
    each: PhaseRules, interval: Interval, spec: StepSpec, pretrained: Initialised
) -> TrainPhase:
    params = pretrained.variables["params"]
    return TrainPhase(
        phase=each.phase,
        start=interval.start,
        stop=interval.stop,
        step_spec=spec,
        norms=each.norms,
        counts=rules.summarise(params, each.lr_mults, pretrained.spec),
    )


def _check_new(each: PhaseRules, pretrained: Initialised) -> None:
    """Refuse a rule that freezes values which are neither pretrained nor learned."""
    mults, report = tree.flatten(each.lr_mults), pretrained.report
    new = [n.removeprefix("params/") for n in report.reinitialised if report.loaded]
    check_new_values(each.phase.freeze, [n for n in new if not mults.get(n, 1)])


def _origins(began: Mapping[str, int], pretrained: Initialised) -> dict[str, Any]:
    """Return what the optimizer has to know of where each parameter comes from.

    Args:
        began: The first phase that trains each variable, by name.
        pretrained: The network and its weights.
    """
    params = pretrained.variables["params"]
    loaded, names = set(pretrained.report.loaded), tree.flatten(params)
    return {
        "trained_from": {name: began.get(f"params/{name}", 0) for name in names},
        "loaded": {name: f"params/{name}" in loaded for name in names},
        "pretrained": params,
    }


def _from(schedule: optax.Schedule, start: int) -> optax.Schedule:
    return lambda step: schedule(step - start)


def first_state(pretrained: Initialised, phase: TrainPhase, seed: int) -> TrainState:
    """Return the state before a run's first step, on the host.

    Args:
        pretrained: The network and its weights.
        phase: The first phase.
        seed: Of the run's random key.
    """
    state = TrainState.create(pretrained.variables, phase.step_spec.tx, seed)
    return jax.device_get(state.replace(ema=averages(state, phase)))


def averages(state: TrainState, phase: TrainPhase) -> FrozenDict[str, Any]:
    """Return the running averages that a phase begins with.

    What is trained for the first time begins with its present value.
    """
    now = tree.flatten({"params": state.params, "batch_stats": state.batch_stats})
    names = phase.step_spec.ema_start
    return FrozenDict({name: state.ema.get(name, now[name]) for name in names})
