"""What the label columns of a table mean: classes, labels, or numbers."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jft.data.csv.rows import Rows, number
from jft.data.describe import few
from jft.data.listing import Split, TaskName
from jft.errors import InputError

TASKS = ("classification", "multilabel", "regression")
_WHOLE = re.compile(r"[+-]?\d+", re.ASCII)
_UNKNOWN = ("", "nan")
_KNOWN_LABELS = {0.0: 0, 1.0: 1, -1.0: -1}
_TRUTHS = {"true": 1, "false": 0}  # as pandas writes them

Members = Mapping[Split, npt.NDArray[np.int64]]


@dataclass(frozen=True, eq=False)
class Table:
    """The labels of all rows of a table.

    Attributes:
        task: What there is to learn.
        class_names: Names of the K outputs.
        labels: As in `jft.data.listing.Listing`.
    """

    task: TaskName
    class_names: tuple[str, ...]
    labels: npt.NDArray[np.int32] | npt.NDArray[np.float32]


def encode_labels(
    rows: Rows,
    columns: Sequence[int],
    members: Members,
    task: str | None,
    separator: str | None,
) -> Table:
    """Return the labels of all rows, and what they are.

    Without `task`: one column of words or whole numbers is classes, one with decimals
    numbers; several columns of 0, 1, -1, true, false and nothing are labels, other
    ones numbers.

    Args:
        rows: The table.
        columns: Places of the label columns.
        members: The rows of each split.
        task: What the user says there is to learn.
        separator: What stands between the labels within a cell.

    Raises:
        InputError: A cell does not fit, or a class has no row to train on.
    """
    cells = [[row[i].strip() for i in columns] for row in rows.cells]
    names = tuple(rows.header[i] for i in columns)
    if separator is not None:
        return _tags(rows, [row[0] for row in cells], members, separator)
    if task is None:
        task = _guess(cells)
        if task == "classification":
            _require_few(rows, [row[0] for row in cells], names[0])
        elif len(columns) == 1:
            _require_decimals(rows, [row[0] for row in cells], names[0])
    if task == "classification":
        return _classes(rows, [row[0] for row in cells], members, names[0])
    if task == "multilabel":
        return Table("multilabel", names, _labels(rows, cells, names))
    return Table("regression", names, _numbers(rows, cells, names, members))


def _guess(cells: Sequence[Sequence[str]]) -> str:
    """Return the task that the label cells look like."""
    if len(cells[0]) > 1:
        every = [cell for row in cells for cell in row]
        known = all(_label(cell) is not None for cell in every)
        known = known or any(cell.lower() in _TRUTHS for cell in every)
        return "multilabel" if known else "regression"
    column = [row[0] for row in cells if row[0].lower() not in _UNKNOWN]
    numbers = bool(column) and not any(np.isnan(number(cell)) for cell in column)
    whole = all(_WHOLE.fullmatch(cell) for cell in column)
    return "regression" if numbers and not whole else "classification"


def _require_few(rows: Rows, column: Sequence[str], name: str) -> None:
    """Raise `InputError` where most rows would be a class of their own."""
    count = len({*column})
    if count > max(20, len(column) // 2):
        raise InputError(
            f"{rows.file!r}, column {name!r}: {count} different values in "
            f"{len(column)} rows look like names or numbers, not like classes; say "
            "task=classification or task=regression, or label=COLUMN"
        )


def _require_decimals(rows: Rows, column: Sequence[str], name: str) -> None:
    """Raise `InputError` for a few whole numbers written with decimals.

    Tools write classes so that have a gap.
    """
    known = [cell for cell in column if cell.lower() not in _UNKNOWN]
    count = len({*known})
    whole = all(number(cell).is_integer() for cell in known)
    if whole and count <= max(20, len(column) // 2):
        raise InputError(
            f"{rows.file!r}, column {name!r}: its {count} different values, such as "
            f"{known[0]!r}, are whole numbers written with decimals; say "
            "task=classification or task=regression"
        )


def _label(cell: str) -> int | None:
    """Return 0, 1 or -1 (unknown); None for a cell that is no such label."""
    if cell.lower() in _UNKNOWN:
        return -1
    return _TRUTHS.get(cell.lower(), _KNOWN_LABELS.get(number(cell)))


def _classes(rows: Rows, column: Sequence[str], members: Members, name: str) -> Table:
    """Return class places; classes are sorted, as numbers where all are whole."""
    empty = [f"line {rows.lines[i]}" for i, cell in enumerate(column) if not cell]
    if empty:
        raise InputError(
            f"{rows.file!r}, column {name!r}: {len(empty)} rows have no class"
            f"{few(empty)}"
        )
    used = [column[int(i)] for places in members.values() for i in places]
    whole = all(_WHOLE.fullmatch(cell) for cell in used)
    names = sorted({*used}, key=lambda c: (int(c) if whole and len(c) < 20 else 0, c))
    if len(names) < 2:
        raise InputError(
            f"{rows.file!r}, column {name!r}: all rows are of class {names[0]!r}; at "
            "least 2 classes are needed"
        )
    _require_trained(rows, [[cell] for cell in column], members)
    place = {cell: i for i, cell in enumerate(names)}
    labels = np.array([place.get(cell, -1) for cell in column], np.int32)
    return Table("classification", tuple(names), labels)


def _tags(rows: Rows, column: Sequence[str], members: Members, separator: str) -> Table:
    """Return labels out of cells that hold several, none in an empty one."""
    tags = [[t.strip() for t in cell.split(separator) if t.strip()] for cell in column]
    names = sorted(
        {tag for places in members.values() for i in places.tolist() for tag in tags[i]}
    )
    if not names:
        raise InputError(f"{rows.file!r}: no row has a label")
    _require_trained(rows, tags, members)
    place = {tag: i for i, tag in enumerate(names)}
    labels = np.zeros((len(tags), len(names)), np.int32)
    for row, some in zip(labels, tags, strict=True):
        row[[place[tag] for tag in some if tag in place]] = 1
    return Table("multilabel", tuple(names), labels)


def _require_trained(
    rows: Rows, tags: Sequence[Sequence[str]], members: Members
) -> None:
    """Raise `InputError` for each class that only test rows have."""
    train = {tag for i in members["train"] for tag in tags[i]}
    wrong = [
        f"line {rows.lines[i]}: {tag!r}"
        for i in members.get("test", ())
        for tag in tags[i]
        if tag not in train
    ]
    if wrong:
        raise InputError(
            f"{rows.file!r}: {len(wrong)} test rows are of classes that no training "
            f"row has{few(wrong)}"
        )


def _labels(
    rows: Rows, cells: Sequence[Sequence[str]], names: Sequence[str]
) -> npt.NDArray[np.int32]:
    """Return 0, 1 and -1 (unknown) [N, K]."""
    values = [[_label(cell) for cell in row] for row in cells]
    wrong = np.array([[value is None for value in row] for row in values])
    why = (
        "are not 0, 1, -1, true, false or empty; words in one column need separator=, "
        "and task=regression takes numbers"
    )
    _refuse(rows, wrong, cells, names, why)
    return np.array(values, np.int32)


def _numbers(
    rows: Rows,
    cells: Sequence[Sequence[str]],
    names: Sequence[str],
    members: Members,
) -> npt.NDArray[np.float32]:
    """Return numbers [N, K], NaN where nothing stands."""
    values = np.array([[number(cell) for cell in row] for row in cells], np.float32)
    given = [[cell.lower() not in _UNKNOWN for cell in row] for row in cells]
    remedy = (
        "task=classification takes words"
        if len(names) == 1
        else "labels are 0, 1, -1, true, false or empty, and words stand in one column"
    )
    wrong = np.isnan(values) & np.array(given)
    _refuse(rows, wrong, cells, names, f"are not finite numbers; {remedy}")
    known = ~np.isnan(values[members["train"]]).all(axis=0)
    if not known.all():
        absent = [names[int(i)] for i in np.flatnonzero(~known)]
        raise InputError(f"{rows.file!r}: no training row has a number for {absent}")
    return values


def _refuse(
    rows: Rows,
    bad: npt.NDArray[np.bool_],
    cells: Sequence[Sequence[str]],
    names: Sequence[str],
    why: str,
) -> None:
    """Raise `InputError` that lists the cells at which `bad` [N, K] is true."""
    wrong = [
        f"line {rows.lines[i]}, column {names[k]!r}: {cells[i][k][:60]!r}"
        for i, k in np.argwhere(bad).tolist()
    ]
    if wrong:
        raise InputError(f"{rows.file!r}: {len(wrong)} labels {why}{few(wrong)}")
