"""The plan of a run, as text."""

from jft.console.text import aligned, count, duration, epochs, size
from jft.data.sources import Splits
from jft.freeze.phases import Phase
from jft.train.plan import MemoryPlan, PhasePlan, Plan, StagePlan

COLUMNS = ("stage", "parameters", "trained", "norm", "rate", "forward", "backward")


def plan_lines(plan: Plan, *, whole: bool) -> list[str]:
    """Return the plan for a person.

    Args:
        plan: What the run will cost.
        whole: Show the table of every phase, not of the first alone.
    """
    lines: list[str] = []
    for number, phase in enumerate(plan.phases, start=1):
        part = f"{fraction_of_full(phase):.0%} of full fine-tuning"
        if len(plan.phases) > 1:
            lines.append(f"phase {number}   {phase_line(phase.phase)}: {part}")
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


def fraction_of_full(phase: PhasePlan) -> float:
    """Return a step's FLOPs as a fraction of those of full fine-tuning."""
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


def phase_line(phase: Phase) -> str:
    """Describe a phase: `3 epochs, freeze all-but:head, learning rate 0.1`."""
    tried = ", one of several candidates" if phase.candidate else ""
    rate = f"learning rate {phase.learning_rate:g}"
    return f"{epochs(phase.epochs)}, freeze {phase.freeze}, {rate}{tried}"


def stage_table(phase: PhasePlan) -> list[str]:
    """Return a line for each stage, in columns."""
    rows = [COLUMNS, *(_row(stage) for stage in phase.stages)]
    return aligned(rows, left=("stage", "norm"))


def _row(stage: StagePlan) -> tuple[str, ...]:
    trained = stage.trained / max(stage.parameters, 1)
    part = {0.0: "frozen", 1.0: "all"}.get(trained, f"{trained:.0%}")
    return (
        stage.stage,
        f"{stage.parameters:,}",
        part,
        stage.norm or "-",
        " to ".join(f"{rate:.3g}" for rate in dict.fromkeys(stage.learning_rates))
        or "-",
        count(stage.forward),
        count(stage.backward) if stage.backward else "-",
    )


def phase_totals(phase: PhasePlan) -> list[str]:
    """Return the lines below a phase's table: parameters, FLOPs, memory."""
    total = sum(stage.parameters for stage in phase.stages)
    trained = sum(stage.trained for stage in phase.stages)
    part = fraction_of_full(phase)
    return [
        f"trained   {trained:,} of {total:,} parameters ({trained / total:.1%})",
        f"compute   {count(phase.flops)}FLOP a step, {part:.0%} of full fine-tuning",
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
