"""From one phase of a run to the next: what is carried over, and what starts new."""

from typing import Any

import jax
import numpy as np
from flax.core import FrozenDict

from jft.optim import chain
from jft.step import TrainState, merge
from jft.train.phases import TrainPhase, averages
from jft.train.setup import Setup


def next_state(
    state: TrainState, setup: Setup, index: int, loss: float | None = None
) -> TrainState:
    """Return the state that the next phase begins with.

    Momentum, counts and averages of what was trained before are carried over; what is
    trained from now on begins without any.

    Args:
        state: The state after the phase's last step, on the host.
        setup: The run.
        index: The phase that has ended; not the last one.
        loss: Of a candidate, its loss on the examples that were held out.
    """
    phase, after = setup.phases[index], setup.phases[index + 1]
    if phase.phase.candidate:
        assert loss is not None
        state = _choose(state, setup, index, loss)
    new = jax.device_get(after.step_spec.tx.init(state.params))
    opt_state = chain.carry(state.opt_state, new)
    return state.replace(opt_state=opt_state, ema=averages(state, after))


def _choose(state: TrainState, setup: Setup, index: int, loss: float) -> TrainState:
    """Return where the next candidate begins, or the best one at its end."""
    phase, after = setup.phases[index], setup.phases[index + 1]
    best: Any = state.best_candidate
    if not best or loss < best["loss"]:
        best = _candidate(state, phase, loss)
    if after.phase.candidate:
        return setup.state.replace(step=state.step, best_candidate=best)
    return state.replace(
        params=merge(state.params, best["params"]),
        batch_stats=best["batch_stats"],
        opt_state=best["opt_state"],
        ema=best["ema"],
        best_candidate=FrozenDict(),
    )


def _candidate(
    state: TrainState, phase: TrainPhase, loss: float
) -> FrozenDict[str, Any]:
    """Return the saved part of a candidate, and its loss, a float32 scalar."""
    return FrozenDict(
        params=phase.trained(state.params),
        batch_stats=state.batch_stats,
        opt_state=state.opt_state,
        ema=state.ema,
        loss=np.asarray(loss, np.float32),
    )


def state_like(setup: Setup, index: int) -> TrainState:
    """Return a state of the structure and shapes that a phase's states have."""
    phase, state = setup.phases[index], setup.state
    state = state.replace(
        opt_state=jax.eval_shape(phase.step_spec.tx.init, state.params),
        ema=averages(state, phase),
        best_candidate=FrozenDict(),
    )
    if index and phase.phase.candidate:
        state = state.replace(best_candidate=_candidate(state, phase, 0.0))
    return state
