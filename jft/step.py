"""The compiled steps: pure functions of (state, batch)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct
from flax.core import FrozenDict

from jft import augment
from jft.config import AugmentConfig
from jft.preprocess import Preprocess
from jft.tasks import Classification
from jft.types import Batch, Metrics, Params


class TrainState(struct.PyTreeNode):
    """Everything that training changes, and the key it draws from.

    Attributes:
        step: int32 scalar, steps done.
        params: Immutable parameter tree, frozen leaves included.
        batch_stats: Statistics of batch normalisation; empty without it.
        opt_state: State of the optimizer; none for frozen leaves.
        key: Data of the run's root random key, uint32 [2]; never changes.
    """

    step: jax.Array
    params: FrozenDict[str, Any]
    batch_stats: FrozenDict[str, Any]
    opt_state: optax.OptState
    key: jax.Array

    @property
    def variables(self) -> FrozenDict[str, Any]:
        """What the network is applied with."""
        variables: dict[str, Any] = {"params": self.params}
        if self.batch_stats:
            variables["batch_stats"] = self.batch_stats
        return FrozenDict(variables)


@dataclass(frozen=True)
class StepSpec:
    """What a training step is made of; everything here is fixed while it runs.

    Attributes:
        model: The network; its `axis_name` is the mapped axis, if any.
        task: Loss and metrics.
        optimizer: From `jft.optim.optimizer`.
        rate: Learning rate by step, for the log.
        frozen: Tree of bools like the parameters.
        preprocess: Normalisation of the images.
        augment: Random changes to training images.
        steps_per_epoch: Steps per epoch.
    """

    model: nn.Module
    task: Classification
    optimizer: optax.GradientTransformation
    rate: optax.Schedule
    frozen: Params
    preprocess: Preprocess
    augment: AugmentConfig
    steps_per_epoch: int


def total(values: Any, axis_name: str | None) -> Any:
    """Add a tree up over the mapped axis, if there is one."""
    return values if axis_name is None else jax.lax.psum(values, axis_name)


def hold(params: Params, frozen: Params) -> Params:
    """Cut frozen leaves out of differentiation.

    `multi_transform` alone only discards their gradients: as soon as anything else
    reads them, a logged norm for instance, XLA has to compute them again.
    """
    return jax.tree.map(
        lambda leaf, held: jax.lax.stop_gradient(leaf) if held else leaf, params, frozen
    )


def make_train_step(
    spec: StepSpec,
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """Return `train_step(state, batch) -> (state, sums)`, to be compiled by `devices`.

    The loss is the sum over the batch of all devices divided by the weight of all, so
    the number of devices changes nothing but the order of additions. The sums are
    those of the task, and `grad_norm` and `learning_rate` times the batch's weight:
    averaged over an epoch, they are the mean over its examples.
    """
    axis: str | None = getattr(spec.model, "axis_name", None)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        epoch = state.step // spec.steps_per_epoch
        pixels = augment.augment(
            batch["image"],
            batch["id"],
            jax.random.wrap_key_data(state.key),
            epoch,
            spec.augment,
        )
        image = augment.normalise(pixels, spec.preprocess)
        weight, label = batch["weight"], batch["label"]
        count = total(jnp.sum(weight), axis)

        def loss_of(params: Params) -> tuple[jax.Array, Any]:
            variables = {
                "params": hold(params, spec.frozen),
                "batch_stats": state.batch_stats,
            }
            logits, changed = spec.model.apply(
                variables, image, train=True, weight=weight, mutable=["batch_stats"]
            )
            loss = spec.task.loss(logits, label)
            return jnp.sum(loss * weight) / count, (loss, logits, changed)

        grads, (loss, logits, changed) = jax.grad(loss_of, has_aux=True)(state.params)
        # Frozen gradients are zero: adding them up over devices would still be work.
        grads = jax.tree.map(
            lambda g, held: g if held else total(g, axis), grads, spec.frozen
        )
        updates, opt_state = spec.optimizer.update(grads, state.opt_state, state.params)
        sums = dict(total(spec.task.sums(logits, label, weight), axis))
        sums["loss"] = total(jnp.sum(loss * weight), axis)
        sums["grad_norm"] = optax.tree.norm(grads) * count
        sums["learning_rate"] = jnp.asarray(spec.rate(state.step)) * count
        return state.replace(
            step=state.step + 1,
            params=apply_updates(state.params, updates, spec.frozen),
            batch_stats=FrozenDict(changed.get("batch_stats", {})),
            opt_state=opt_state,
        ), sums

    return train_step


def apply_updates(params: Params, updates: Any, frozen: Params) -> Params:
    """Add updates to the trained leaves only.

    Adding a zero is not nothing: it turns -0.0 into +0.0, another bit pattern.
    """
    return jax.tree.map(
        lambda leaf, update, held: leaf if held else leaf + update,
        params,
        updates,
        frozen,
    )


def make_predict_step(
    model: nn.Module, preprocess: Preprocess
) -> Callable[[Params, jax.Array], jax.Array]:
    """Return `predict_step(variables, image) -> logits [B, K]` for uint8 images."""

    def predict_step(variables: Params, image: jax.Array) -> jax.Array:
        logits = model.apply(variables, augment.normalise(image, preprocess))
        return jnp.asarray(logits)

    return predict_step


def make_eval_step(
    model: nn.Module, task: Classification, preprocess: Preprocess
) -> Callable[[Params, Batch], Metrics]:
    """Return `eval_step(variables, batch) -> sums`, to be compiled by `devices`."""
    axis: str | None = getattr(model, "axis_name", None)
    predict_step = make_predict_step(model, preprocess)

    def eval_step(variables: Params, batch: Batch) -> Metrics:
        logits = predict_step(variables, batch["image"])
        return total(task.sums(logits, batch["label"], batch["weight"]), axis)

    return eval_step
