"""Progress of a run besides its state: sums, records and seconds."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

Batch = TypeVar("Batch")


@dataclass
class Progress:
    """What a checkpoint holds besides the state, as JSON values.

    Attributes:
        total: Sums of the epoch so far; numbers, or nested lists of them.
        best: The record of the epoch with the highest score on the test images.
        test: The record of the last epoch's evaluation.
        tried: Learning rate and held-out loss of each candidate so far.
        callbacks: The state of each callback that has any, by name.
        skipped: Updates left out so far, since they were not finite.
        ended: Whether a callback has ended the run.
        seconds: Spent in earlier sessions, and in this one when it is saved.
        epoch_seconds: Spent in this epoch in earlier sessions, likewise.
        epoch_waited: Of these, those in which the loop waited for images.
    """

    total: dict[str, Any] = field(default_factory=dict[str, Any])
    best: dict[str, Any] = field(default_factory=dict[str, Any])
    test: dict[str, Any] = field(default_factory=dict[str, Any])
    tried: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    callbacks: dict[str, Any] = field(default_factory=dict[str, Any])
    skipped: int = 0
    ended: bool = False
    seconds: float = 0.0
    epoch_seconds: float = 0.0
    epoch_waited: float = 0.0


class Clock:
    """Seconds of a run and of its epoch, over all of its sessions.

    Attributes:
        waited: Seconds of the epoch in which the loop waited for images.

    Args:
        started: When this session began, in seconds of `time.perf_counter`.
    """

    def __init__(self, started: float) -> None:
        """Begin the run's seconds at `started`, and the epoch's now."""
        self._run = started
        self._epoch = time.perf_counter()
        self.waited = 0.0

    def waiting(self, reader: Iterator[Batch]) -> Iterator[Batch]:
        """Yield what a reader gives, and count the seconds that it takes to."""
        while True:
            began = time.perf_counter()
            batch = next(reader, None)
            self.waited += time.perf_counter() - began
            if batch is None:
                return
            yield batch

    def resume(self, progress: Progress) -> None:
        """Count what earlier sessions took."""
        self._run -= progress.seconds
        self._epoch = time.perf_counter() - progress.epoch_seconds
        self.waited = progress.epoch_waited

    def next_epoch(self) -> None:
        """Restart the seconds of the epoch."""
        self._epoch = time.perf_counter()
        self.waited = 0.0

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
        now = {
            "seconds": self.run,
            "epoch_seconds": self.epoch,
            "epoch_waited": self.waited,
        }
        return asdict(progress) | now
