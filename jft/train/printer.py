"""What a person sees of a run: plain lines, and on a terminal a progress bar."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from jft.console.text import epochs, outcome, shown
from jft.runs.directory import RunDirectory
from jft.tasks import TASKS
from jft.train.callbacks import Callback
from jft.train.plan import Plan
from jft.train.plan_table import outputs_line, phase_line, plan_lines
from jft.train.result import Result
from jft.train.setup import Setup

STARVING = 0.1  # fraction of an epoch's time from which waiting for images is shown


class Printer(Callback):
    """Prints the progress of a run to standard output."""

    def __init__(self) -> None:
        """Take standard output, whatever it is when the run starts."""
        self._console = Console(highlight=False, soft_wrap=True, emoji=False)
        self._progress: Progress | None = None
        self._setup: Setup | None = None

    def on_begin(self, setup: Setup) -> None:
        """Print what was loaded, and the settings."""
        self._setup = setup
        for line in introduction(setup):
            self._line(line)
        self._line(f"{'run':<10}{setup.rules.workdir}")

    def on_plan(self, plan: Plan) -> None:
        """Print the plan, and start the progress bar."""
        assert self._setup is not None
        self._line("")
        for line in plan_lines(plan, whole=False):
            self._line(line)
        self._line("")
        if self._console.is_terminal:
            self._progress = _bar(self._console)
            self._progress.start()
            self._progress.add_task("training", total=len(self._setup.batches))

    def on_resume(self, step: int, changes: list[str]) -> None:
        """Print where training resumes, and what may change its numbers."""
        self._line(f"resuming after step {step}")
        for change in changes:
            self._line(f"  another machine than before: {change}")
        if self._progress:
            self._progress.update(self._progress.task_ids[0], completed=step)

    def on_step(self, step: int, totals: Mapping[str, Any]) -> None:
        """Move the progress bar."""
        if self._progress and totals["weight"]:
            loss = totals["loss"] / totals["weight"]
            self._progress.update(
                self._progress.task_ids[0],
                completed=step,
                description=f"training, loss {shown('loss', loss)}",
            )

    def on_epoch(self, train: dict[str, Any], test: dict[str, Any]) -> None:
        """Say how the epoch went."""
        assert self._setup is not None
        count, task = self._setup.batches.epochs, self._setup.task
        line = f"epoch {train['epoch']:>{len(str(count))}}/{count}"
        for name, record in (("train", train), ("test", test)):
            line += f"   {name} loss {shown('loss', record['loss'])}"
            if task.score in record:
                line += f"  {task.score} {shown(task.score, record[task.score]):>7}"
        line += f"   {train['seconds']:.1f} s"
        if train["data"] >= STARVING:
            line += f", {train['data']:.0%} of it waiting for images"
        self._line(line)

    def on_phase(self, index: int, tried: Sequence[tuple[float, float]]) -> None:
        """Print what the next phase trains."""
        assert self._setup is not None
        phase = self._setup.phases[index].phase
        if tried:
            rate, loss = tried[-1]
            self._line(f"learning rate {rate:g}: held-out loss {shown('loss', loss)}")
        if tried and not phase.candidate:
            best = min(tried, key=lambda candidate: candidate[1])
            self._line(f"the best learning rate is {best[0]:g}")
        self._line(phase_line(phase))

    def on_end(self, result: Result, *, already: bool) -> None:
        """Print the result, the folder of the run, and the next commands."""
        self.close()
        self._line("")
        if already:
            self._line(f"{result.workdir} is finished already; nothing was done.")
        self._line(
            f"test {outcome(result.score, result.metrics)}, "
            f"after {result.seconds:.0f} s"
        )
        self._line(f"the run is in {result.workdir}")
        self._line("\nnext:")
        for command in next_commands(result):
            self._line(f"  {command}")

    def close(self) -> None:
        """Remove the progress bar."""
        if self._progress:
            self._progress.stop()
            self._progress = None

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False)
        sys.stdout.flush()


def print_plan(setup: Setup, plan: Plan) -> None:
    """Print what a run would cost."""
    lines = [*introduction(setup), "", *plan_lines(plan, whole=True)]
    print("\n".join(lines))


def introduction(setup: Setup) -> list[str]:
    """Return the lines that describe the run."""
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
            f"{config.data}: {len(splits.train):,} images to train on, "
            f"{len(splits.test):,} to test, {outputs_line(splits)}, "
            f"{size}x{size} pixels",
        ),
        (
            "training",
            f"{epochs(setup.batches.epochs)} of {setup.batches.steps_per_epoch} steps, "
            f"{config.batch_size} images each; "
            + (
                f"{optim.name}, learning rate {optim.learning_rate:g} "
                f"({optim.schedule})"
                if setup.rules.objects.optimizer is None
                else "an optimizer from Python"
            ),
        ),
        ("device", str(setup.devices)),
    ]
    rejected = len(splits.report.rejected)
    if rejected:
        text = f"{rejected} unreadable images left out, listed in data_report.json"
        lines.insert(3, ("", text))
    return [f"{name:<10}{text}" for name, text in lines]


def weights_line(setup: Setup) -> str:
    """Say where the weights are from, and which part of the network is new."""
    report = setup.pretrained.report
    if not report.loaded:
        frozen = any(count.frozen for count in setup.phases[0].counts)
        return "random" + (", also in the frozen part" if frozen else "")
    text = str(report)
    if report.reinitialised:
        text += f"; a new head for {outputs_line(setup.splits)}"
    return text


def next_commands(result: Result) -> list[str]:
    """Return three commands to try after a run."""
    run = shlex.quote(str(result.workdir))
    masks = any(task.dense for task in TASKS.values() if task.score == result.score)
    images = "IMAGE_OR_FOLDER" + (" --output FOLDER_FOR_MASKS" if masks else "")
    data = RunDirectory(result.workdir).config().data
    return [
        f"python -m jft.predict {run} {images}",
        f"python -m jft.evaluate {run}",
        "python -m jft.train --data folder:PATH_WITH_ONE_FOLDER_A_CLASS"
        if data == "digits"
        else f"python -m jft.export {run}",
    ]


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
