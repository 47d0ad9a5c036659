"""python -m jft.bench: how fast training steps are on this machine."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from jft.console.cli import guarded
from jft.console.flags import Positional, parse
from jft.console.text import aligned, count, size

HEADS = (
    *("model", "freeze", "dtype", "batch", "images/s", "p5", "p95"),
    *("A/A", "MFU", "memory", "compile"),
)


@dataclass(frozen=True)
class Flags:
    """Measure training steps: every combination of network, batch, freezing and dtype.

    Each row is checked before it is timed: the loss is computed in two ways, and frozen
    parameters keep their bits. Images are random and in memory, weights are random.

    Attributes:
        models: Networks, as for jft.train --model.name.
        batch_size: Images per step.
        freeze: Freeze rules, as for jft.train --freeze.
        dtype: float32 or bfloat16; parameters are float32 in both.
        devices: jit uses one device, pmap uses all. auto is pmap if there are several.
        image_size: Side of the images in pixels. By default the network's own.
        steps: Measured steps at least.
        warm_up: Steps before them.
        seconds: Measure each row for at least as many seconds.
        parts: Also measure the forward pass, the backward pass and the rest of a step,
            which is metrics and optimizer.
        output: Write the rows to this file, as JSON lines after a line with the
            machine and the versions.
        json: Print JSON lines instead of a table.
    """

    models: tuple[str, ...] = ("resnet18",)
    batch_size: tuple[int, ...] = (8,)
    freeze: tuple[str, ...] = ("none", "all-but:head")
    dtype: tuple[Literal["float32", "bfloat16"], ...] = ("float32",)
    devices: tuple[Literal["auto", "jit", "pmap"], ...] = ("auto",)
    image_size: int | None = None
    steps: int = 20
    warm_up: int = 3
    seconds: float = 0.0
    parts: bool = True
    output: str | None = None
    json: bool = False


@dataclass(frozen=True)
class CompareFlags:
    """Compare two files of jft.bench --output, row by row.

    Attributes:
        a: The first file.
        b: The second file; the ratio is its speed relative to the first one's.
        json: Print a JSON object instead of a table.
    """

    a: Annotated[str, Positional("A")]
    b: Annotated[str, Positional("B")]
    json: bool = False


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    words = list(sys.argv[1:] if args is None else args)
    if words[:1] == ["compare"]:
        chosen = parse(CompareFlags, "bench compare", words[1:])
        return guarded(lambda: compare(chosen))
    flags = parse(Flags, "bench", words)
    return guarded(lambda: bench(flags))


def bench(flags: Flags) -> int:
    """Measure and print."""
    from jft.bench import rows
    from jft.console.status import working
    from jft.devices import start_jax

    wanted = rows.cases(
        flags.models,
        flags.batch_size,
        flags.freeze,
        flags.dtype,
        flags.devices,
        flags.image_size,
    )
    rows.check(wanted)
    start_jax()
    rules = rows.Rules(max(flags.steps, 2), flags.warm_up, flags.seconds, flags.parts)
    found: list[dict[str, Any]] = []
    with working("measuring", total=len(wanted)) as update:
        first = manifest()
        for row in rows.measure(wanted, rules):
            found.append(row)
            update(advance=1)
    lines = [json.dumps({"manifest": first}), *map(json.dumps, found)]
    if flags.output:
        Path(flags.output).write_text("\n".join(lines) + "\n")
    print("\n".join(lines if flags.json else table(found, first)))
    return 0


def manifest() -> dict[str, Any]:
    """Return the machine, the versions, and the bandwidth of memory."""
    import jax

    from jft.bench.timing import measured_bandwidth
    from jft.runs.directory import environment

    return {
        **environment(),
        "cpu_model": cpu_model(),
        "device": jax.devices()[0].device_kind,
        "device_count": jax.device_count(),
        "bytes_per_second": measured_bandwidth(),
    }


def cpu_model() -> str:
    """Return the name of the processor; empty if the system does not have it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    names = (line.partition(": ")[2] for line in lines if line.startswith("model name"))
    return next(names, "")


def table(found: Sequence[dict[str, Any]], first: dict[str, Any]) -> list[str]:
    """Return the rows as a table for the terminal."""
    heads = [*HEADS]
    parts = any("forward" in row for row in found)
    heads += ["forward", "backward", "rest"] if parts else []
    cells = [heads]
    errors: list[str] = []
    for row in found:
        name = [row["model"], row["freeze"], row["dtype"], str(row["batch_size"])]
        if "error" in row:
            errors.append(f"{' '.join(name)}: {row['error']}")
            continue
        numbers = [f"{row[key]:.1f}" for key in ("images_per_second", "p5", "p95")]
        shares = [f"{row['a_a']:.3f}", f"{row['mfu']:.0%}", size(row["bytes"])]
        times = [f"{row['compile_seconds']:.1f} s"]
        if parts:
            ms = (row.get(key) for key in ("forward", "backward", "rest"))
            times += ["-" if t is None else f"{1000 * t:.1f} ms" for t in ms]
        cells.append([*name, *numbers, *shares, *times])
    peaks = {r["dtype"]: r["peak_flops"] for r in found if "error" not in r}
    peak = ", ".join(f"{count(value)}FLOP/s in {name}" for name, value in peaks.items())
    machine = first["device"]
    if machine == "cpu":
        machine = first["cpu_model"] or machine
    notes = [
        "",
        f"device {machine}; memory {size(first['bytes_per_second'])}/s",
        f"MFU is relative to a matrix product in this run: {peak}" if peak else "",
    ]
    return [*aligned(cells, left=heads[:3]), *errors, *notes]


def compare(flags: CompareFlags) -> int:
    """Compare two files and print."""
    from jft.bench.compare import compare as compare_files

    rows, changes = compare_files(flags.a, flags.b)
    if flags.json:
        print(json.dumps({"rows": rows, "changes": changes}))
        return 0
    heads = ["model", "freeze", "dtype", "batch", "A", "B", "B / A", "noise"]
    cells = [
        [
            *(str(row[key]) for key in ("model", "freeze", "dtype", "batch_size")),
            f"{row['a']:.1f}",
            f"{row['b']:.1f}",
            f"{row['ratio']:.3f}",
            f"{row['noise']:.1%}",
        ]
        for row in rows
    ]
    print("\n".join([*aligned([heads, *cells], left=heads[:3]), *changes]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
