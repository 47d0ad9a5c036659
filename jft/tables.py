"""A plan in lines of text: what each stage costs, and the run as a whole."""

from jft.phases import Phase
from jft.plan import MemoryPlan, PhasePlan, Plan, StagePlan

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


def phase_line(phase: Phase) -> str:
    """Describe a phase: `3 epochs, freeze all-but:head, learning rate 0.1`."""
    epochs = "1 epoch" if phase.epochs == 1 else f"{phase.epochs} epochs"
    tried = ", one of several rates" if phase.candidate else ""
    rate = f"learning rate {phase.learning_rate:g}"
    return f"{epochs}, freeze {phase.freeze}, {rate}{tried}"


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
