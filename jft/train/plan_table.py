"""The plan of a run, as text."""

import textwrap

from jft.console.text import aligned, count, duration, epochs, size
from jft.data.sources import Splits
from jft.features.decide import Choice
from jft.freeze.phases import Phase
from jft.train.plan import PhasePlan, Plan, StagePlan

COLUMNS = ("stage", "parameters", "trained", "norm", "lr", "forward", "backward")


def plan_lines(plan: Plan, *, whole: bool) -> list[str]:
    """Return the plan as lines of at most 80 columns.

    Args:
        plan: What the run will cost.
        whole: Show the table of every phase, not of the first one only.
    """
    lines: list[str] = []
    for number, phase in enumerate(plan.phases, start=1):
        if len(plan.phases) > 1:
            lines.append(f"phase {number}   {phase_line(phase.phase)}")
            if not (whole or number == 1):
                lines.append(f"          {compute_line(phase)}")
        if whole or number == 1:
            space = [""] if len(plan.phases) > 1 else []
            lines += [*space, *stage_table(phase), "", *phase_totals(phase)]
        if phase.unneeded_backward:
            lines.append("UNNEEDED  frozen, but with a backward pass:")
            lines += [f"          {module}" for module in phase.unneeded_backward]
        if whole and number < len(plan.phases):
            lines.append("")
    return [*lines, *run_totals(plan)]


def compute_line(phase: PhasePlan) -> str:
    """Return a step's FLOPs, also as a fraction of those of full fine-tuning."""
    fraction = phase.flops / max(phase.full_flops, 1)
    return f"{count(phase.flops)}FLOP a step, {fraction:.0%} of full fine-tuning"


def outputs_line(splits: Splits) -> str:
    """Return the number of outputs: `10 classes`, `2 classes in masks`, ..."""
    count = len(splits.class_names)
    words = {
        "classification": "classes" if count > 1 else "class",
        "multilabel": "labels" if count > 1 else "label",
        "segmentation": "classes in masks",
        "regression": "numbers" if count > 1 else "number",
    }
    return f"{count} {words[splits.task]}"


def phase_line(phase: Phase) -> str:
    """Describe a phase: `3 epochs, freeze all-but:head, learning rate 0.1`."""
    tried = " (a candidate)" if phase.candidate else ""
    rate = f"learning rate {phase.learning_rate:g}"
    return f"{epochs(phase.epochs)}, freeze {phase.freeze}, {rate}{tried}"


def stage_table(phase: PhasePlan) -> list[str]:
    """Return a line for each stage, in columns."""
    rows = [COLUMNS, *(_row(stage) for stage in phase.stages)]
    return aligned(rows, left=("stage", "norm"))


def _row(stage: StagePlan) -> tuple[str, ...]:
    fraction = stage.trained / max(stage.parameters, 1)
    part = {0.0: "frozen", 1.0: "all"}.get(fraction, f"{fraction:.0%}")
    return (
        stage.stage,
        f"{stage.parameters:,}",
        part,
        stage.norm or "-",
        " to ".join(f"{rate:.3g}" for rate in dict.fromkeys(stage.learning_rates))
        or "-",
        count(stage.forward) if stage.forward else "-",
        count(stage.backward) if stage.backward else "-",
    )


def phase_totals(phase: PhasePlan) -> list[str]:
    """Return the lines below a phase's table: parameters, FLOPs, memory."""
    total = sum(stage.parameters for stage in phase.stages)
    trained = sum(stage.trained for stage in phase.stages)
    memory = phase.memory
    return [
        f"trained   {trained:,} of {total:,} parameters ({trained / total:.1%})",
        f"compute   {compute_line(phase)}",
        *features_lines(phase.features),
        f"memory    {size(memory.total)} at the peak of a step: parameters "
        f"{size(memory.parameters)}, optimizer {size(memory.optimizer)},",
        f"          batch {size(memory.batch)}, activations and gradients "
        f"{size(memory.temporaries)} (gradients {size(memory.gradients)})",
    ]


def features_lines(features: Choice) -> list[str]:
    """Return what was decided on the features of the frozen part, and why."""
    if features.cut is None:
        text = f"not kept: {features.reason}"
    else:
        where = "in memory" if features.where == "memory" else "on disk"
        text = (
            f"kept {where}, {size(features.bytes)}: everything up to "
            f"{features.cut.after}, {count(features.image_flops)}FLOP, runs once per "
            "image"
        )
    first, *more = textwrap.wrap(text, 69, break_on_hyphens=False)
    return [f"features  {first}", *(f"{'':10}{line}" for line in more)]


def run_totals(plan: Plan) -> list[str]:
    """Return the time and memory of the whole run, and what the device has."""
    epoch = plan.steps_per_epoch * plan.phases[-1].seconds_per_step
    time = f"about {duration(epoch)} an epoch, {duration(plan.seconds)} in all"
    lines = [f"time      {time}, without reading and evaluating"] if epoch else []
    if not plan.device_bytes:
        return lines
    needed, given = size(plan.bytes_needed), size(plan.device_bytes)
    verdict = f"fits: {needed} of {given}"
    if not plan.fits:
        verdict = f"DOES NOT FIT: {needed} of {given}"
    advice = f"; about {plan.largest_batch:,} images a step would fit"
    return [*lines, f"device    {verdict}{advice}"]
