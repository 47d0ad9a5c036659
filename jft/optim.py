"""Schedules, and the optimizer: a chain whose order is fixed here, not by the user."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jft.config import OptimConfig
from jft.types import Params


def learning_rate(
    config: OptimConfig, *, steps: int, steps_per_epoch: int
) -> optax.Schedule:
    """Return the learning rate as a function of the step.

    Args:
        config: Peak rate, shape and warm-up.
        steps: Length of the run in steps; cosine reaches zero there.
        steps_per_epoch: Steps per epoch, in which warm-up is stated.
    """
    warmup = round(config.warmup_epochs * steps_per_epoch)
    peak = config.learning_rate
    if config.schedule == "cosine":
        after = optax.cosine_decay_schedule(peak, max(steps - warmup, 1))
    else:
        after = optax.constant_schedule(peak)
    if warmup:
        rise = optax.linear_schedule(0.0, peak, warmup)
        after = optax.join_schedules([rise, after], [warmup])
    # optax divides the step as it is, which strict dtype promotion refuses for ints.
    return lambda step: after(jnp.asarray(step, jnp.float32))


def decays(params: Any) -> Any:
    """Return a tree of bools: True for kernels, False for biases and norm scales."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: path[-1].key == "kernel", params
    )


def optimizer(
    config: OptimConfig, rate: optax.Schedule, frozen: Params
) -> optax.GradientTransformation:
    """Return the optimizer of the trained part; frozen leaves get zero and no state.

    The order is clip, momentum or Adam, decay, learning rate, all of it inside the
    trained branch: outside it, clipping would read the frozen gradients and bring
    their whole backward pass back, and decay would move frozen weights.

    Args:
        config: The optimizer's settings.
        rate: Learning rate by step.
        frozen: Tree of bools from `FreezeSpec.frozen`.
    """
    clip = optax.clip_by_global_norm(config.clip_norm) if config.clip_norm else None
    direction = {
        "sgd": lambda: optax.trace(config.momentum),
        "adamw": lambda: optax.scale_by_adam(),
    }[config.name]()
    decay = optax.add_decayed_weights(config.weight_decay, decays)
    chain = [clip, direction, decay, optax.scale_by_learning_rate(rate)]
    labels = jax.tree.map(lambda held: "frozen" if held else "trained", frozen)
    both = optax.multi_transform(
        {
            "trained": optax.chain(*(part for part in chain if part is not None)),
            "frozen": optax.set_to_zero(),
        },
        labels,
    )

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        # optax raises a float to an int power, which strict dtype promotion refuses.
        with jax.numpy_dtype_promotion("standard"):
            return both.update(updates, state, params)

    return optax.GradientTransformation(both.init, update)
