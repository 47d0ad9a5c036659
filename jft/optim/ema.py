"""Running averages of what training changes."""

from typing import Any

import jax
import jax.numpy as jnp


def ema(average: Any, values: Any, decay: float, step: jax.typing.ArrayLike) -> Any:
    """Return a running average moved towards values.

    Early on it follows faster, min(decay, (1 + step) / (10 + step)), as TensorFlow's
    `ExponentialMovingAverage` with `num_updates`: it forgets its first values.

    Args:
        average: Tree of float32 arrays.
        values: Tree of the same structure and shapes.
        decay: Fraction of the average that a step keeps, in [0, 1).
        step: Updates that the average has seen before this one.
    """
    done = jnp.asarray(step, jnp.float32)
    kept = jnp.minimum(decay, (1 + done) / (10 + done))
    return jax.tree.map(lambda a, v: a + (1 - kept) * (v - a), average, values)
