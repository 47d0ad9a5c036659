"""Signals ask a run to save and stop, instead of ending it on the spot."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)  # Ctrl-C, and of schedulers


class Interrupted(Exception):
    """A signal stopped the run; it was saved and can be resumed."""


@contextmanager
def catch_signals() -> Iterator[Callable[[], bool]]:
    """Note the first of `SIGNALS`; a second one acts as it always does.

    Yields:
        A function that returns whether a signal has arrived. Outside the main thread,
        where Python allows no handlers, it is always False.
    """
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield came.is_set
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def note(number: int, frame: FrameType | None) -> None:
        came.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in SIGNALS:
        signal.signal(number, note)
    try:
        yield came.is_set
    finally:
        for number in SIGNALS:
            signal.signal(number, before[number])
