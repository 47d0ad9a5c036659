"""All that a run is made of before it begins: data, network, phases, steps."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jft import crossing
from jft.checkpoint import ModelCard
from jft.config import TrainConfig
from jft.data.pipeline import Batches
from jft.data.sources import Splits, open_splits, require_readable
from jft.devices import Devices, get_devices, tune_cpu
from jft.errors import InputError
from jft.models import ModelSpec, config_of
from jft.phases import plan_phases
from jft.pretrained import open_for
from jft.state import Start, begin, check_rules
from jft.step import HELD_OUT, make_eval_step, make_train_step

COMPILERS = 2  # steps of several phases are compiled at the same time


@dataclass(frozen=True)
class Setup:
    """A run before its first step.

    Attributes:
        config: Its rules.
        devices: Where steps run.
        splits: The data.
        batches: Those of all phases, in order.
        start: Its first state, and its phases.
    """

    config: TrainConfig
    devices: Devices
    splits: Splits
    batches: Batches
    start: Start

    def compile_train_steps(self) -> list[jax.stages.Compiled]:
        """Compile every phase's step ahead, so that crossing takes no time."""
        with ThreadPoolExecutor(COMPILERS) as pool:
            return list(pool.map(self._compile, range(len(self.start.legs))))

    def _compile(self, index: int) -> jax.stages.Compiled:
        step = make_train_step(self.start.legs[index].step_spec)
        state = crossing.like(self.start, index)
        return self.devices.compile_ahead(step, state, self.batch_shapes())

    def batch_shapes(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Return shape and dtype of each array of a batch."""
        n, size = self.config.batch_size, self.start.pretrained.preprocess.size
        kinds = {"label": np.int32, "weight": np.float32, "id": np.int32}
        columns = {
            name: jax.ShapeDtypeStruct((n,), kind) for name, kind in kinds.items()
        }
        return {"image": jax.ShapeDtypeStruct((n, size, size, 3), np.uint8)} | columns

    def eval_step(self) -> Callable[[Any, Any], Any]:
        """Return the step that evaluates; it computes in float32, as predict does."""
        pretrained = self.start.pretrained
        model = pretrained.model.clone(axis_name=self.devices.axis_name)
        task = self.start.legs[0].step_spec.task
        return self.devices.compile(make_eval_step(model, task, pretrained.preprocess))

    def card(self, digest: str) -> ModelCard:
        """Return what predict needs to know of variables with that digest."""
        pretrained = self.start.pretrained
        network = config_of(pretrained.spec)
        return ModelCard(
            model=pretrained.spec.name,
            width=network.width,
            pooled_head=network.pooled_head,
            class_names=self.splits.class_names,
            preprocess=pretrained.preprocess,
            digest=digest,
        )


def _check_batch(config: TrainConfig, devices: Devices) -> None:
    """Check that each device can divide its images into parts, or mix pairs of them."""
    count, parts = len(devices.devices), config.optim.accumulate
    pairs = 2 if config.augment.mixup or config.augment.cutmix else 1
    for size, why in ((parts, "optim.accumulate"), (pairs, "mixup and cutmix")):
        if config.batch_size % (size * count):
            raise InputError(
                f"{why}: batch_size must be a multiple of {size * count} for "
                f"{devices}, got {config.batch_size}"
            )


def _check_sweep(config: TrainConfig, model: ModelSpec, examples: int) -> None:
    tries = any(phase.candidate for phase in plan_phases(config, model))
    if tries and examples < HELD_OUT:
        raise InputError(
            "phases: choosing among learning rates holds out one training image in "
            f"{HELD_OUT}, but there are {examples}"
        )


@contextmanager
def enough_memory(setup: Setup) -> Iterator[None]:
    """Say what to change when the device has not enough memory.

    Raises:
        InputError: It ran out of memory within.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        size = setup.start.pretrained.preprocess.size
        raise InputError(
            f"not enough memory for {setup.config.batch_size} images of {size}x{size} "
            f"pixels a step on {setup.devices}: try a smaller --batch-size or "
            "--image-size, or freeze more of the network"
        ) from None


def prepare(
    config: TrainConfig, report: Callable[[str], None] = lambda text: None
) -> Setup:
    """Open the weights and the data of a run, and build its first state.

    Args:
        config: Checked by `preflight`.
        report: Takes the data's report, JSON text, before it is judged.

    Raises:
        InputError: Weights, data or rules cannot be used.
    """
    tune_cpu()
    devices = get_devices(config.devices, config.batch_size)
    _check_batch(config, devices)
    weights = open_for(config.model, config.weights, image_size=config.image_size)
    check_rules(config, weights.spec)
    splits = open_splits(config.data, weights.preprocess)
    report(splits.report.to_json())
    require_readable(splits)
    _check_sweep(config, weights.spec, len(splits.train))
    pretrained = weights.build(
        len(splits.class_names),
        class_names=splits.class_names,
        seed=config.seed,
    )
    epochs = sum(phase.epochs for phase in plan_phases(config, pretrained.spec))
    batches = Batches(splits.train, config.batch_size, config.seed, epochs)
    start = begin(config, pretrained, devices, steps_per_epoch=batches.steps_per_epoch)
    return Setup(config, devices, splits, batches, start)
