"""All that a run is made of before it begins: data, network, phases, steps."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from jft.config import TrainConfig
from jft.data.listing import Dataset
from jft.data.pipeline import Batches
from jft.data.sources import Splits, list_data, open_splits, require_readable
from jft.devices import Devices, get_devices, tune_cpu
from jft.errors import InputError
from jft.freeze.phases import plan_phases
from jft.models import ModelSpec, config_of, configured
from jft.models.norm import require_two_values
from jft.runs.saved import ModelCard
from jft.step import HELD_OUT, make_eval_step, make_train_step
from jft.tasks import Task, to_dict
from jft.train import crossing
from jft.train.legs import Start, begin, check_rules
from jft.train.objective import check_task, make_task
from jft.train.preflight import workdir_of
from jft.weights.find import find_weights
from jft.weights.opened import open_weights
from jft.weights.pretrained import build

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
        return {
            name: jax.ShapeDtypeStruct(array.shape, array.dtype)
            for name, array in self.batches.empty().items()
        }

    def eval_step(self) -> Callable[[Any, Any], Any]:
        """Return the step that evaluates; it computes in float32, as predict does."""
        pretrained = self.start.pretrained
        model = pretrained.model.clone(axis_name=self.devices.axis_name)
        step = make_eval_step(model, self.task, pretrained.preprocess)
        return self.devices.compile(step)

    @property
    def workdir(self) -> Path:
        """The run's folder."""
        return workdir_of(self.config)

    @property
    def task(self) -> Task:
        """What is learned."""
        return self.start.legs[0].step_spec.task

    def card(self, digest: str) -> ModelCard:
        """Return what predict needs to know of variables with that digest."""
        pretrained = self.start.pretrained
        network = config_of(pretrained.spec)
        return ModelCard(
            model=pretrained.spec.name,
            width=network.width,
            pooled_head=network.pooled_head,
            decoder=network.decoder,
            task=to_dict(self.task),
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
    dataset = list_data(config.data)
    check_task(config, dataset.task)
    opened = open_weights(find_weights(config.weights, config.model.name))
    spec = configured(opened.network(config.model))
    preprocess = opened.preprocess_for(spec, config.image_size)
    spec = with_decoder(spec, dataset, config.model.decoder)
    check_rules(config, spec)
    splits = open_splits(
        dataset,
        preprocess,
        crop=config.augment.resized_crop,
        cache=config.cache,
        processes=config.workers,
    )
    report(splits.report.to_json())
    require_readable(splits)
    _check_sweep(config, spec, len(splits.train))
    pretrained = build(
        opened,
        spec,
        preprocess,
        len(splits.class_names),
        class_names=splits.class_names,
        seed=config.seed,
    )
    epochs = sum(phase.epochs for phase in plan_phases(config, pretrained.spec))
    batches = Batches(
        splits.train, config.batch_size, config.seed, epochs, config.sampling
    )
    start = begin(
        config,
        pretrained,
        devices,
        make_task(config, splits.train),
        steps_per_epoch=batches.steps_per_epoch,
    )
    images = min(config.batch_size // config.optim.accumulate, len(splits.train))
    for leg in start.legs:
        require_two_values(leg.step_spec.model, pretrained.preprocess.size, images)
    return Setup(config, devices, splits, batches, start)


def with_decoder(spec: ModelSpec, dataset: Dataset, wanted: str) -> ModelSpec:
    """Return the network with a decoder if, and only if, the data has masks.

    Args:
        spec: The network, with the decoder that was asked for or is its own.
        dataset: What there is to learn.
        wanted: The decoder that was asked for, or auto.

    Raises:
        InputError: A decoder was asked for that has nothing to learn from, or there is
            to be none for masks.
    """
    if dataset.task != "segmentation":
        if spec.decoder != "none":
            raise InputError(
                f"{spec.name} with a {spec.decoder} decoder learns from masks, and "
                f"{dataset.name} has none: it is for {dataset.task}"
            )
        return spec
    if spec.decoder != "none":
        return spec
    if wanted == "none":
        raise InputError(
            f"{dataset.name} has masks, which need a decoder: leave model.decoder at "
            "auto, or take fcn, deeplabv3 or unet"
        )
    return spec.adapted(decoder="unet")
