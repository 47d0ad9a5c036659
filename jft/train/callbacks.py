"""Callbacks: code of one's own that a run calls as it goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jft.train.plan import Plan
    from jft.train.result import Result
    from jft.train.setup import Setup


class Callback:
    """What a run calls as it goes on; override the methods that you need.

    A callback that decides something, as `EarlyStopping` does, must decide the same
    when a killed run resumes: its state is saved with every checkpoint.

    Attributes:
        metric: Test metric that decides which epoch is the best; auto is the score of
            the task.
        restores_best: Whether the parameters of the best epoch become the final ones.
        decides: Whether it may change what is trained, by ending the run for one;
            `manifest.json` then lists it, as the folder of the run cannot repeat it.
    """

    metric: str = "auto"
    restores_best: bool = False
    decides: bool = True

    def on_begin(self, setup: Setup) -> None:
        """Everything is loaded; the steps are compiled next."""

    def on_plan(self, plan: Plan) -> None:
        """The steps are compiled; training begins next."""

    def on_resume(self, step: int, changes: list[str]) -> None:
        """Training continues after `step` steps.

        Args:
            step: Steps done.
            changes: How this machine differs from the one before, one line each. If it
                differs, the run may not end with the same bits.
        """

    def on_step(self, step: int, totals: Mapping[str, Any]) -> None:
        """A step is done.

        Args:
            step: Steps done.
            totals: The epoch's sums so far: `totals["loss"] / totals["weight"]` is the
                mean loss.
        """

    def on_epoch(self, train: dict[str, Any], test: dict[str, Any]) -> bool | None:
        """An epoch is done and evaluated.

        Args:
            train: Its record on the training images, as in `metrics.jsonl`.
            test: Its record on the test images.

        Returns:
            True to end the run here.
        """

    def on_phase(self, index: int, tried: Sequence[tuple[float, float]]) -> None:
        """The next phase begins.

        Args:
            index: Its position among the run's phases, from 0.
            tried: If the phase before was one of several candidates, the learning rate
                and the held-out loss of each so far.
        """

    def on_end(self, result: Result, *, already: bool) -> None:
        """The run is finished; `already` if it was finished before."""

    def state(self) -> dict[str, Any]:
        """Return what a resumed run needs, as JSON values."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` returned when the checkpoint was saved."""


def named(callbacks: Sequence[Callback]) -> dict[str, Callback]:
    """Return callbacks by their class names, numbered where a class occurs again."""
    found: dict[str, Callback] = {}
    for callback in callbacks:
        name = type(callback).__name__
        count = sum(type(each).__name__ == name for each in found.values())
        found[f"{name} {count + 1}"] = callback
    return found
