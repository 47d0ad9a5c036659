"""One training step to measure, as a run has it, on images made up in memory."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jft import costs, tree
from jft.config import AugmentConfig, ModelConfig, OptimConfig, TrainConfig, check_batch
from jft.config import check as check_config
from jft.devices import get_devices
from jft.errors import InputError
from jft.freeze import norms
from jft.freeze.phases import plan_phases
from jft.step import make_train_step
from jft.step.training import gradients, prepare, trained
from jft.tasks import Classification
from jft.train.phase_rules import phase_rules
from jft.train.phases import Trainee, build_phases, first_state
from jft.weights.pretrained import load_pretrained

CLASSES = 10
# So low that random weights stay finite, however often the step runs.
LEARNING_RATE = 1e-6
# Of two compiled programs of the same loss: sums in another order, by dtype.
TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2}


@dataclass(frozen=True)
class Case:
    """What a row of the table measures.

    Attributes:
        model: Name of the network; its weights are random.
        batch_size: Images per step.
        freeze: Freeze rule, as `--freeze`.
        dtype: Of the computation; parameters are float32.
        devices: jit or pmap, as `--devices`.
        image_size: Side in pixels; None takes the network's own.
    """

    model: str
    batch_size: int
    freeze: str = "none"
    dtype: Literal["float32", "bfloat16"] = "float32"
    devices: Literal["auto", "jit", "pmap"] = "auto"
    image_size: int | None = None

    def config(self) -> TrainConfig:
        """Return the configuration of a run with this step."""
        return TrainConfig(
            model=ModelConfig(name=self.model),
            freeze=self.freeze,
            batch_size=self.batch_size,
            dtype=self.dtype,
            devices=self.devices,
            image_size=self.image_size,
            weights="none",
            label_smoothing=0.0,
            augment=AugmentConfig(crop_padding=0),
            optim=OptimConfig(learning_rate=LEARNING_RATE, schedule="constant"),
        )


@dataclass(frozen=True)
class Prepared:
    """A compiled step, ready to run.

    Attributes:
        step: Runs one training step and waits for it.
        forward: Runs the forward pass to the loss alone, and waits; None under pmap.
        gradients: Runs it with the backward pass; None under pmap.
        flops: Floating point operations of the convolutions and matrix products of one
            step on one device, two per multiply-add.
        bytes: Memory of the step on one device; 0 where XLA does not report it.
        compile_seconds: Time to trace and compile the step, without any cache.
        devices: The devices, in words.
        size: Side of an image in pixels.
    """

    step: Callable[[], None]
    forward: Callable[[], None] | None
    gradients: Callable[[], None] | None
    flops: int
    bytes: int
    compile_seconds: float
    devices: str
    size: int


def build_case(case: Case) -> Prepared:
    """Compile the step of a case, and check its numbers.

    The loss of the step must equal the loss of a forward pass that is compiled alone,
    frozen parameters must keep their bits, and trained ones must stay finite.

    Raises:
        InputError: The case is not a valid configuration, or its numbers are wrong.
    """
    config = case.config()
    check_config(config)
    pretrained = load_pretrained(
        case.model, "none", CLASSES, image_size=case.image_size
    )
    spec, size = pretrained.spec, pretrained.preprocess.size
    devices = get_devices(case.devices)
    check_batch(case.batch_size, len(devices.devices))
    modes = norms.parse(config.norm, spec)
    rules = phase_rules(config, spec, plan_phases(config, spec), modes, decay=())
    trainee = Trainee(pretrained, Classification(), devices.axis_name, 10)
    phase = build_phases(config, rules, trainee)[0]
    start = first_state(pretrained, phase, config.seed)
    batch = made_up(case.batch_size, size)
    began = time.perf_counter()
    with _no_cache():
        train_step = make_train_step(phase.step_spec)
        compiled = devices.compile_ahead(train_step, start, batch)
    seconds = time.perf_counter() - began
    state, placed = devices.replicate(start), devices.put(batch)
    state, sums = jax.block_until_ready(compiled(state, placed))
    parts = _parts(phase.step_spec, start, batch) if devices.kind == "jit" else None
    loss = float(devices.fetch(sums)["loss"]) / case.batch_size
    _check(case, start, devices.fetch(state), phase.step_spec.lr_mults, loss, parts)

    def step() -> None:
        nonlocal state
        state, _ = jax.block_until_ready(compiled(state, placed))

    used = costs.memory(compiled)
    found = costs.operations(compiled.as_text() or "", spec.stages)
    return Prepared(
        step=step,
        forward=parts and parts[0],
        gradients=parts and parts[1],
        flops=sum(operation.flops for operation in found),
        bytes=used.total if used else 0,
        compile_seconds=seconds,
        devices=str(devices),
        size=size,
    )


def made_up(count: int, size: int) -> dict[str, np.ndarray]:
    """Return a batch of random images and labels, the same each time."""
    draw = np.random.default_rng(0)
    return {
        "image": draw.integers(0, 256, (count, size, size, 3), np.uint8),
        "label": draw.integers(0, CLASSES, count, np.int32),
        "weight": np.ones(count, np.float32),
        "id": np.arange(count, dtype=np.int32),
    }


def _parts(spec: Any, state: Any, batch: Any) -> tuple[Any, Any]:
    """Return the forward pass alone, and with the backward pass, each compiled.

    Each returns the loss, so that nothing of it is left out by the compiler.
    """

    def inputs_of(state: Any, batch: Any) -> dict[str, jax.Array]:
        inputs = prepare(spec, state, batch)
        inputs["loss_weight"] = inputs["weight"] / jnp.sum(inputs["weight"])
        return inputs

    def forward(state: Any, batch: Any) -> Any:
        variables = {"params": state.params, "batch_stats": state.batch_stats}
        inputs = inputs_of(state, batch)
        logits, stats = spec.model.apply(
            variables,
            inputs["image"],
            train=True,
            weight=inputs["weight"],
            keys=inputs.get("key"),
            mutable=["batch_stats"],
        )
        loss = spec.task.loss(logits, inputs["target"])
        return jnp.sum(loss * inputs["loss_weight"]), stats

    def backward(state: Any, batch: Any) -> Any:
        params = trained(state.params, spec.lr_mults)
        found = gradients(spec, state, params, inputs_of(state, batch))
        return jnp.mean(found.loss), (found.grads, found.batch_stats)

    state, batch = jax.device_put((state, batch), jax.devices()[0])

    def runner(function: Any) -> Callable[[], float]:
        compiled = jax.jit(function).lower(state, batch).compile()
        return lambda: float(jax.block_until_ready(compiled(state, batch))[0])

    return runner(forward), runner(backward)


def _check(
    case: Case, before: Any, after: Any, lr_mults: Any, loss: float, parts: Any
) -> None:
    """Raise InputError if the numbers of a step are wrong."""
    mults = tree.flatten(lr_mults)
    old, new = tree.flatten(before.params), tree.flatten(after.params)
    for name, mult in mults.items():
        if mult and not np.isfinite(new[name]).all():
            raise InputError(f"{case.model}: {name} is not finite after one step")
        if not mult and old[name].tobytes() != new[name].tobytes():
            raise InputError(f"{case.model}: frozen {name} changed in one step")
    for part in parts or ():
        alone = part()
        if not abs(alone - loss) <= TOLERANCE[case.dtype] * max(1.0, abs(alone)):
            raise InputError(
                f"{case.model}: the loss of the step is {loss:.6f}, and {alone:.6f} "
                "where it is compiled in another way: this compiler is wrong"
            )


class _no_cache:
    """Turns JAX's persistent compilation cache off, to time a compilation."""

    def __enter__(self) -> None:
        self._before = bool(jax.config.values["jax_enable_compilation_cache"])
        jax.config.update("jax_enable_compilation_cache", False)

    def __exit__(self, *_: object) -> None:
        jax.config.update("jax_enable_compilation_cache", self._before)
