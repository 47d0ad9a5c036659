"""All that a run is made of before its first step: data, network, phases, state."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import flax.linen as nn
import jax
import numpy as np

from jft.config import TrainConfig
from jft.data.pipeline import Batches
from jft.data.sources import Splits, open_splits, require_readable
from jft.devices import Devices
from jft.evaluate.source import encoded
from jft.features.decide import Choice
from jft.models import config_of
from jft.models.norm import require_two_values
from jft.models.own import OwnModel
from jft.runs.saved import ModelCard
from jft.step import TrainState
from jft.tasks import Task, to_dict
from jft.train.features import choices
from jft.train.objective import make_task, own_task
from jft.train.own_module import check_module
from jft.train.phases import Trainee, TrainPhase, build_phases, first_state
from jft.train.resolve import Rules
from jft.weights.initial import Initialised
from jft.weights.own import build_own
from jft.weights.pretrained import build


@dataclass(frozen=True)
class Setup:
    """A run before its first step.

    Attributes:
        rules: What it follows.
        splits: The data.
        batches: Those of all phases, in order.
        pretrained: The network with its preprocessing and how its weights loaded.
        task: What is learned.
        saved_task: The same, as the saved model records it.
        phases: In order.
        state: The first state, on the host.
        features: Of each phase, whether it trains on features that are kept.
    """

    rules: Rules
    splits: Splits
    batches: Batches
    pretrained: Initialised
    task: Task
    saved_task: Task
    phases: tuple[TrainPhase, ...]
    state: TrainState
    features: tuple[Choice, ...]

    @property
    def config(self) -> TrainConfig:
        """The configuration."""
        return self.rules.config

    @property
    def devices(self) -> Devices:
        """Where steps run."""
        return self.rules.devices

    def phase_at(self, step: int) -> int:
        """Return which phase comes after `step` steps; the last one at the end."""
        later = [i for i, phase in enumerate(self.phases) if step < phase.stop]
        return later[0] if later else len(self.phases) - 1

    def batch_shapes(self, phase: int) -> dict[str, jax.ShapeDtypeStruct]:
        """Return shape and dtype of each array of a phase's batches."""
        shapes = {
            name: jax.ShapeDtypeStruct(array.shape, array.dtype)
            for name, array in self.batches.empty().items()
        }
        if self.features[phase].cut:
            shape = (self.batches.batch_size, *self.features[phase].shape)
            shapes["image"] = jax.ShapeDtypeStruct(shape, np.float32)
        return shapes

    def card(self, digest: str) -> ModelCard:
        """Return what predict needs to know of variables with that digest."""
        channels = len(self.pretrained.preprocess.mean)
        return ModelCard(
            model=dataclasses.replace(
                config_of(self.pretrained.spec),
                channels=None if channels == 3 else channels,
            ),
            task=to_dict(self.saved_task),
            class_names=self.splits.class_names,
            preprocess=self.pretrained.preprocess,
            digest=digest,
        )


def prepare(rules: Rules, report: Callable[[str], None] = lambda text: None) -> Setup:
    """Read the data of a run, load its weights, and build its first state.

    Args:
        rules: What it follows, from `resolve`.
        report: Takes the data's report, JSON text, before it is judged.

    Raises:
        InputError: The weights or the data cannot be used.
    """
    config = rules.config
    splits = open_splits(
        rules.data,
        rules.preprocess,
        crop=config.augment.resized_crop,
        cache=config.cache,
        processes=config.workers,
    )
    report(splits.report.to_json())
    require_readable(splits)
    builtin = make_task(config, splits.train)
    task = own_task(rules.objects.task, builtin) or builtin
    train, test = (encoded(source, task) for source in (splits.train, splits.test))
    splits = dataclasses.replace(splits, train=train, test=test)
    pretrained = _initialised(rules, splits.class_names, task)
    epochs = sum(each.phase.epochs for each in rules.phases)
    batches = Batches(
        splits.train, config.batch_size, config.seed, epochs, config.sampling
    )
    trainee = Trainee(
        pretrained, task, rules.devices.axis_name, batches.steps_per_epoch
    )
    phases = build_phases(
        config, rules.phases, trainee, optimizer=rules.objects.optimizer
    )
    images = min(config.batch_size // config.optim.accumulate, len(splits.train))
    size = pretrained.preprocess.size
    for phase in phases:
        model = cast(nn.Module, phase.step_spec.model)
        if isinstance(rules.network, OwnModel):
            check_module(model, pretrained.variables, size, dense=task.dense)
        require_two_values(model, size, images)
    state = first_state(pretrained, phases[0], config.seed)
    return Setup(
        rules=rules,
        splits=splits,
        batches=batches,
        pretrained=pretrained,
        task=task,
        saved_task=builtin,
        phases=phases,
        state=state,
        features=choices(rules, splits, pretrained),
    )


def _initialised(rules: Rules, class_names: tuple[str, ...], task: Task) -> Initialised:
    """Return the network with its first variables."""
    spec, config = rules.network, rules.config
    if isinstance(spec, OwnModel):
        return build_own(spec, len(class_names), seed=config.seed)
    return build(
        rules.weights,
        spec,
        rules.preprocess,
        len(class_names),
        class_names=class_names,
        task=task,
        new_head=config.model.new_head,
        stem_init=config.model.stem_init,
        seed=config.seed,
    )
