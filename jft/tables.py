"""What a person reads, in lines of text: a plan, and metrics."""

from collections.abc import Mapping, Sequence
from typing import Any

from jft.data.sources import Splits
from jft.phases import Phase
from jft.plan import MemoryPlan, PhasePlan, Plan, StagePlan

SCORES = ("accuracy", "mAP", "mIoU", "r2")
MOST_CLASSES = 50  # of which a person wants to read a line each
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
    """Return the score in words: `accuracy 98.89% (355 of 359 images)`."""
    n, value = metrics["n"], metrics[score]
    if score == "accuracy":
        return f"accuracy {value:.2%} ({round(value * n)} of {n} images)"
    if score == "r2":
        return f"r2 {value:.4f}, mae {metrics['mae']:.4g} ({n} images)"
    return f"{score} {value:.2%} ({n} images)"


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
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    # Names to the left, numbers to the right.
    left = {"stage", "norm"}
    return [
        "  ".join(
            cell.ljust(width) if name in left else cell.rjust(width)
            for name, cell, width in zip(COLUMNS, row, widths, strict=True)
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


def score_of(metrics: Mapping[str, Any]) -> str:
    """Return the name of the metric that says most."""
    return next(name for name in SCORES if name in metrics)


def metric_lines(metrics: Mapping[str, Any]) -> list[str]:
    """Return score and loss in words, then other metrics, and those of each class."""
    score = score_of(metrics)
    first = f"{outcome(score, metrics)}, loss {metrics['loss']:.4f}"
    rest = {k: v for k, v in metrics.items() if k not in (score, "n", "loss")}
    plain = {k: v for k, v in rest.items() if not isinstance(v, Mapping)}
    lines = [first, *(f"{name:<20}{value:8.4f}" for name, value in plain.items())]
    tables = {k: v for k, v in rest.items() if isinstance(v, Mapping)}
    return [*lines, "", *class_table(tables)] if tables else lines


def class_table(tables: Mapping[str, Mapping[str, float | None]]) -> list[str]:
    """Return a line for each class, a column for each metric; none for too many."""
    names = list(next(iter(tables.values())))
    if len(names) > MOST_CLASSES:
        return [f"{len(names)} classes; --json has the metrics of each"]
    width = max(len("class"), *map(len, names))
    widths = [max(len(name), 8) for name in tables]
    heads = (f"{name:>{w}}" for name, w in zip(tables, widths, strict=True))
    lines = ["  ".join([f"{'class':<{width}}", *heads])]
    for name in names:
        values = (number(table.get(name)) for table in tables.values())
        cells = (f"{value:>{w}}" for value, w in zip(values, widths, strict=True))
        lines.append("  ".join([f"{name:<{width}}", *cells]))
    return lines


def number(value: float | None) -> str:
    """Return a metric, or a dash where there is nothing to measure."""
    return "-" if value is None or value != value else f"{value:.4f}"


def share_lines(shares: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return one line per share under a heading."""
    score = score_of(shares[0])
    shown = "8.4f" if score == "r2" else "8.2%"
    lines = [f"{m['share']:<8g}{m[score]:{shown}}  {m['loss']:7.4f}" for m in shares]
    return [f"share   {score:>8}     loss", *lines]
