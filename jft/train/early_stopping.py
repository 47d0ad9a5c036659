"""Early stopping: end a run whose test metric no longer improves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jft.errors import InputError
from jft.train.callbacks import Callback

if TYPE_CHECKING:
    from jft.train.setup import Setup

LOWER = ("loss", "mae", "rmse")  # metrics that are better the lower


class EarlyStopping(Callback):
    """End the run after some epochs without improvement, and keep its best epoch.

    The parameters of the best epoch become the final ones. In a run of several phases
    only the epochs of the last phase count.

    Args:
        patience: Epochs without improvement after which the run ends; at least 1.
        metric: Of the test images; auto is the score of the task: accuracy, mAP, mIoU
            or r2. `loss`, `mae` and `rmse` are better the lower, all others the higher.
        min_delta: By how much a metric must be better to be an improvement.
    """

    restores_best = True

    def __init__(
        self, patience: int, metric: str = "auto", min_delta: float = 0.0
    ) -> None:
        """Take the rule."""
        given: tuple[Any, Any] = (patience, min_delta)
        numbers = isinstance(given[0], int) and isinstance(given[1], int | float)
        if not numbers or patience < 1 or not 0 <= min_delta < math.inf:
            raise InputError(
                "early stopping needs patience of at least 1 and min_delta of at least "
                f"0, got {patience!r} and {min_delta!r}"
            )
        self._patience, self.metric, self._min_delta = patience, metric, min_delta
        self._best, self._waited, self._last = math.nan, 0, True

    def on_begin(self, setup: Setup) -> None:
        """Begin without a best value."""
        if self.metric == "auto":
            self.metric = setup.task.score
        self._phases = len(setup.phases)
        self._last = self._phases == 1

    def on_phase(self, index: int, tried: Sequence[tuple[float, float]]) -> None:
        """Count the epochs of the last phase only."""
        self._last = index == self._phases - 1

    def on_epoch(self, train: dict[str, Any], test: dict[str, Any]) -> bool:
        """Return whether the metric has not improved for `patience` epochs."""
        if not self._last:
            return False
        gain = improvement(self.metric, test, self._best)
        if math.isnan(self._best) or gain > self._min_delta:
            self._best, self._waited = float(test[self.metric]), 0
        else:
            self._waited += 1
        return self._waited >= self._patience

    def state(self) -> dict[str, Any]:
        """Return the best value so far, and the epochs since."""
        best = None if math.isnan(self._best) else self._best
        return {"best": best, "waited": self._waited, "last": self._last}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        self._best = math.nan if state["best"] is None else state["best"]
        self._waited, self._last = state["waited"], state["last"]


def improvement(metric: str, test: Mapping[str, Any], best: float) -> float:
    """Return by how much a record is better than the best value; NaN if unknown.

    Args:
        metric: Name of the metric.
        test: The record of an epoch on the test images.
        best: The best value so far; NaN if there is none.
    """
    gain = test[metric] - best
    return -gain if metric in LOWER else gain
