"""What a training step changes, and what it is made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from flax.core import FrozenDict

from jft import tree
from jft.config import AugmentConfig, OptimConfig
from jft.models.protocol import StagedModule
from jft.preprocess import Preprocess
from jft.tasks import Task
from jft.types import Params


class TrainState(struct.PyTreeNode):
    """Everything that training changes, and the key it draws from.

    Attributes:
        step: int32 scalar, steps done.
        params: Immutable parameter tree, frozen leaves included.
        batch_stats: Statistics of batch normalisation; empty without it.
        opt_state: State of the optimizer; none for frozen leaves.
        key: Data of the run's root random key, uint32 [2]; never changes.
        ema: Running averages of the variables that change, by name; empty without.
        best_candidate: The best phase candidate so far; empty without.
    """

    step: jax.Array
    params: FrozenDict[str, Any]
    batch_stats: FrozenDict[str, Any]
    opt_state: optax.OptState
    key: jax.Array
    ema: FrozenDict[str, Any] = FrozenDict()
    best_candidate: FrozenDict[str, Any] = FrozenDict()

    @classmethod
    def create(
        cls,
        variables: Mapping[str, Any],
        tx: optax.GradientTransformation,
        seed: int = 0,
    ) -> "TrainState":
        """Return the state before the first step.

        Args:
            variables: {"params": ...}, and "batch_stats" where batches are normalised.
            tx: The optimizer.
            seed: Fixes augmentation, dropout and all else that is random.
        """
        return cls(
            step=jnp.zeros((), jnp.int32),
            params=variables["params"],
            batch_stats=FrozenDict(variables.get("batch_stats") or {}),
            opt_state=tx.init(variables["params"]),
            key=jax.random.key_data(jax.random.key(seed)),
        )

    @property
    def variables(self) -> FrozenDict[str, Any]:
        """What the network is applied with: running averages, where there are any."""
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
        model: The network, or any Flax module that follows the protocol; its
            `axis_name` is the mapped axis, if any.
        task: Loss and metrics.
        tx: The optimizer, from `make_optimizer`.
        lr_mults: Tree like the parameters of learning-rate multipliers, Python floats;
            0 is frozen.
        preprocess: Normalisation of the images.
        learning_rate: Learning rate by step, for the log. None logs none.
        augment: Random changes to training images.
        optim: Of these settings, `accumulate`, `sam` and `ema`.
        steps_per_epoch: Steps per epoch; each epoch augments differently.
        ema_start: For each variable with a running average, by name, the value of
            `TrainState.step` at which the average began. Steps that do not count for
            it, such as those of rejected candidates, are added.
        start: First part of the network that runs, where batches have features
            [B, ...] float32 for their images; None: images, and all parts.
        hold_out: Leave every `HELD_OUT`-th example out of training.
    """

    model: StagedModule
    task: Task
    tx: optax.GradientTransformationExtraArgs
    lr_mults: Params
    preprocess: Preprocess
    learning_rate: optax.Schedule | None = None
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    steps_per_epoch: int = 1
    ema_start: Mapping[str, int] = field(default_factory=dict[str, int])
    hold_out: bool = False
    start: str | None = None
