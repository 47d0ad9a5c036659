"""The beginning of a run: pretrained variables, phases, optimizers, first state."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax.core import FrozenDict

from jft import tree
from jft.config import TrainConfig
from jft.devices import Devices
from jft.errors import InputError
from jft.freeze import norms, rules
from jft.freeze.phases import Phase, plan_phases
from jft.freeze.rules import FreezeSpec
from jft.models import ModelSpec
from jft.models.network import Network
from jft.models.training import TrainMode
from jft.optim import chain, schedules
from jft.step import StepSpec, TrainState, trained
from jft.tasks import Task
from jft.types import Params
from jft.weights.pretrained import Pretrained


@dataclass(frozen=True)
class Leg:
    """One phase of a run, ready to be compiled.

    Attributes:
        phase: What was asked for.
        start: Steps of the run before it.
        stop: Steps of the run after it.
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
        """Return the leaves that this leg trains, by name."""
        return trained(params, self.step_spec.lr_mults)


@dataclass(frozen=True)
class Start:
    """A run before its first step.

    Attributes:
        state: Initial state, on the host.
        legs: The phases in order.
        pretrained: The network with its preprocessing and how its weights loaded.
    """

    state: TrainState
    legs: tuple[Leg, ...]
    pretrained: Pretrained

    def leg_at(self, step: int) -> int:
        """Return which leg comes after `step` steps; the last one at the end."""
        later = [i for i, leg in enumerate(self.legs) if step < leg.stop]
        return later[0] if later else len(self.legs) - 1


def begin(
    config: TrainConfig,
    pretrained: Pretrained,
    devices: Devices,
    task: Task,
    *,
    steps_per_epoch: int,
    rate: optax.Schedule | None = None,
) -> Start:
    """Build the initial state and what each phase's training step is made of.

    Args:
        config: The rules.
        pretrained: The network and its weights.
        devices: Where steps run.
        task: What is learned.
        steps_per_epoch: Steps per epoch.
        rate: Learning rate by step, in place of the configured one.

    Raises:
        InputError: A freeze or norm rule does not fit the network.
    """
    legs = _Builder(config, pretrained, devices, task, steps_per_epoch, rate).legs()
    params = pretrained.variables["params"]
    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=FrozenDict(pretrained.variables.get("batch_stats") or {}),
        opt_state=legs[0].step_spec.tx.init(params),
        key=jax.random.key_data(jax.random.key(config.seed)),
    )
    state = state.replace(ema=averages(state, legs[0]))
    return Start(jax.device_get(state), legs, pretrained)


def averages(state: TrainState, leg: Leg) -> FrozenDict[str, Any]:
    """Return the running averages that a leg begins with.

    What moves for the first time begins with its present value.
    """
    now = tree.flatten({"params": state.params, "batch_stats": state.batch_stats})
    names = leg.step_spec.ema_start
    return FrozenDict({name: state.ema.get(name, now[name]) for name in names})


def check_rules(config: TrainConfig, spec: ModelSpec) -> None:
    """Check what a run's rules say of a network, before any image is read.

    Raises:
        InputError: A rule names what the network has not, or leaves nothing to train.
    """
    image = jax.ShapeDtypeStruct((1, spec.smallest, spec.smallest, 3), jnp.float32)
    mode = TrainMode(drop_path=config.drop_path)
    init = spec.build(spec.num_classes, mode=mode).init
    shapes = jax.eval_shape(init, jax.random.key(0), image)
    layers = norms.with_statistics(shapes.get("batch_stats") or {})
    chain.decay_factors(config.optim.decay_rules, tree.flatten(shapes["params"]))
    for phase in plan_phases(config, spec):
        rule = FreezeSpec.parse(phase.freeze, spec)
        lr_mults = rule.lr_mults(shapes["params"], spec)
        norms.choose(norms.parse(config.norm, spec), lr_mults, layers)


@dataclass(frozen=True)
class _Builder:
    """Builds the legs of a run."""

    config: TrainConfig
    pretrained: Pretrained
    devices: Devices
    task: Task
    steps_per_epoch: int
    rate: optax.Schedule | None

    def legs(self) -> tuple[Leg, ...]:
        legs: list[Leg] = []
        since: dict[str, int] = {}
        for phase in plan_phases(self.config, self.pretrained.spec):
            lr_mults = self._lr_mults(phase)
            modes = self._modes(lr_mults)
            # Candidates begin alike, whatever was tried before them.
            number = 0 if phase.candidate else len(legs)
            since = {name: since.get(name, number) for name in _moving(lr_mults, modes)}
            legs.append(self._leg(phase, legs, lr_mults, since, modes))
        return tuple(legs)

    def _modes(self, lr_mults: Params) -> dict[str, str]:
        spec = self.pretrained.spec
        stats = self.pretrained.variables.get("batch_stats") or {}
        layers = norms.with_statistics(stats)
        given = norms.parse(self.config.norm, spec)
        return norms.choose(given, lr_mults, layers)

    def _lr_mults(self, phase: Phase) -> FrozenDict[str, Any]:
        spec, params = self.pretrained.spec, self.pretrained.variables["params"]
        rule = FreezeSpec.parse(phase.freeze, spec)
        lr_mults = rule.lr_mults(params, spec, self.config.optim.layer_decay)
        flat = {f"params/{name}": rate for name, rate in tree.flatten(lr_mults).items()}
        report = self.pretrained.report
        lost = [n for n in report.reinitialised if report.loaded and not flat.get(n, 1)]
        if lost:
            raise InputError(
                f"freeze {phase.freeze!r} would keep new random values as they are: "
                f"{', '.join(n.removeprefix('params/') for n in lost)}"
            )
        return FrozenDict(lr_mults)

    def _leg(
        self,
        phase: Phase,
        before: list[Leg],
        lr_mults: FrozenDict[str, Any],
        since: dict[str, int],
        modes: dict[str, str],
    ) -> Leg:
        pretrained = self.pretrained
        spec, params = pretrained.spec, pretrained.variables["params"]
        start = before[-1].stop if before else 0
        stop = start + phase.epochs * self.steps_per_epoch
        return Leg(
            phase=phase,
            start=start,
            stop=stop,
            step_spec=self._step_spec(phase, before, lr_mults, since, modes),
            norms=modes,
            counts=rules.summarise(params, lr_mults, spec),
        )

    def _step_spec(
        self,
        phase: Phase,
        before: list[Leg],
        lr_mults: FrozenDict[str, Any],
        since: dict[str, int],
        modes: dict[str, str],
    ) -> StepSpec:
        config, pretrained = self.config, self.pretrained
        # Of several candidates one goes on: the steps of the others do not count.
        tried = [leg for leg in before if leg.phase.candidate]
        lost = tried if phase.candidate else tried[1:]
        uncounted = sum(leg.stop - leg.start for leg in lost)
        start = before[-1].stop if before else 0
        rate = self.rate or schedules.learning_rate(
            config.optim,
            steps=phase.epochs * self.steps_per_epoch,
            steps_per_epoch=self.steps_per_epoch,
            peak=phase.learning_rate,
        )
        begins = [*(leg.start for leg in before), start]
        averaged = {n: begins[k] if k else uncounted for n, k in since.items()}
        return StepSpec(
            model=self._model(lr_mults, modes),
            task=self.task,
            tx=self._optimizer(_from(rate, start - uncounted), lr_mults, since),
            lr_mults=lr_mults,
            learning_rate=_from(rate, start),
            preprocess=pretrained.preprocess,
            augment=config.augment,
            optim=config.optim,
            steps_per_epoch=self.steps_per_epoch,
            ema_start=averaged if config.optim.ema else {},
            hold_out=phase.candidate,
        )

    def _optimizer(
        self,
        rate: optax.Schedule,
        lr_mults: FrozenDict[str, Any],
        since: dict[str, int],
    ) -> optax.GradientTransformationExtraArgs:
        params = self.pretrained.variables["params"]
        loaded = set(self.pretrained.report.loaded)
        return chain.make_optimizer(
            self.config.optim,
            rate,
            lr_mults,
            steps_per_epoch=self.steps_per_epoch,
            trained_from={n: since.get(f"params/{n}", 0) for n in tree.flatten(params)},
            loaded={n: f"params/{n}" in loaded for n in tree.flatten(params)},
            pretrained=params,
        )

    def _model(self, lr_mults: FrozenDict[str, Any], modes: dict[str, str]) -> Network:
        config = self.config
        mode = TrainMode(
            stored=norms.in_mode(modes, "stored"),
            adapt=norms.in_mode(modes, "adapt"),
            held=rules.frozen_layers(lr_mults, self.pretrained.spec),
            dropout=config.dropout,
            drop_path=config.drop_path,
            dtype=config.dtype,
            remat=config.remat,
        )
        axis_name = self.devices.axis_name
        return self.pretrained.spec.build(
            self.pretrained.model.num_classes, mode=mode, axis_name=axis_name
        )


def _from(schedule: optax.Schedule, start: int) -> optax.Schedule:
    return lambda step: schedule(step - start)


def _moving(lr_mults: Params, modes: dict[str, str]) -> list[str]:
    """Return the names of the parameters and statistics that training moves."""
    shares = tree.flatten(lr_mults)
    return [f"params/{name}" for name, rate in shares.items() if rate] + [
        f"batch_stats/{layer}/{leaf}"
        for layer, mode in modes.items()
        if mode != "stored"
        for leaf in ("mean", "var")
    ]
