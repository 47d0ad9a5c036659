"""Predictions on standard output: a table, JSON lines, or CSV."""

import csv
import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from jft.console.text import aligned
from jft.runs.directory import finite

if TYPE_CHECKING:
    from jft.tasks import Task

LIKELY = 0.5  # the probability from which on the table shows a label
PREFIX = {"probabilities": "p_", "labels": "p_", "fractions": "fraction_"}


def print_json(records: Iterable[dict[str, Any]]) -> None:
    """Print each prediction as soon as it is computed."""
    for record in records:
        print(json.dumps(finite(record)), flush=True)


def print_csv(records: Sequence[dict[str, Any]], task: "Task") -> None:
    """Print a row per image, with a column for every class, label or number.

    Columns of probabilities begin with `p_`, of fractions of a mask with `fraction_`.
    """
    lines = csv.writer(sys.stdout, lineterminator="\n")
    for number, record in enumerate(records):
        plain = {k: v for k, v in record.items() if not isinstance(v, dict)}
        for name, values in record.items():
            if isinstance(values, dict):
                plain |= {
                    PREFIX[name] + one: values.get(one, 0.0) for one in task.class_names
                }
        if number == 0:
            lines.writerow(plain)
        lines.writerow(plain.values())


def print_table(records: Sequence[dict[str, Any]], *, all_of: bool) -> None:
    """Print a table with aligned columns, each image on one line.

    Args:
        records: From `jft.predict.records.records`.
        all_of: Show every probability in a record, not only what is likely.
    """
    hidden = ("class", "probability") if all_of else ("probabilities",)
    fields = list(records[0]) if records else ["path"]
    names = [name for name in fields if name not in hidden]
    heads = ["image" if name == "path" else name for name in names]
    rows = [[cell(name, record[name], all_of) for name in names] for record in records]
    numbers = {
        head
        for head, name in zip(heads, names, strict=True)
        if records and isinstance(records[0][name], float)
    }
    for line in aligned([heads, *rows], left=[h for h in heads if h not in numbers]):
        print(line)


def cell(name: str, value: Any, all_of: bool) -> str:
    """Return a value as the table shows it.

    Numbers have ten digits, so that Unix times keep their seconds. Control characters
    in names are escaped.
    """
    if isinstance(value, dict):
        least = LIKELY if name == "labels" and not all_of else 0.0
        parts = [f"{_plain(k)} {_percent(v)}" for k, v in value.items() if v >= least]
        return ", ".join(parts) or "none"
    if isinstance(value, float):
        return _percent(value) if name == "probability" else f"{value:.10g}"
    return _plain(value)


def _percent(fraction: float) -> str:
    return "<0.1%" if 0 < fraction < 0.0005 else f"{fraction:.1%}"


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
