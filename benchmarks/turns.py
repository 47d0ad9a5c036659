"""Processes that take turns: each has training steps and runs one on request.

Needs nothing but Python, so that a process of another environment can import it.
"""

import ctypes
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Step:
    """A training step, ready to run.

    Attributes:
        run: Does one step, waits for its end, and returns the loss.
        facts: What is known without running it, as JSON values.
    """

    run: Callable[[], float]
    facts: dict[str, Any]


def timed(step: Step) -> tuple[float, float]:
    """Run a step; return its seconds, and the CPU-seconds of the process's threads."""
    began, worked = time.perf_counter(), time.process_time()
    loss = step.run()
    seconds, work = time.perf_counter() - began, time.process_time() - worked
    if not math.isfinite(loss):  # NaN may change the time
        raise SystemExit(f"the loss is {loss}")
    return seconds, work


def resident(field: str = "VmRSS") -> int:
    """Return the bytes that the process has in memory: VmRSS now, VmHWM at the peak."""
    status = Path("/proc/self/status").read_text()
    line = next(x for x in status.splitlines() if x.startswith(field))
    return int(line.split()[1]) * 1024


def peak(step: Step) -> int:
    """Return the most bytes that the process has in memory during two steps."""
    step.run()
    # Memory that the compiler used does not belong to the step.
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak
    for _ in range(2):
        step.run()
    return resident("VmHWM")


def serve(build: Callable[[int], Step]) -> None:
    """Answer what a `Worker` asks on stdin, until it closes.

    Args:
        build: Returns the step with this many frozen layers.
    """
    answers, sys.stdout = sys.stdout, sys.stderr
    before = resident()
    steps: dict[str, Step] = {}
    for line in sys.stdin:
        question, name, *rest = json.loads(line)
        if question == "build":
            steps[name] = build(*rest)
            answer: Any = steps[name].facts
        elif question == "time":
            answer = timed(steps[name])
        else:
            answer = peak(steps[name]) - before
        print(json.dumps(answer), file=answers, flush=True)


class Worker:
    """A process that answers with `serve`."""

    def __init__(self, command: Sequence[str]) -> None:
        """Start it; leaving its `with` block ends it."""
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def build(self, name: str, frozen: int) -> dict[str, Any]:
        """Build a step with this many frozen layers; return its facts."""
        return self._ask("build", name, frozen)

    def time(self, name: str) -> tuple[float, float]:
        """Return seconds and CPU-seconds of one step."""
        seconds, work = self._ask("time", name)
        return seconds, work

    def peak(self, name: str) -> int:
        """Return the growth of its memory during a step, at the peak, in bytes."""
        return self._ask("peak", name)

    def _ask(self, *question: Any) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"no answer to {question}: the process has ended")
        return json.loads(answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate()
