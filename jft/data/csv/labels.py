"""The cells of a table's label columns as values: numbers, words, or lists of them."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from jft.data.csv.rows import Rows
from jft.data.labels import Labelled, labelled
from jft.data.listing import Split
from jft.data.values import UNKNOWN, Values
from jft.errors import InputError

_TRUTHS = {"true": True, "false": False}  # as pandas writes them


def read_labels(
    rows: Rows,
    columns: Sequence[int],
    members: Mapping[Split, npt.NDArray[np.int64]],
    task: str,
    separator: str | None,
) -> Labelled:
    """Return the labels of the rows of each split.

    Args:
        rows: The table.
        columns: Indices of the label columns.
        members: The rows of each split.
        task: One of `jft.data.labels.TASKS`.
        separator: What divides the labels within a cell; None for one label per cell.
    """
    names = [rows.header[i] for i in columns]
    listed = separator is None and (len(names) > 1 or task == "multilabel")
    used = {rows.cells[i][columns[0]] for some in members.values() for i in some}
    numbers = task == "regression" or (task == "auto" and _are_decimals(rows, used))
    truths = {} if task == "regression" else _TRUTHS

    def value(cells: list[str]) -> Any:
        first = cells[columns[0]].strip()
        if separator is not None:
            return [tag for tag in map(str.strip, first.split(separator)) if tag]
        if listed:
            return tuple(_value(rows, cells[k], truths) for k in columns)
        return _value(rows, first, {}) if numbers else first

    found = Values(
        splits={s: [value(rows.cells[i]) for i in some] for s, some in members.items()},
        where=lambda split, i: f"line {rows.lines[int(members[split][i])]}",
        columns=tuple(names) if listed else None,
        name=names[0],
        task=task,
    )
    try:
        return labelled(found)
    except InputError as error:
        raise InputError(f"{rows.file!r}: {error}") from error


def _are_decimals(rows: Rows, cells: Collection[str]) -> bool:
    """Return whether all cells are numbers or empty, and some have decimals."""
    known = [c.strip() for c in cells if c.strip().lower() not in UNKNOWN]
    numbers = not any(np.isnan(rows.number(cell)) for cell in known)
    return numbers and not all(cell.lstrip("+-").isdecimal() for cell in known)


def _value(rows: Rows, cell: str, truths: Mapping[str, bool]) -> Any:
    """Return the truth value or the number in a cell, else its text; None if empty."""
    cell = cell.strip()
    if cell.lower() in UNKNOWN:
        return None
    number = rows.number(cell)
    return truths.get(cell.lower(), cell if np.isnan(number) else number)
