"""Claim: time and memory of a step fall with its FLOPs as more layers are frozen.

ResNet-50 at 224x224 with its first layers frozen: 0, 25, 50, 75 and 90 % of the FLOPs
of the forward pass, rounded to whole layers (the stem, each residual block, the head),
and all but the head. Residual blocks cost about the same, so these are also fractions
of the layers; half of the parameters would be all but three blocks.

PyTorch does the same step with the same layers, images, threads and machine
(`torch_step.py`). One process of jft and one of PyTorch hold all their steps and run
them in turn, so that other load on the machine affects all of them. Each figure is a
ratio to full fine-tuning in the same framework, within a round, and then the median
over the rounds. Full fine-tuning is measured twice; the second shows the spread of a
ratio of 1. FLOPs are those of the compiled step (PyTorch: of its counter), bytes those
that XLA has reserved. Peak memory is that of a process that repeats one step, minus
what it had before it built a network.

    python benchmarks/freeze_curve.py

PyTorch is skipped if it is not installed; `--torch-python` names a Python that has it.
"""

import argparse
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from common import RESULTS, interleave, ratios, save
from turns import Worker

from jft.devices import tune_cpu

FRACTIONS = {"0 %": 0.0, "25 %": 0.25, "50 %": 0.5, "75 %": 0.75, "90 %": 0.9}
HERE = Path(__file__).parent
WHOLE, AGAIN, HEAD = "0 %", "0 % again", "all but head"
TOLERANCE = 0.15
"""Largest relative difference between the ratio of times and that of FLOPs."""
LOOKS = {"jft": ("C0", (6, -12), "left"), "torch": ("C1", (-6, 6), "right")}
"""Colour, offset and alignment of labels, such that they do not overlap."""

Seconds = dict[str, list[float]]


@dataclass(frozen=True)
class Measured:
    """What was measured of one framework, each by the name of the point.

    Attributes:
        facts: Of the step, from its worker.
        seconds: Of each round.
        cpu_seconds: The same of all threads of the process.
        peaks: Bytes by which a process grows.
    """

    facts: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    seconds: Seconds = field(default_factory=dict[str, list[float]])
    cpu_seconds: Seconds = field(default_factory=dict[str, list[float]])
    peaks: dict[str, int] = field(default_factory=dict[str, int])

    def row(self, name: str) -> dict[str, Any]:
        """Return the ratios of one point to training everything."""
        times = ratios(self.seconds[name], self.seconds[WHOLE])
        work = ratios(self.cpu_seconds[name], self.cpu_seconds[WHOLE])
        facts, whole = self.facts[name], self.facts[WHOLE]
        known = [x for x in ("flops", "temporaries", "bytes") if x in facts]
        relative = {fact: facts[fact] / whole[fact] for fact in known}
        time = statistics.median(times)
        return {
            "seconds": statistics.median(self.seconds[name]),
            "cpu_seconds": statistics.median(self.cpu_seconds[name]),
            "peak_bytes": self.peaks[name],
            "time": time,
            "time_range": [min(times), max(times)],
            "cpu_time": statistics.median(work),
            **relative,
            "peak": self.peaks[name] / self.peaks[WHOLE],
            "time_over_flops": time / relative["flops"],
            "tracks": abs(time / relative["flops"] - 1) <= TOLERANCE,
        }


def choose(forward: Sequence[int]) -> dict[str, int]:
    """Return how many layers are frozen at each point.

    Args:
        forward: FLOPs of each layer's forward pass, in depth order.
    """

    def nearest(fraction: float) -> int:
        counts = range(len(forward))
        return min(counts, key=lambda n: abs(fraction_of(forward, n) - fraction))

    chosen = {name: nearest(fraction) for name, fraction in FRACTIONS.items()}
    return {WHOLE: 0, AGAIN: 0, **chosen, HEAD: len(forward) - 1}


def fraction_of(sizes: Sequence[int], count: int) -> float:
    """Return the fraction of the sum that the first layers have."""
    return sum(sizes[:count]) / sum(sizes)


def measure(
    commands: Mapping[str, Sequence[str]], count: int
) -> tuple[dict[str, int], dict[str, Measured]]:
    """Return the layers frozen at each point, and what was measured there."""
    found = {framework: Measured() for framework in commands}
    with ExitStack() as stack:
        workers = {f: stack.enter_context(Worker(c)) for f, c in commands.items()}
        whole = workers["jft"].build(WHOLE, 0)
        points = choose(whole["forward"])
        found["jft"].facts[WHOLE] = whole
        for framework, worker in workers.items():
            facts = found[framework].facts
            for name in (n for n in points if n not in facts):
                facts[name] = worker.build(name, points[name])
                print(f"{framework}, {name}: built", flush=True)
        take_turns(workers, points, found, count)
    for framework, command in commands.items():
        for name, frozen in points.items():
            with Worker(command) as worker:
                worker.build(name, frozen)
                found[framework].peaks[name] = worker.peak(name)
                print(f"{framework}, {name}: peak measured", flush=True)
    return points, found


def take_turns(
    workers: Mapping[str, Worker],
    points: Mapping[str, int],
    found: Mapping[str, Measured],
    count: int,
) -> None:
    """Time all steps in turn, the frameworks side by side at each point."""

    def once(framework: str, point: str) -> float:
        seconds, work = workers[framework].time(point)
        found[framework].cpu_seconds.setdefault(point, []).append(work)
        return seconds

    variants = {
        f"{framework}, {point}": partial(once, framework, point)
        for point in points
        for framework in workers
    }
    for name, seconds in interleave(variants, count).items():
        framework, _, point = name.partition(", ")
        found[framework].seconds[point] = seconds
        found[framework].cpu_seconds[point].pop(0)  # of the round that does not count


def results(
    points: Mapping[str, int], found: Mapping[str, Measured]
) -> dict[str, dict[str, Any]]:
    """Return for each point what is frozen there, and the ratios of each framework."""
    layers = found["jft"].facts[WHOLE]
    rows: dict[str, dict[str, Any]] = {}
    for name, frozen in points.items():
        rows[name] = {
            "frozen_layers": frozen,
            "of_layers": frozen / len(layers["forward"]),
            "of_forward_flops": fraction_of(layers["forward"], frozen),
            "of_parameters": fraction_of(layers["parameters"], frozen),
            **{framework: one.row(name) for framework, one in found.items()},
        }
        if "torch" in found:
            times = ratios(*(found[f].seconds[name] for f in ("jft", "torch")))
            rows[name]["jft_time_over_torch"] = statistics.median(times)
    return rows


def table(rows: Mapping[str, Mapping[str, Any]], frameworks: Sequence[str]) -> str:
    """Return the ratios as a Markdown table."""
    columns = [
        (f, c) for f in frameworks for c in ("flops", "time", "cpu_time", "peak")
    ]
    columns += [("jft", "temporaries"), ("jft", "bytes")]
    heads = [f"{framework} {column}" for framework, column in columns]
    lines = [f"| frozen | layers | {' | '.join(heads)} | jft / torch time |"]
    lines.append("|---|--:|" + "--:|" * (len(heads) + 1))
    for name, row in rows.items():
        values = [row[framework][column] for framework, column in columns]
        values.append(row.get("jft_time_over_torch", math.nan))
        cells = " | ".join("" if math.isnan(x) else f"{x:.3f}" for x in values)
        lines.append(f"| {name} | {row['frozen_layers']} | {cells} |")
    return "\n".join(lines)


def verdict(rows: Mapping[str, Mapping[str, Any]], framework: str) -> str:
    """Say where the ratio of times equals that of FLOPs."""
    frozen = {n: row[framework] for n, row in rows.items() if row["frozen_layers"]}
    off = [
        f"{name} ({row['time_over_flops']:.2f} times it)"
        for name, row in frozen.items()
        if not row["tracks"]
    ]
    where = f"not at {', '.join(off)}" if off else "at every point"
    return f"{framework}: time within {TOLERANCE:.0%} of the ratio of FLOPs: {where}"


def draw(
    rows: Mapping[str, Mapping[str, Any]], frameworks: Sequence[str], path: Path
) -> None:
    """Draw time over FLOPs, and memory over what is frozen, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    shown = {name: row for name, row in rows.items() if name != AGAIN}
    frozen = [row["of_forward_flops"] for row in shown.values()]

    def column(framework: str, name: str) -> list[float]:
        return [row[framework][name] for row in shown.values()]

    band = ([0, 1 - TOLERANCE], [0, 1 + TOLERANCE])
    left.fill_between([0, 1], *band, color="0.93", label=f"within {TOLERANCE:.0%}")
    left.plot([0, 1], [0, 1], color="0.6", linestyle="--", label="time = FLOPs")
    for framework in frameworks:
        colour, offset, side = LOOKS[framework]
        flops, times = column(framework, "flops"), column(framework, "time")
        left.plot(flops, times, "o-", color=colour, label=framework)
        for name, *at in zip(shown, flops, times, strict=True):
            text = left.annotate(name, at, offset, textcoords="offset points")
            text.set(color=colour, fontsize=8, ha=side)
        peaks = column(framework, "peak")
        right.plot(frozen, peaks, "o-", color=colour, label=f"{framework}, the process")
    reserved = column("jft", "bytes")
    right.plot(frozen, reserved, "o:", color="C0", label="jft, reserved by XLA")
    left.set(xlabel="FLOPs of a step / all trained", ylabel="time / all trained")
    right.set(xlabel="frozen fraction", ylabel="memory / all trained", ylim=0)
    for axes in (left, right):
        axes.legend()
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def has_torch(python: str) -> bool:
    """Tell whether a Python has PyTorch and torchvision."""
    code = "import importlib.util as u; assert u.find_spec('torch').name"
    code += "; assert u.find_spec('torchvision').name"
    return not subprocess.run([python, "-c", code], capture_output=True).returncode


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python benchmarks/freeze_curve.py")
    add = parser.add_argument
    add("--model", default="resnet50", help="a ResNet that torchvision has too")
    add("--batch", type=int, default=8, help="images per step")
    add("--size", type=int, default=224, help="side of an image in pixels")
    add("--rounds", type=int, default=7, help="measured steps of each")
    add("--threads", type=int, default=os.cpu_count(), help="cores for each framework")
    add("--torch-python", default=sys.executable, help="a Python that has torch")
    return parser.parse_args()


def main() -> None:
    """Measure; write `results/freeze_curve.json` and its figure."""
    args = arguments()
    tune_cpu()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.threads])
    pythons = {"jft": sys.executable, "torch": args.torch_python}
    if not has_torch(args.torch_python):
        print(f"PyTorch is skipped: {args.torch_python} has no torch and torchvision")
        del pythons["torch"]
    setting = (args.model, str(args.batch), str(args.size))
    commands = {
        framework: (python, str(HERE / f"{framework}_step.py"), *setting)
        for framework, python in pythons.items()
    }
    points, found = measure(commands, args.rounds)
    rows = results(points, found)
    verdicts = [verdict(rows, framework) for framework in found]
    cores = len(os.sched_getaffinity(0))
    name = "freeze_curve" if cores == os.cpu_count() else f"freeze_curve_{cores}_cores"
    setting = {"model": args.model, "batch": args.batch, "size": args.size}
    setting |= {"rounds": args.rounds, "cores": cores}
    if "torch" in found:
        setting["torch"] = found["torch"].facts[WHOLE]["torch"]
    save(name, setting=setting, claim=verdicts, points=rows)
    draw(rows, list(found), RESULTS / f"{name}.png")
    print("", table(rows, list(found)), "", *verdicts, sep="\n")


if __name__ == "__main__":
    main()
