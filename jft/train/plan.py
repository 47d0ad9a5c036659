"""What a run will cost, read from its compiled steps before training."""

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jft import costs, tree
from jft.features.decide import Choice
from jft.freeze import rules
from jft.freeze.phases import Phase
from jft.train.compile import work_shapes
from jft.train.phases import TrainPhase
from jft.train.setup import Setup
from jft.train.transition import state_like


@dataclass(frozen=True)
class StagePlan:
    """One stage under one phase.

    Attributes:
        stage: Its name.
        parameters: Elements of its parameters.
        trained: Elements of those that are trained.
        norm: What its batch normalisation does, `stored`, `adapt`, `batch` or several
            of them; empty if it has none.
        learning_rates: Lowest and highest peak learning rate of what is trained; empty
            if nothing is.
        forward: FLOPs of its forward pass in a step, recomputation included.
        backward: FLOPs of its backward pass in a step.
    """

    stage: str
    parameters: int
    trained: int
    norm: str
    learning_rates: list[float]
    forward: int
    backward: int


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes on one device during a step.

    Attributes:
        parameters: Parameters and statistics.
        gradients: Gradients of what is trained.
        optimizer: State of the optimizer, and running averages.
        batch: Images and labels.
        temporaries: Activations, gradients and scratch space at their peak.
        total: All of it at once; 0 if the backend does not report it.
    """

    parameters: int
    gradients: int
    optimizer: int
    batch: int
    temporaries: int
    total: int


@dataclass(frozen=True)
class PhasePlan:
    """What a phase costs.

    Attributes:
        phase: Its rules.
        steps: How many.
        stages: In depth order.
        flops: FLOPs of a step's convolutions and matrix products.
        full_flops: The same if everything were trained.
        features: Whether the part before a cut runs once per image, so that no step
            has its FLOPs.
        memory: Bytes on one device.
        unneeded_backward: Frozen modules with a backward pass that no trained value
            needs.
        seconds_per_step: Measured in the costliest phase, and in proportion to the
            FLOPs in the others; 0 if the device has not the memory to measure it.
    """

    phase: Phase
    steps: int
    stages: tuple[StagePlan, ...]
    flops: int
    full_flops: int
    features: Choice
    memory: MemoryPlan
    unneeded_backward: tuple[str, ...]
    seconds_per_step: float = 0.0


@dataclass(frozen=True)
class Plan:
    """What a run will cost.

    Attributes:
        phases: In order.
        steps_per_epoch: Steps per epoch.
        device_bytes: Free memory of a device; 0 if it does not report it.
        largest_batch: About how many images a step could have; 0 if unknown.
    """

    phases: tuple[PhasePlan, ...]
    steps_per_epoch: int
    device_bytes: int
    largest_batch: int

    @property
    def unneeded_backward(self) -> tuple[str, ...]:
        """Frozen modules whose backward pass is computed, in any phase."""
        return tuple(
            dict.fromkeys(m for phase in self.phases for m in phase.unneeded_backward)
        )

    @property
    def bytes_needed(self) -> int:
        """Of the phase that needs most."""
        return max(phase.memory.total for phase in self.phases)

    @property
    def fits(self) -> bool:
        """Whether the device has the memory."""
        return not self.device_bytes or self.bytes_needed <= self.device_bytes

    @property
    def seconds(self) -> float:
        """Of all training steps; reading and evaluating come on top."""
        return sum(phase.steps * phase.seconds_per_step for phase in self.phases)

    def to_dict(self) -> dict[str, Any]:
        """Return it as nested dictionaries that JSON can hold."""
        totals = {"bytes_needed": self.bytes_needed, "seconds": self.seconds}
        phases = [
            asdict(phase) | {"features": phase.features.to_dict()}
            for phase in self.phases
        ]
        return asdict(self) | {"phases": phases} | totals


def make_plan(setup: Setup, train_steps: Sequence[jax.stages.Compiled]) -> Plan:
    """Read the compiled steps, and time the first one on an empty batch.

    Args:
        setup: The run.
        train_steps: From `compile_train_steps`.
    """
    stages = setup.pretrained.spec.stages
    phases = tuple(
        _phase_plan(setup, index, step, costs.operations(step.as_text() or "", stages))
        for index, step in enumerate(train_steps)
    )
    limit = device_bytes(setup.devices.devices)
    plan = Plan(
        phases=phases,
        steps_per_epoch=setup.batches.steps_per_epoch,
        device_bytes=limit,
        largest_batch=_largest_batch(setup, phases, limit),
    )
    if not plan.fits:
        return plan
    costliest = max(range(len(phases)), key=lambda i: phases[i].flops)
    seconds = measure(setup, train_steps[costliest], costliest)
    speed = seconds / max(phases[costliest].flops, 1)
    timed = [replace(each, seconds_per_step=speed * each.flops) for each in phases]
    return replace(plan, phases=tuple(timed))


def measure(setup: Setup, train_step: jax.stages.Compiled, index: int = 0) -> float:
    """Return the seconds of one step of a phase, after one that warms up."""

    def ones(leaf: Any) -> Any:
        return np.ones(leaf.shape, leaf.dtype)

    devices = setup.devices
    like = setup.state if index == 0 else state_like(setup, index)
    state = jax.tree.map(
        lambda leaf: ones(leaf) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf,
        like,
    )
    batch = jax.tree.map(ones, work_shapes(setup, index))
    state, placed = devices.replicate(state), devices.put(batch)
    seconds = 0.0
    for _ in range(2):
        began = time.perf_counter()
        state, sums = train_step(state, placed)
        jax.block_until_ready(sums)
        seconds = time.perf_counter() - began
    return seconds


def _phase_plan(
    setup: Setup,
    index: int,
    train_step: jax.stages.Compiled,
    found: Sequence[costs.Operation],
) -> PhasePlan:
    phase, params = setup.phases[index], setup.state.params
    spec, lr_mults = setup.pretrained.spec, phase.step_spec.lr_mults
    spent = costs.module_costs(found)
    needed = costs.expected_backward(spent, rules.frozen(lr_mults), spec)
    whole = costs.full_backward(spent, params, spec)
    features = setup.features[index]
    # If it were trained too, each step would run it forward and twice backward.
    once = features.image_flops * setup.batches.batch_size
    return PhasePlan(
        phase=phase.phase,
        steps=phase.stop - phase.start,
        stages=_stages(phase, costs.stage_costs(found, spec.stages)),
        flops=sum(operation.flops for operation in found),
        full_flops=sum(c.forward for c in spent.values())
        + sum(whole.values())
        + 3 * once,
        features=features,
        memory=_memory(setup, index, train_step),
        unneeded_backward=tuple(costs.unneeded_backward(spent, needed)),
    )


def _stages(phase: TrainPhase, spent: dict[str, costs.Cost]) -> tuple[StagePlan, ...]:
    peak = phase.phase.learning_rate
    if phase.step_spec.learning_rate is None:  # an optimizer from Python has its own
        peak = math.nan
    mults = tree.flatten(phase.step_spec.lr_mults)

    def plan(stage: str, parameters: int, frozen: int) -> StagePlan:
        inside = f"{stage}/"
        rates = {m * peak for n, m in mults.items() if m and n.startswith(inside)}
        modes = {m for n, m in phase.norms.items() if f"{n}/".startswith(inside)}
        cost = spent[stage]
        return StagePlan(
            stage=stage,
            parameters=parameters,
            trained=parameters - frozen,
            norm=", ".join(sorted(modes)),
            learning_rates=[min(rates), max(rates)] if rates and peak > 0 else [],
            forward=cost.forward + cost.recomputed,
            backward=cost.backward,
        )

    return tuple(plan(c.stage, c.total, c.frozen) for c in phase.counts)


def _memory(setup: Setup, index: int, train_step: jax.stages.Compiled) -> MemoryPlan:
    state = state_like(setup, index)
    used = costs.memory(train_step) or costs.Memory(0, 0, 0, 0)
    return MemoryPlan(
        parameters=_bytes((state.params, state.batch_stats)),
        gradients=_bytes(setup.phases[index].trained(state.params)),
        optimizer=_bytes((state.opt_state, state.ema, state.best_candidate)),
        batch=_bytes(setup.batch_shapes(index)) // len(setup.devices.devices),
        temporaries=used.temporaries,
        total=used.total,
    )


def _bytes(shapes: Any) -> int:
    return sum(
        int(np.prod(leaf.shape)) * np.dtype(leaf.dtype).itemsize
        for leaf in jax.tree.leaves(shapes)
    )


def _largest_batch(setup: Setup, phases: Sequence[PhasePlan], limit: int) -> int:
    """Return about how many images fit, if temporaries grow in proportion to them."""
    size, count = setup.config.batch_size, len(setup.devices.devices)
    memory = max((phase.memory for phase in phases), key=lambda m: m.total)
    growing = memory.temporaries + memory.batch
    fits = (limit - (memory.total - growing)) * size // max(growing, 1)
    return max(int(fits) // count * count, 0)


def device_bytes(devices: Sequence[Any]) -> int:
    """Return the free memory of each device in bytes; 0 if it does not report it.

    Devices on CPU divide the memory of the machine.
    """
    if devices[0].platform != "cpu":
        return int((devices[0].memory_stats() or {}).get("bytes_limit", 0))
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 0
    free = next((x for x in lines if x.startswith("MemAvailable:")), "0 0")
    return int(free.split()[1]) * 1024 // len(devices)
