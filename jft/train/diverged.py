"""A run whose numbers are no longer finite: what was reached, by which examples."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from jft import tree
from jft.config import TrainConfig
from jft.errors import DivergedError
from jft.step import TrainState
from jft.train.setup import Setup

NAMED = 5  # examples that the message names


def first_bad_tensor(state: TrainState) -> str | None:
    """Return the first variable of a state on the host that is not finite."""
    for name, leaf in tree.flatten(state.variables).items():
        array = np.asarray(leaf)
        # NumPy's isfinite does not know bfloat16.
        if array.dtype.kind not in "iub" and not np.isfinite(array.astype("f4")).all():
            return name
    return None


def require_finite(state: TrainState, when: str) -> None:
    """Check the variables of a state on the host before they are saved.

    Raises:
        DivergedError: One is not finite.
    """
    name = first_bad_tensor(state)
    if name:
        raise DivergedError(
            f"{name} is no longer finite {when}: try a lower learning rate or "
            "--optim.clip-norm 1. The checkpoint before is kept"
        )


def require_few_skipped(skipped: int, config: TrainConfig, step: int) -> None:
    """Check that no more updates were skipped than `skip_nonfinite` allows.

    Raises:
        DivergedError: There were more.
    """
    if skipped > config.skip_nonfinite:
        raise DivergedError(
            f"{skipped} updates up to step {step} were not finite, and "
            f"--skip-nonfinite {config.skip_nonfinite} allows no more: try a lower "
            "learning rate or --optim.clip-norm 1. The checkpoint before is kept"
        )


def diverged(
    setup: Setup, step: int, sums: Mapping[str, Any], state: TrainState
) -> DivergedError:
    """Return the error of a step whose loss or gradient is not finite.

    Args:
        setup: The run.
        step: The step, from 1.
        sums: What the step has summed up.
        state: The state after it, on the host.
    """
    what = "gradient" if math.isfinite(sums["loss"]) else "loss"
    rate = ""
    if sums.get("learning_rate") and sums["weight"]:
        rate = f" (it is {sums['learning_rate'] / sums['weight']:.3g} here)"
    keys = setup.splits.train.keys
    examples = setup.batches.examples(step - 1)
    names = ", ".join(repr(keys[i]) if keys else str(i) for i in examples[:NAMED])
    more = f" and {len(examples) - NAMED} more" if examples[NAMED:] else ""
    tensor = first_bad_tensor(state)
    then = f"\n- the first tensor that is not finite then: {tensor}" if tensor else ""
    return DivergedError(
        f"the {what} is no longer finite at step {step}: try a lower learning "
        f"rate{rate} or --optim.clip-norm 1. The checkpoint before is kept\n"
        f"- the examples of the step: {names}{more}{then}"
    )
