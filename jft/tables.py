"""What a person reads, in lines of text: a plan, and metrics."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from jft.data.sources import Splits
from jft.phases import Phase
from jft.plan import MemoryPlan, PhasePlan, Plan, StagePlan

FIXED = ("loss", "r2")  # metrics that are shown to four decimals
NUMBERS = (*FIXED, "mae", "rmse", "weight")  # all others are shares
MOST_ROWS = 100  # that a person wants to read
COLUMNS = ("stage", "parameters", "trained", "norm", "rate", "forward", "backward")


def plan_lines(plan: Plan, *, whole: bool) -> list[str]:
    """Return the plan for a person.

    Args:
        plan: What the run will cost.
        whole: Show the table of every phase, not of the first alone.
    """
    lines: list[str] = []
    for number, phase in enumerate(plan.phases, start=1):
        share = f"{share_of_full(phase):.0%} of full fine-tuning"
        if len(plan.phases) > 1:
            lines.append(f"phase {number}   {phase_line(phase.phase)}: {share}")
        if whole or number == 1:
            space = [""] if len(plan.phases) > 1 else []
            lines += [*space, *stage_table(phase), "", *phase_totals(phase)]
        if phase.alive:
            modules = ", ".join(phase.alive)
            lines.append(
                f"ALIVE     frozen, but going backward all the same: {modules}"
            )
        if whole and number < len(plan.phases):
            lines.append("")
    return [*lines, *run_totals(plan)]


def share_of_full(phase: PhasePlan) -> float:
    """Return a step's FLOPs as a share of those of full fine-tuning."""
    return phase.flops / max(phase.full_flops, 1)


def outputs_line(splits: Splits) -> str:
    """Return what there is to learn: `10 classes`, `masks of 2 classes`, ..."""
    count = len(splits.class_names)
    words = {
        "classification": "classes" if count > 1 else "class",
        "multilabel": "labels" if count > 1 else "label",
        "segmentation": "classes in masks",
        "regression": "numbers" if count > 1 else "number",
    }
    return f"{count} {words[splits.task]}"


def outcome(score: str, metrics: Mapping[str, Any]) -> str:
    """Return the score in words: `accuracy 98.89% (355 of 359 images)`.

    Args:
        score: Its name.
        metrics: What was measured, `n` and the score among it. With a `weight` some
            images count more than others, and a share is not one of images.
    """
    n, value = metrics["n"], metrics[score]
    told = [f"{name} {shown(name, metrics[name])}" for name in _told(score, metrics)]
    images = f"{n:,} {'image' if n == 1 else 'images'}"
    if score == "accuracy" and "weight" not in metrics:
        images = f"{round(value * n):,} of {images}"
    return f"{', '.join(told)} ({images})"


def _told(score: str, metrics: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the metrics that stand in the first line: r2 says little without mae."""
    return (score, "mae") if "mae" in metrics else (score,)


def shown(metric: str, value: float) -> str:
    """Return a metric as a person reads it: shares in percent, others as numbers.

    Args:
        metric: Its name; `each_mae` is read as `mae`.
        value: May be infinite or NaN.

    >>> shown("accuracy", 0.98886), shown("r2", -0.11), shown("mae", 2.0886e-07)
    ('98.89%', '-0.1100', '2.089e-07')
    """
    name = metric.removeprefix("each_")
    if not math.isfinite(value):
        return str(value)
    if name not in NUMBERS:
        return f"{value:.2%}"
    if 9999.5 <= abs(value) < 1e9:
        return f"{value:,.0f}"
    fixed = f"{value:.4f}"
    lost = value != 0 and not fixed.strip("-0.")
    readable = name in FIXED and abs(value) < 1e9 and not lost
    return fixed if readable else f"{value:.4g}"


def phase_line(phase: Phase) -> str:
    """Describe a phase: `3 epochs, freeze all-but:head, learning rate 0.1`."""
    tried = ", one of several rates" if phase.candidate else ""
    rate = f"learning rate {phase.learning_rate:g}"
    return f"{epochs(phase.epochs)}, freeze {phase.freeze}, {rate}{tried}"


def epochs(number: int) -> str:
    """Return a number of epochs in words."""
    return "1 epoch" if number == 1 else f"{number} epochs"


def stage_table(phase: PhasePlan) -> list[str]:
    """Return a line for each stage, in columns."""
    rows = [COLUMNS, *(_row(stage) for stage in phase.stages)]
    return aligned(rows, left=("stage", "norm"))


def aligned(rows: Sequence[Sequence[str]], left: Collection[str]) -> list[str]:
    """Return a line for each row, its cells in columns.

    Args:
        rows: The first is the heading.
        left: Headings of the columns of names; the others are of numbers, which end
            below each other.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if name in left else cell.rjust(width)
            for name, cell, width in zip(rows[0], row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]


def _row(stage: StagePlan) -> tuple[str, ...]:
    share = stage.trained / max(stage.parameters, 1)
    part = {0.0: "frozen", 1.0: "all"}.get(share, f"{share:.0%}")
    return (
        stage.stage,
        f"{stage.parameters:,}",
        part,
        stage.norm or "-",
        " to ".join(f"{rate:.3g}" for rate in dict.fromkeys(stage.rates)) or "-",
        count(stage.forward),
        count(stage.backward) if stage.backward else "-",
    )


def phase_totals(phase: PhasePlan) -> list[str]:
    """Return the lines below a phase's table: parameters, FLOPs, memory."""
    total = sum(stage.parameters for stage in phase.stages)
    trained = sum(stage.trained for stage in phase.stages)
    share = share_of_full(phase)
    return [
        f"trained   {trained:,} of {total:,} parameters ({trained / total:.1%})",
        f"compute   {count(phase.flops)}FLOP a step, {share:.0%} of full fine-tuning",
        f"memory    {memory_line(phase.memory)}",
    ]


def memory_line(memory: MemoryPlan) -> str:
    """Return what a step's memory is made of."""
    return (
        f"{size(memory.total)} at the peak of a step: parameters "
        f"{size(memory.parameters)}, optimizer {size(memory.optimizer)}, batch "
        f"{size(memory.batch)}, activations and gradients {size(memory.temporaries)} "
        f"(gradients {size(memory.gradients)})"
    )


def run_totals(plan: Plan) -> list[str]:
    """Return what the run as a whole takes, and whether the device has it."""
    epoch = plan.steps_per_epoch * plan.phases[-1].seconds_per_step
    time = f"about {duration(epoch)} an epoch, {duration(plan.seconds)} in all"
    lines = [f"time      {time}, without reading and evaluating"] if epoch else []
    if not plan.device_bytes:
        return lines
    needed, given = size(plan.bytes_needed), size(plan.device_bytes)
    verdict = f"fits: {needed} of {given}"
    if not plan.fits:
        verdict = f"DOES NOT FIT: {needed}, where the device has {given}"
    advice = f"; about {plan.largest_batch:,} images a step would fit"
    return [*lines, f"device    {verdict}{advice}"]


def count(number: float) -> str:
    """Return a count with its unit: `1.23 G`."""
    for unit in ("", "k", "M", "G", "T", "P"):
        if number < 1000 or unit == "P":
            return f"{number:.3g} {unit}"
        number /= 1000
    raise AssertionError


def size(number: float) -> str:
    """Return bytes with their unit: `1.23 MB`."""
    return f"{count(number)}B"


def duration(seconds: float) -> str:
    """Return seconds in words: `1 h 02 min`."""
    if seconds < 60:
        return f"{seconds:.2g} s"
    minutes = round(seconds / 60)
    return (
        f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
    )


def metric_lines(metrics: Mapping[str, Any]) -> list[str]:
    """Return score and loss in words, then other metrics, then those of each class.

    Args:
        metrics: From `evaluate_run`.
    """
    score = metrics["score"]
    first = f"{outcome(score, metrics)}, loss {shown('loss', metrics['loss'])}"
    told = ("score", "n", "loss", *_told(score, metrics))
    rest = {name: value for name, value in metrics.items() if name not in told}
    tables = {k: v for k, v in rest.items() if isinstance(v, Mapping)}
    plain = [
        f"{name:<18}{shown(name, value):>10}"
        for name, value in rest.items()
        if name not in tables
    ]
    rows = class_table(tables)
    return [first, *plain, *([""] if rows else []), *rows]


def class_table(tables: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return a line for each class, label or number, a column for each metric.

    Args:
        tables: Values by metric and class. A class that a metric lacks has a dash.

    Returns:
        No line where no class occurs, one where there are more than `MOST_ROWS`.
    """
    names = list(dict.fromkeys(name for table in tables.values() for name in table))
    heads = [metric.removeprefix("each_") for metric in tables]
    if not names:
        return []
    if len(names) > MOST_ROWS:
        return [f"{', '.join(heads)}: --json has them of all {len(names):,}"]
    rows = [
        [name, *(shown(m, t[name]) if name in t else "-" for m, t in tables.items())]
        for name in names
    ]
    return aligned([["", *heads], *rows], left=("",))


def share_lines(shares: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return one line per share under a heading.

    Args:
        shares: From `evaluate_shares`, at least one.
    """
    heads = [shares[0]["score"], "loss"]
    rows = [
        [f"{metrics['share']:g}", *(shown(name, metrics[name]) for name in heads)]
        for metrics in shares
    ]
    return aligned([["share", *heads], *rows], left=("share",))
