"""What the benchmarks share: interleaved runs, medians, and a record of the machine."""

import argparse
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jft.runs.environment import environment

RESULTS = Path(__file__).parent / "results"


def rounds(name: str, default: int) -> int:
    """Read `--rounds` from the command line of a benchmark."""
    parser = argparse.ArgumentParser(prog=f"python benchmarks/{name}.py")
    parser.add_argument("--rounds", type=int, default=default, help="runs of each")
    return parser.parse_args().rounds


def interleave(
    variants: Mapping[str, Callable[[], float]], count: int
) -> dict[str, list[float]]:
    """Measure each variant in turn, A B A B, so that drift affects all of them.

    Args:
        variants: What to measure; each call returns seconds.
        count: Measured rounds, after one for warm-up.
    """
    for measure in variants.values():
        measure()
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(count):
        for name, measure in variants.items():
            seconds[name].append(measure())
    return seconds


def ratios(values: Sequence[float], first: Sequence[float]) -> list[float]:
    """Return the ratio of two variants within each round."""
    return [a / b for a, b in zip(values, first, strict=True)]


def record(name: str, seconds: Mapping[str, list[float]], **facts: Any) -> None:
    """Write medians, and ratios to the first variant round by round, and print them."""
    first = next(iter(seconds.values()))
    rows = {
        variant: {
            "median_seconds": statistics.median(values),
            "min_seconds": min(values),
            "max_seconds": max(values),
            "ratio": statistics.median(ratios(values, first)),
        }
        for variant, values in seconds.items()
    }
    save(name, rows=rows, facts=facts)
    for variant, row in rows.items():
        print(f"{variant:<24}{row['median_seconds']:>10.4f} s{row['ratio']:>8.2f}")
    for fact, value in facts.items():
        print(f"{fact}: {value}")


def portable(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts of a machine without paths on it and changes to the code."""
    kept = {k: v for k, v in facts.items() if k not in ("command", "working_folder")}
    git = {k: v for k, v in (facts["git"] or {}).items() if k != "diff"}
    return {**kept, "git": git or None}


def save(name: str, **result: Any) -> None:
    """Write a result with what it depends on to `results/NAME.json`."""
    manifest = portable(environment())
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    whole = {"benchmark": name, **result, "manifest": manifest}
    path.write_text(json.dumps(whole, indent=2) + "\n")
