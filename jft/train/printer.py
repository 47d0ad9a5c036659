"""The progress of a run: plain lines, and on a terminal a progress bar."""

import shlex
import sys
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from jft.console.status import working
from jft.console.text import epochs, outcome, shown
from jft.data.describe import absent_classes
from jft.data.objects import OBJECTS
from jft.data.sources import Splits
from jft.runs.directory import RunDirectory
from jft.tasks import TASKS
from jft.train.callbacks import Callback
from jft.train.plan import Plan
from jft.train.plan_table import outputs_line, phase_line, plan_lines
from jft.train.result import Result
from jft.train.setup import Setup

STARVING = 0.1  # fraction of an epoch spent waiting for images that is worth a remark
HEADS = ("epoch", "train loss", "score", "test loss", "score", "time")
WIDTHS = (7, 10, 8, 9, 8, 7)
NAMED = 5  # classes that a line names


class Printer(Callback):
    """Prints the progress of a run to standard output; on a terminal with a bar."""

    decides = False

    def __init__(self, ready: Callable[[], None] = lambda: None) -> None:
        """Use the standard output of this moment.

        Args:
            ready: Called before the first line is printed.
        """
        self._console = Console(highlight=False, soft_wrap=True, emoji=False)
        self._ready = ready
        self._waiting = ExitStack()
        self._progress: Progress | None = None
        self._setup: Setup | None = None
        self._timed = 0, 0.0  # the step and the time that images/s count from
        self._epochs = 0  # printed so far

    def on_begin(self, setup: Setup) -> None:
        """Print what was loaded."""
        self._setup = setup
        self._ready()
        for line in [*introduction(setup), f"{'run':<10}{setup.rules.workdir}"]:
            self._line(line)
        self._waiting.enter_context(working("compiling"))

    def on_plan(self, plan: Plan) -> None:
        """Print the cost, and start the bar."""
        assert self._setup is not None
        self._waiting.close()
        for line in ["", *plan_lines(plan, whole=False), ""]:
            self._line(line)
        if self._console.is_terminal:
            self._progress = _bar(self._console)
            self._progress.start()
            self._progress.add_task("training", total=len(self._setup.batches))
        self._timed = 0, time.perf_counter()

    def on_resume(self, step: int, changes: list[str]) -> None:
        """Print where training resumes, and what may change its numbers."""
        self._line(f"resuming after step {step}")
        for change in changes:
            self._line(f"  changed since the last session: {change}")
        self._update(completed=step)
        self._timed = step, time.perf_counter()

    def on_step(self, step: int, totals: Mapping[str, Any]) -> None:
        """Move the progress bar."""
        if not (self._progress and self._setup and totals["weight"]):
            return
        batches, (first, start) = self._setup.batches, self._timed
        done = (step - first) * self._setup.config.batch_size
        speed = done / max(time.perf_counter() - start, 1e-9)
        epoch = (step - 1) // batches.steps_per_epoch + 1
        loss = shown("loss", totals["loss"] / totals["weight"])
        text = f"epoch {epoch}/{batches.epochs}, loss {loss}, {speed:,.0f} images/s"
        if step % batches.steps_per_epoch == 0:
            text = f"epoch {epoch}/{batches.epochs}, evaluating"
        self._update(completed=step, description=text)

    def on_epoch(self, train: dict[str, Any], test: dict[str, Any]) -> None:
        """Print a line of losses and scores."""
        assert self._setup is not None
        score = self._setup.task.score
        if not self._epochs:
            self._row([score if head == "score" else head for head in HEADS])
        self._epochs += 1
        cells = [f"{train['epoch']}/{self._setup.batches.epochs}"]
        for record in (train, test):
            cells.append(shown("loss", record["loss"]))
            cells.append(shown(score, record[score]) if score in record else "-")
        waited = f"{train['data']:.0%} waiting" if train["data"] >= STARVING else ""
        self._row([*cells, f"{train['seconds']:.1f} s", waited])
        self._timed = train["step"], time.perf_counter()

    def on_phase(self, index: int, tried: Sequence[tuple[float, float]]) -> None:
        """Print what is trained in the next phase."""
        assert self._setup is not None
        phase = self._setup.phases[index].phase
        if tried:
            rate, loss = tried[-1]
            self._line(f"learning rate {rate:g}: held-out loss {shown('loss', loss)}")
        if tried and not phase.candidate:
            best = min(tried, key=lambda candidate: candidate[1])
            self._line(f"best: learning rate {best[0]:g}")
        self._line(phase_line(phase))

    def on_end(self, result: Result, *, already: bool) -> None:
        """Print the result, the run's folder, and what to do next."""
        self.close()
        self._ready()
        self._line("")
        if already:
            self._line(f"{result.workdir} is finished already; nothing was done.")
        self._line(
            f"test {outcome(result.score, result.metrics)}, "
            f"after {result.seconds:.0f} s"
        )
        for line in advice(result):
            self._line(line)
        self._line(f"the run is in {result.workdir}")
        self._line("\nnext:")
        for command in next_commands(result):
            self._line(f"  {command}")

    def close(self) -> None:
        """Remove the progress bar."""
        self._waiting.close()
        if self._progress:
            self._progress.stop()
            self._progress = None

    def _update(self, **changes: Any) -> None:
        if self._progress:
            self._progress.update(self._progress.task_ids[0], **changes)

    def _row(self, cells: Sequence[str]) -> None:
        widths = [*WIDTHS, 0]
        text = "  ".join(c.rjust(w) for c, w in zip(cells, widths, strict=False))
        self._line(text.rstrip())

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False)
        sys.stdout.flush()


def print_plan(setup: Setup, plan: Plan) -> None:
    """Print what a run would cost."""
    lines = [*introduction(setup), "", *plan_lines(plan, whole=True)]
    print("\n".join(lines))


def introduction(setup: Setup) -> list[str]:
    """Return lines on the network, weights, data, training and device of a run."""
    config, splits, pretrained = setup.config, setup.splits, setup.pretrained
    counts = setup.phases[-1].counts
    total = sum(count.total for count in counts)
    size = pretrained.preprocess.size
    optim = config.optim
    lines = [
        ("network", f"{config.model.name}, {total:,} parameters"),
        ("weights", weights_line(setup)),
        (
            "data",
            f"{config.data}, {outputs_line(splits)}, {size} x {size} pixels",
        ),
        (
            "",
            f"{len(splits.train):,} images for training, {len(splits.test):,} for "
            "testing",
        ),
        (
            "training",
            f"{epochs(setup.batches.epochs)} of {setup.batches.steps_per_epoch} steps "
            f"of {config.batch_size} images",
        ),
        (
            "optimizer",
            f"{optim.name}, learning rate {optim.learning_rate:g}, {optim.schedule}"
            if setup.rules.objects.optimizer is None
            else "an optimizer from Python",
        ),
        ("device", str(setup.devices)),
    ]
    rejected = len(splits.report.rejected)
    if rejected:
        text = f"{rejected} unreadable images left out, listed in data_report.json"
        lines.insert(4, ("", text))
    lines[4:4] = [("", text) for text in absent_lines(splits)]
    for note in splits.report.notes:
        wrapped = textwrap.wrap(note, 69, break_on_hyphens=False)
        lines[4:4] = [("", line) for line in wrapped]
    return [f"{name:<10}{text}" for name, text in lines]


def absent_lines(splits: Splits) -> list[str]:
    """Return a line for each split that lacks a class, as `data check` finds them."""
    lines: list[str] = []
    if splits.task != "classification":
        return lines
    for split, source in (("train", splits.train), ("test", splits.test)):
        labels = np.asarray(source.labels)
        counts = np.bincount(labels, minlength=len(splits.class_names))
        pairs = zip(splits.class_names, counts.tolist(), strict=True)
        text, names = absent_classes(dict(pairs), split)
        if names:
            more = ", ..." if len(names) > NAMED else ""
            lines.append(f"{text}: {', '.join(names[:NAMED])}{more}")
    return lines


def weights_line(setup: Setup) -> str:
    """Return the source of the weights, and which part of the network is new."""
    report = setup.pretrained.report
    if not report.loaded:
        frozen = any(count.frozen for count in setup.phases[0].counts)
        return "random" + (", also in the frozen part" if frozen else "")
    text = str(report)
    if report.reinitialised and not report.rows:
        text += f"; a new head for {outputs_line(setup.splits)}"
    return text


def next_commands(result: Result) -> list[str]:
    """Return three commands to try after a run."""
    run = shlex.quote(str(result.workdir))
    masks = any(task.dense for task in TASKS.values() if task.score == result.score)
    images = "IMAGE_OR_FOLDER" + (" --output FOLDER_FOR_MASKS" if masks else "")
    data = RunDirectory(result.workdir).config().data
    source = " --data DATA" if data == OBJECTS else ""
    return [
        f"python -m jft.predict {run} {images}",
        f"python -m jft.evaluate {run}{source}",
        "python -m jft.train --data folder:PATH_WITH_ONE_FOLDER_A_CLASS"
        if data == "digits"
        else f"python -m jft.export {run}",
    ]


def advice(result: Result) -> list[str]:
    """Return what to try where the score is that of a constant prediction, or worse."""
    score, trivial = result.metrics[result.score], result.metrics.get("trivial")
    # The sums of weights are float32. What is perfect needs no advice.
    if trivial is None or score > trivial + 1e-6 or score == 1:
        return []
    data = RunDirectory(result.workdir).config().data
    check = "your data"
    if data != OBJECTS:
        check = f"the data with `python -m jft.data check {shlex.quote(data)}`"
    text = (
        "This is no better than the same prediction for every image "
        f"({result.score} {shown(result.score, trivial)}): try more epochs "
        "(--epochs), another learning rate (--lr-find suggests one) or --freeze none, "
        f"and check {check}."
    )
    return textwrap.wrap(text, 79, break_long_words=False, break_on_hyphens=False)


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=12),
        MofNCompleteColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
