"""What a training step changes, and what it is made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import optax
from flax import struct
from flax.core import FrozenDict

from jft import tree
from jft.config import AugmentConfig, OptimConfig
from jft.models.network import Network
from jft.preprocess import Preprocess
from jft.tasks import Task
from jft.types import Params

HELD_OUT = 10  # one example in so many judges a sweep instead of training it


class TrainState(struct.PyTreeNode):
    """Everything that training changes, and the key it draws from.

    Attributes:
        step: int32 scalar, steps done.
        params: Immutable parameter tree, frozen leaves included.
        batch_stats: Statistics of batch normalisation; empty without it.
        opt_state: State of the optimizer; none for frozen leaves.
        key: Data of the run's root random key, uint32 [2]; never changes.
        ema: Running averages of the variables that move, by name; empty without.
        kept: What `jft.train.crossing` keeps of the best candidate; empty without.
    """

    step: jax.Array
    params: FrozenDict[str, Any]
    batch_stats: FrozenDict[str, Any]
    opt_state: optax.OptState
    key: jax.Array
    ema: FrozenDict[str, Any] = FrozenDict()
    kept: FrozenDict[str, Any] = FrozenDict()

    @property
    def variables(self) -> FrozenDict[str, Any]:
        """What the network is applied with: averages, where there are any."""
        variables: dict[str, Any] = {"params": self.params}
        if self.batch_stats:
            variables["batch_stats"] = self.batch_stats
        if not self.ema:
            return FrozenDict(variables)
        return FrozenDict(tree.unflatten(tree.flatten(variables) | dict(self.ema)))


@dataclass(frozen=True)
class StepSpec:
    """What a training step is made of; everything here is fixed while it runs.

    Attributes:
        model: The network; its `axis_name` is the mapped axis, if any.
        task: Loss and metrics.
        optimizer: From `jft.optim.chain.optimizer`.
        rate: Learning rate by step, for the log.
        rates: Each parameter's share of the learning rate, a tree; 0 is frozen.
        preprocess: Normalisation of the images.
        augment: Random changes to training images.
        optim: Accumulation, sharpness and averaging.
        steps_per_epoch: Steps per epoch.
        averaged: What has a running average, and the steps of the run that it does
            not count: those before it began, and those of lost candidates.
        holds_out: Leave every `HELD_OUT`-th example out of training.
    """

    model: Network
    task: Task
    optimizer: optax.GradientTransformationExtraArgs
    rate: optax.Schedule
    rates: Params
    preprocess: Preprocess
    augment: AugmentConfig
    optim: OptimConfig
    steps_per_epoch: int
    averaged: Mapping[str, int]
    holds_out: bool = False
