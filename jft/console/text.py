"""Metrics as lines of text."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from rich.cells import cell_len

FIXED = ("loss", "r2")  # metrics that are shown to four decimals
NUMBERS = (*FIXED, "mae", "rmse", "weight", "support")  # all others are fractions
MOST_ROWS = 100  # that a person wants to read
MOST_COLUMNS = 20
NARROW = 6  # cells of a name that heads a column


def outcome(score: str, metrics: Mapping[str, Any]) -> str:
    """Return the score in words: `accuracy 98.89% (355 of 359 images)`.

    Args:
        score: Its name.
        metrics: What was measured, `n` and the score among it. With a `weight` some
            images count more than others, and a fraction is not one of images.
    """
    n, value = metrics["n"], metrics[score]
    parts = [
        f"{name} {shown(name, metrics[name])}" for name in _first_line(score, metrics)
    ]
    images = f"{n:,} {'image' if n == 1 else 'images'}"
    if score == "accuracy" and "weight" not in metrics:
        images = f"{round(value * n):,} of {images}"
    return f"{', '.join(parts)} ({images})"


def _first_line(score: str, metrics: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the metrics of the first line: r2 means little without mae."""
    return (score, "mae") if "mae" in metrics else (score,)


def shown(metric: str, value: float) -> str:
    """Return a metric as a person reads it: fractions in percent, others as numbers.

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


def epochs(number: int) -> str:
    """Return a number of epochs in words."""
    return "1 epoch" if number == 1 else f"{number} epochs"


def aligned(rows: Sequence[Sequence[str]], left: Collection[str]) -> list[str]:
    """Return a line for each row, the first of them the heading, its cells in columns.

    The columns with a heading in `left` are aligned left, the others right.
    """
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]

    def padded(name: str, cell: str, width: int) -> str:
        space = " " * (width - cell_len(cell))
        return cell + space if name in left else space + cell

    return ["  ".join(map(padded, rows[0], row, widths)).rstrip() for row in rows]


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
    """Return lines for the metrics of `evaluate_run`: the score first, classes last."""
    score = metrics["score"]
    first = f"{outcome(score, metrics)}, loss {shown('loss', metrics['loss'])}"
    used = ("score", "n", "loss", *_first_line(score, metrics), "classes", "confusion")
    rest = {name: value for name, value in metrics.items() if name not in used}
    tables = {k: v for k, v in rest.items() if isinstance(v, Mapping)}
    plain = [
        f"{name:<18}{shown(score if name == 'trivial' else name, value):>10}"
        for name, value in rest.items()
        if name not in tables
    ]
    rows = class_table(tables)
    counts = confusion_table(metrics.get("classes", ()), metrics.get("confusion", ()))
    return [first, *plain, *([""] if rows else []), *rows, *counts]


def confusion_table(
    names: Sequence[str], confusion: Sequence[Sequence[float]]
) -> list[str]:
    """Return a line for each class: how many of its images got which prediction.

    Args:
        names: K classes. Where one is wider than `NARROW`, columns have numbers.
        confusion: [K][K], a row for each class.

    Returns:
        No line beyond `MOST_COLUMNS` classes.
    """
    if not 0 < len(names) <= MOST_COLUMNS:
        return []
    heads, sides = names, names
    if max(map(cell_len, names)) > NARROW:
        heads = [str(i) for i in range(1, len(names) + 1)]
        sides = [f"{i} {name}" for i, name in zip(heads, names, strict=True)]
    rows = [
        [side, *(f"{value:.10g}" for value in counts)]
        for side, counts in zip(sides, confusion, strict=True)
    ]
    title = "confusion: a row for each class, a column for each prediction"
    return ["", title, *aligned([["", *heads], *rows], left=("",))]


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
        return [f"{', '.join(heads)}: --json shows all {len(names):,}"]
    rows = [
        [name, *(shown(m, t[name]) if name in t else "-" for m, t in tables.items())]
        for name in names
    ]
    return aligned([["", *heads], *rows], left=("",))


def alpha_lines(alphas: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a table of the metrics of `evaluate_alphas`, one line per alpha."""
    heads = [alphas[0]["score"], "loss"]
    rows = [
        [f"{metrics['alpha']:g}", *(shown(name, metrics[name]) for name in heads)]
        for metrics in alphas
    ]
    return aligned([["alpha", *heads], *rows], left=("alpha",))
