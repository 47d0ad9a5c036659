"""What a run tells while it goes on, and what it comes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jft.train.plan import Plan
    from jft.train.setup import Setup


@dataclass(frozen=True)
class Result:
    """What a finished run came to.

    Attributes:
        workdir: The run's folder.
        score: Name of the metric that is better the higher: accuracy, mAP, mIoU or r2.
        metrics: What the final parameters come to on the test images: their number
            `n`, their `weight` where it is another, their mean `loss`, the score, and
            what else the task measures.
        params_digest: Hex sha256 over the final parameters and statistics.
        seconds: Time spent, over all sessions of the run.
    """

    workdir: Path
    score: str
    metrics: Mapping[str, Any]
    params_digest: str
    seconds: float


class Watch:
    """What is told of a run while it goes on; every method may be overridden."""

    def begin(self, setup: Setup, workdir: Path) -> None:
        """Hear that everything is loaded, and about to be compiled."""

    def planned(self, plan: Plan) -> None:
        """Hear that all is compiled, what it will cost, and that training begins."""

    def resumed(self, step: int, changes: list[str]) -> None:
        """Hear that training goes on after `step` steps.

        Args:
            step: Steps done.
            changes: How this machine differs from the one before, a line each; if it
                does, the run may not end with the same bits.
        """

    def step(self, done: int, total: dict[str, float]) -> None:
        """Hear of each step: how many are done, and the epoch's sums so far."""

    def epoch(self, train: dict[str, Any], test: dict[str, Any]) -> None:
        """Hear of each epoch's records, as they stand in `metrics.jsonl`."""

    def phase(self, leg: int, tried: Sequence[tuple[float, float]]) -> None:
        """Hear that the next phase begins.

        Args:
            leg: Its place among the run's phases, from 0.
            tried: If the phase before was one of several candidates, the learning rate
                and the held-out loss of each so far.
        """

    def end(self, result: Result, *, already: bool) -> None:
        """Hear of the result, or that the run had finished already."""
