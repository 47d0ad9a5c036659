"""When each phase of a run starts and ends, in steps."""

from collections.abc import Sequence
from dataclasses import dataclass

from jft.freeze.phases import Phase


@dataclass(frozen=True)
class Interval:
    """The steps of one phase.

    Attributes:
        start: Steps of the run before it.
        stop: Steps of the run at its end.
        discarded: Of the steps before it, those of candidates that do not go on.
    """

    start: int
    stop: int
    discarded: int

    @property
    def counted(self) -> int:
        """Steps before it that the optimizer's state has seen."""
        return self.start - self.discarded


def timeline(phases: Sequence[Phase], steps_per_epoch: int) -> tuple[Interval, ...]:
    """Return when each phase starts and ends.

    Candidates all begin from the first state, and one of them goes on: the steps of the
    others do not count for what follows.
    """
    found: list[Interval] = []
    start = discarded = 0
    for i, phase in enumerate(phases):
        stop = start + phase.epochs * steps_per_epoch
        found.append(Interval(start, stop, discarded))
        if phase.candidate and phases[i + 1].candidate:
            discarded += stop - start
        start = stop
    return tuple(found)
