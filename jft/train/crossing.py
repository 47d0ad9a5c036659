"""From one phase of a run to the next: what is kept, and what begins anew."""

from typing import Any

import jax
import numpy as np
from flax.core import FrozenDict

from jft.optim import chain
from jft.step import TrainState, merge
from jft.train.legs import Leg, Start, averages


def cross(
    state: TrainState, start: Start, index: int, loss: float | None = None
) -> TrainState:
    """Return the state that the next leg begins with.

    Momentum, counts and averages of what was trained already go on as they are; what
    is trained from here on begins with none.

    Args:
        state: The state after the leg's last step, on the host.
        start: The run.
        index: The leg that has ended; not the last one.
        loss: Of a candidate, its loss on the examples that were held out.
    """
    leg, after = start.legs[index], start.legs[index + 1]
    if leg.phase.candidate:
        assert loss is not None
        state = _choose(state, start, index, loss)
    fresh = jax.device_get(after.step_spec.tx.init(state.params))
    opt_state = chain.carry(state.opt_state, fresh)
    return state.replace(opt_state=opt_state, ema=averages(state, after))


def _choose(state: TrainState, start: Start, index: int, loss: float) -> TrainState:
    """Return where the next candidate begins, or the best one as it ended."""
    leg, after = start.legs[index], start.legs[index + 1]
    kept: Any = state.best_candidate
    if not kept or loss < kept["loss"]:
        kept = keep(state, leg, loss)
    if after.phase.candidate:
        return start.state.replace(step=state.step, best_candidate=kept)
    return state.replace(
        params=merge(state.params, kept["params"]),
        batch_stats=kept["batch_stats"],
        opt_state=kept["opt_state"],
        ema=kept["ema"],
        best_candidate=FrozenDict(),
    )


def keep(state: TrainState, leg: Leg, loss: float) -> FrozenDict[str, Any]:
    """Return what a candidate has come to, and its loss, a float32 scalar."""
    return FrozenDict(
        params=leg.trained(state.params),
        batch_stats=state.batch_stats,
        opt_state=state.opt_state,
        ema=state.ema,
        loss=np.asarray(loss, np.float32),
    )


def like(start: Start, index: int) -> TrainState:
    """Return a state of the structure and shapes that a leg's states have."""
    leg, state = start.legs[index], start.state
    optimizer = leg.step_spec.tx
    state = state.replace(
        opt_state=jax.eval_shape(optimizer.init, state.params),
        ema=averages(state, leg),
        best_candidate=FrozenDict(),
    )
    if index and leg.phase.candidate:
        state = state.replace(best_candidate=keep(state, leg, 0.0))
    return state
