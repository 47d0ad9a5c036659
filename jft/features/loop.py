"""Several training steps as one compiled loop, over features on the device."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jft.step import TrainState
from jft.types import Batch, Metrics

TrainStep = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


def make_loop(
    step: TrainStep, length: int, steps_per_epoch: int
) -> Callable[[TrainState, Any], tuple[TrainState, Metrics]]:
    """Return `loop(state, work) -> (state, sums)`, to be compiled by `devices`.

    `work` has `data`, from `jft.features.examples.whole`; `row` and `id`, from
    `chunks`; and `count` int32, how many steps are to be done, at most L. The sums are
    those of each step, [L, ...]; beyond `count` they are 0.

    Args:
        step: From `make_train_step`, for features.
        length: Steps at most, L.
        steps_per_epoch: Steps per epoch; each epoch uses the next view.
    """

    def loop(state: TrainState, work: Any) -> tuple[TrainState, Metrics]:
        data = work["data"]
        views = data["image"].shape[0]

        def batch_at(state: TrainState, i: Any) -> dict[str, jax.Array]:
            row = work["row"][i]
            view = (state.step // steps_per_epoch) % views
            return {
                "image": data["image"][view, row],
                "label": data["label"][row],
                "weight": data["weight"][row],
                "id": work["id"][i],
            }

        def body(i: Any, carry: Any) -> Any:
            state, sums = carry
            state, new = step(state, batch_at(state, i))
            sums = jax.tree.map(lambda all_, one: all_.at[i].set(one), sums, dict(new))
            return state, sums

        shapes: Any = jax.eval_shape(lambda: step(state, batch_at(state, 0))[1])
        sums = jax.tree.map(
            lambda leaf: jnp.zeros((length, *leaf.shape), leaf.dtype), dict(shapes)
        )
        return jax.lax.fori_loop(0, work["count"], body, (state, sums))

    return loop
