"""The training step: a pure function of (state, batch)."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from flax.core import FrozenDict

from jft import augment, tree
from jft.models.pixels import normalise
from jft.optim import chain
from jft.optim.ema import ema
from jft.step.state import StepSpec, TrainState
from jft.types import HELD_OUT, Batch, Metrics, Params


def total(values: Any, axis_name: str | None) -> Any:
    """Add a tree up over the mapped axis, if there is one."""
    return values if axis_name is None else jax.lax.psum(values, axis_name)


def trained(params: Params, lr_mults: Params) -> dict[str, Any]:
    """Return the leaves whose learning-rate multiplier is not 0, by name.

    The loss is differentiated by these alone, so there is no gradient of a frozen leaf
    that a norm or a clip could bring back to life.
    """
    mults = tree.flatten(lr_mults)
    return {name: leaf for name, leaf in tree.flatten(params).items() if mults[name]}


def merge(params: Params, moved: Mapping[str, Any]) -> FrozenDict[str, Any]:
    """Return the parameters with some leaves replaced; the others are untouched."""
    return FrozenDict(tree.unflatten(tree.flatten(params) | dict(moved)))


def make_train_step(
    spec: StepSpec,
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """Return `train_step(state, batch) -> (state, sums)`, to be compiled by `devices`.

    The loss is the sum over the batch of all devices divided by the weight of all, so
    the number of devices changes nothing but the order of additions. The sums are
    those of the task, and `grad_norm` and `learning_rate` times the batch's weight:
    averaged over an epoch, they are the mean over its examples.
    """
    axis = spec.model.axis_name

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        inputs = prepare(spec, state, batch)
        weight = inputs["weight"]
        whole = total(jnp.sum(weight), axis)
        # A batch may hold nothing but padding and what is held out.
        inputs["loss_weight"] = weight / jnp.maximum(whole, 1e-6)
        params = trained(state.params, spec.lr_mults)
        first = gradients(spec, state, params, inputs)
        grads = first.grads
        if spec.optim.sam:
            # The statistics are those at the parameters, not at the disturbed ones.
            uphill = _uphill(params, grads, spec.optim.sam)
            grads = gradients(spec, state, uphill, inputs).grads
        sums = spec.task.sums(first.logits, inputs["label"], weight)
        sums = dict(total(sums, axis)) | {
            "loss": total(jnp.sum(first.loss * weight), axis),
            "grad_norm": optax.tree.norm(grads) * whole,
        }
        if spec.learning_rate is not None:
            rate = spec.learning_rate(state.step) * chain.plateau_scale(state.opt_state)
            sums["learning_rate"] = rate * whole
        mean = total(jnp.sum(first.loss * inputs["loss_weight"]), axis)
        moved = _update(state, spec, grads, first.batch_stats, mean)
        return _update_ema(moved, spec), sums

    return train_step


def _update(
    state: TrainState,
    spec: StepSpec,
    grads: Mapping[str, Any],
    stats: Params,
    loss: jax.Array,
) -> TrainState:
    """Return the state after one update; frozen leaves are the same arrays."""
    zeros = jax.tree.map(jnp.zeros_like, state.params)
    updates, opt_state = spec.tx.update(
        merge(zeros, grads), state.opt_state, state.params, value=loss
    )
    moves = trained(cast(Params, updates), spec.lr_mults)
    params = trained(state.params, spec.lr_mults)
    # Not `optax.apply_updates`: -0.0 + 0.0 is another bit pattern.
    moved = {name: params[name] + move for name, move in moves.items()}
    return state.replace(
        step=state.step + 1,
        params=merge(state.params, moved),
        batch_stats=FrozenDict(stats),
        opt_state=opt_state,
    )


def prepare(spec: StepSpec, state: TrainState, batch: Batch) -> dict[str, jax.Array]:
    """Return what the loss is computed from, every array with an axis of examples.

    `image` [B, S, S, 3] float32, augmented and normalised, or features; `label` as in
    the batch, masks augmented with their images; `target`, what the task makes of it,
    mixed with the images; `weight` [B], 0 on padding and on what is held out; `key`
    [B], random keys, if the network needs any.
    """
    key = jax.random.wrap_key_data(state.key)
    epoch = state.step // spec.steps_per_epoch
    weight, example = batch["weight"], batch["id"]
    if spec.hold_out:
        weight = jnp.where(example % HELD_OUT == 0, 0.0, weight)
    image, label = batch["image"], batch["label"]
    if spec.start is None:
        image, mask = augment.augment(
            image,
            example,
            key,
            epoch,
            spec.augment,
            size=spec.preprocess.size,
            mask=label if spec.task.dense else None,
        )
        label = label if mask is None else mask.astype(jnp.int32)
    target = spec.task.target(label, spec.model.num_classes)
    if spec.start is None:
        image, target = augment.mix(
            image, target, weight, example, key, epoch, spec.augment
        )
        image = normalise(image, spec.preprocess)
    inputs = {
        "image": image,
        "label": label,
        "target": target,
        "weight": weight,
    }
    if spec.model.mode.dropout or spec.model.mode.drop_path:
        noise = jax.random.fold_in(jax.random.fold_in(key, epoch), _NOISE)
        inputs["key"] = jax.vmap(lambda i: jax.random.fold_in(noise, i))(example)
    return inputs


_NOISE = 2**31 - 1  # sets these keys apart from those of augmentation


class Gradients(NamedTuple):
    """What one pass forward and backward gives.

    Attributes:
        grads: Gradients of the trained leaves by name, added up over devices.
        batch_stats: New statistics of batch normalisation.
        logits: As the task has them, [B, ...] float32.
        loss: Loss per example [B] float32.
    """

    grads: dict[str, Any]
    batch_stats: Params
    logits: jax.Array
    loss: jax.Array


def gradients(
    spec: StepSpec,
    state: TrainState,
    params: Mapping[str, Any],
    inputs: Mapping[str, jax.Array],
) -> Gradients:
    """Run the network forward and backward over a batch.

    Args:
        spec: What the step is made of.
        state: Frozen parameters and statistics.
        params: The trained leaves, by name, by which the loss is differentiated.
        inputs: From `prepare`, with `loss_weight` [B], each example's
            fraction of the batch's weight.
    """
    start = {"start": spec.start} if spec.start else {}

    def loss_of(params: Mapping[str, Any], stats: Params, part: Any) -> Any:
        variables = {"params": merge(state.params, params), "batch_stats": stats}
        logits, changed = spec.model.apply(
            variables,
            part["image"],
            train=True,
            weight=part["weight"],
            keys=part.get("key"),
            mutable=["batch_stats"],
            **start,
        )
        loss = spec.task.loss(logits, part["target"])
        after = changed.get("batch_stats", {})
        return jnp.sum(loss * part["loss_weight"]), (after, logits, loss)

    differentiate = jax.grad(loss_of, has_aux=True)

    def add(carry: Any, part: Any) -> Any:
        grads, (stats, *outputs) = differentiate(dict(params), carry[1], part)
        return (jax.tree.map(jnp.add, carry[0], grads), stats), outputs

    parts, stats = spec.optim.accumulate, state.batch_stats.unfreeze()
    if parts == 1:
        grads, (stats, logits, loss) = differentiate(dict(params), stats, dict(inputs))
    else:
        split = jax.tree.map(
            lambda x: x.reshape(parts, len(x) // parts, *x.shape[1:]), dict(inputs)
        )
        zeros = jax.tree.map(jnp.zeros_like, dict(params))
        # Unrolled: on CPU, convolutions inside a loop are many times slower.
        (grads, stats), outputs = jax.lax.scan(add, (zeros, stats), split, unroll=True)
        logits, loss = (x.reshape(-1, *x.shape[2:]) for x in outputs)
    # Adding up over devices is for the trained part alone, as everything here.
    return Gradients(total(grads, spec.model.axis_name), stats, logits, loss)


def _uphill(
    params: Mapping[str, Any], grads: Mapping[str, Any], radius: float
) -> dict[str, Any]:
    """Return the parameters at `radius` from here where the loss rises most.

    Source: Foret et al. 2021, https://arxiv.org/abs/2010.01412, equation 2, over the
    trained parameters.
    """
    step = radius / jnp.maximum(optax.tree.norm(grads), 1e-12)
    return {name: leaf + step * grads[name] for name, leaf in params.items()}


def _update_ema(state: TrainState, spec: StepSpec) -> TrainState:
    """Return the state with its running averages moved towards the new values."""
    now = tree.flatten({"params": state.params, "batch_stats": state.batch_stats})
    # `step` has already counted this update.
    averages = {
        name: ema(state.ema[name], now[name], spec.optim.ema, state.step - 1 - n)
        for name, n in spec.ema_start.items()
    }
    return state.replace(ema=FrozenDict(averages))
