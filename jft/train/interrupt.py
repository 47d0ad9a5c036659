"""Ctrl-C and SIGTERM ask a run to save and stop, instead of ending it on the spot."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(Exception):
    """A signal stopped the run; it was saved and can be resumed."""


@contextmanager
def catch_signals() -> Iterator[Callable[[], bool]]:
    """Note the first SIGINT or SIGTERM; a second one acts as it always does.

    Yields:
        A function that returns whether a signal has arrived. Outside the main thread,
        where Python allows no handlers, it is always False.
    """
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield came.is_set
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def note(number: int, frame: FrameType | None) -> None:
        came.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in numbers:
        signal.signal(number, note)
    try:
        yield came.is_set
    finally:
        for number in numbers:
            signal.signal(number, before[number])
