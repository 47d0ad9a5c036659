"""A training step that leaves out updates that are not finite."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jft.step.state import TrainState
from jft.types import Batch, Metrics

Step = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


def skip_nonfinite(step: Step) -> Step:
    """Return a step that counts, but changes nothing, where the update is not finite.

    Where the loss or the norm of the gradient is not finite, the state after it is the
    state before it, except for `step`, and every sum is 0, except for `skipped`, which
    is 1. Batch statistics, optimizer and averages are as before, too.

    Args:
        step: From `make_train_step`.
    """

    def skipping(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        after, sums = step(state, batch)
        good = jnp.isfinite(sums["loss"]) & jnp.isfinite(sums["grad_norm"])
        before = state.replace(step=after.step)
        kept = jax.tree.map(lambda a, b: jnp.where(good, a, b), after, before)
        counted: dict[str, Any] = jax.tree.map(
            lambda value: jnp.where(good, value, jnp.zeros_like(value)), dict(sums)
        )
        return kept, counted | {"skipped": jnp.where(good, 0, 1).astype(jnp.int32)}

    return skipping
