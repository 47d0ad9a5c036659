"""How far a run has come, beside its state: sums, records and seconds."""

import time
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Progress:
    """What a checkpoint holds beside the state; JSON.

    Attributes:
        total: Sums of the epoch so far.
        best: The record of the epoch with the highest test accuracy.
        test: The record of the last epoch's evaluation.
        tried: Learning rate and held-out loss of each candidate so far.
        seconds: Spent in earlier sessions, and in this one when it is saved.
        epoch_seconds: Spent in this epoch in earlier sessions, likewise.
    """

    total: dict[str, float] = field(default_factory=dict[str, float])
    best: dict[str, Any] = field(default_factory=dict[str, Any])
    test: dict[str, Any] = field(default_factory=dict[str, Any])
    tried: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    seconds: float = 0.0
    epoch_seconds: float = 0.0


class Clock:
    """Seconds of a run and of its epoch, over all of its sessions.

    Args:
        started: When this session began, in seconds of `time.perf_counter`.
    """

    def __init__(self, started: float) -> None:
        """Begin the run's seconds at `started`, and the epoch's now."""
        self._run = started
        self._epoch = time.perf_counter()

    def resume(self, progress: Progress) -> None:
        """Count what earlier sessions took."""
        self._run -= progress.seconds
        self._epoch = time.perf_counter() - progress.epoch_seconds

    def next_epoch(self) -> None:
        """Begin the epoch's seconds anew."""
        self._epoch = time.perf_counter()

    @property
    def run(self) -> float:
        """Seconds of the run."""
        return time.perf_counter() - self._run

    @property
    def epoch(self) -> float:
        """Seconds of the epoch."""
        return time.perf_counter() - self._epoch

    def stamp(self, progress: Progress) -> dict[str, Any]:
        """Return the progress as JSON, with the seconds up to now."""
        now = {"seconds": self.run, "epoch_seconds": self.epoch}
        return asdict(progress) | now
