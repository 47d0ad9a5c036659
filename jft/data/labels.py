"""What labels mean: numbers, words, or lists of them, from any form of data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from jft.data.describe import few
from jft.data.listing import Split, TaskName
from jft.data.values import UNKNOWN, Values
from jft.errors import InputError

_LARGEST = float(np.finfo(np.float32).max)

Array = npt.NDArray[np.int32] | npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Labelled:
    """The labels of all examples.

    Attributes:
        task: What there is to learn.
        class_names: Names of the K outputs.
        labels: Of each split, as in `jft.data.listing.Listing`.
    """

    task: TaskName
    class_names: tuple[str, ...]
    labels: Mapping[Split, Array]


def labelled(values: Values) -> Labelled:
    """Return what the labels mean.

    Numbers with decimals are regression targets, one or a list of them; texts,
    whole numbers and truth values are classes; lists of these are multi-label
    classes, and where all lists have the same length above 1 and hold 0, 1 and -1
    (unknown), one label per position.
    """
    values = values.mapped(_known)
    known = values.all_known()
    if not known:
        raise InputError(f"no example has a label {values.name!r}")
    lists = isinstance(known[0], (list, tuple))
    if any(isinstance(value, (list, tuple)) != lists for value in known):
        raise InputError("some labels are lists and others are not")
    values.require(
        lambda part: isinstance(part, (int, float, str)),
        f"numbers, texts, or lists of these (in {values.name!r})",
    )
    if values.task == "regression":
        return _numbers(values, known, lists)
    if values.task == "multilabel" and not lists:
        return _table(values.mapped(lambda v: [v], columns=(values.name,)), 1)
    if lists:
        return _lists(values, known)
    whole = [_whole(value) for value in known]
    decimals = any(isinstance(value, float) for value in whole)
    if values.task == "classification" or (values.names and not decimals):
        return _classes(values.mapped(_whole), whole)
    if any(isinstance(value, float) for value in known):
        _require_decimals(values, known, whole)
        return _numbers(values, known, lists)
    _require_few(values, known)
    return _classes(values, known)


def _lists(values: Values, known: Sequence[Any]) -> Labelled:
    if values.task == "classification":
        raise InputError(
            "task=classification takes one label per example; these are lists"
        )
    parts = [part for value in known for part in value]
    truths = any(isinstance(part, bool) for part in parts) and values.columns
    if all(map(_is_truth, parts)):
        length = _positions(values, known)
    else:
        length = len(known[0]) if values.task == "multilabel" or truths else 0
    if length:
        return _table(values, length)
    if values.columns or any(isinstance(part, float) for part in parts):
        return _numbers(values, known, lists=True)
    return _sets(values, parts)


def _positions(values: Values, known: Sequence[Any]) -> int:
    """Return the length of lists with one truth value per label; 0 for class ids.

    Two truths could be two class ids: those are never the same twice, and if they
    are sorted, all lists are [0, 1].
    """
    if values.columns:
        return len(values.columns)
    lengths = {len(value) for value in known}
    length = lengths.pop()
    if values.ids or lengths or length < 2:
        return 0
    if length == 2 and values.names and len(values.names) != 2:
        return 0
    if length == 2 and all([*value] == [0, 1] for value in known):
        raise InputError(
            "all labels are the list [0, 1]: the class ids 0 and 1, or no and yes "
            "for two labels. Either way all examples have the same label"
        )
    return length


def _require_few(values: Values, known: Sequence[Any]) -> None:
    """Raise `InputError` where most examples would be a class of their own."""
    count = 0 if values.names else len({_key(value) for value in known})
    if not _are_few(count, len(known)):
        raise InputError(
            f"{values.name!r} has {count} different values in {len(known)} examples: "
            "names or numbers, not classes. Give task=classification or "
            "task=regression, or another label="
        )


def _require_decimals(
    values: Values, known: Sequence[Any], whole: Sequence[Any]
) -> None:
    """Raise `InputError` for a few whole numbers that are written with decimals.

    pandas writes class ids with decimals where one is missing.
    """
    different = {*whole}
    if _are_few(len(different), len(known)) and all(
        isinstance(value, int) for value in different
    ):
        raise InputError(
            f"the {len(different)} different values of {values.name!r}, such as "
            f"{known[0]!r}, are whole numbers written with decimals: give "
            "task=classification or task=regression (in Python, give classes as int, "
            "and for numbers task=jft.tasks.Regression(...))"
        )


def _numbers(values: Values, known: Sequence[Any], lists: bool) -> Labelled:
    length = len(known[0]) if lists else 1
    if lists:
        values.require_lengths(length)
    remedy = (
        "labels of yes and no are 0, 1, -1, true, false or empty, and words go "
        "into one column"
        if lists
        else "task=classification takes words"
    )
    values.require(_is_number, f"finite numbers (of float32); {remedy}")
    one = () if lists else (values.name,)
    names = values.columns or one or tuple(f"{values.name}/{i}" for i in range(length))
    nothing = [None] * length
    labels: dict[Split, Array] = {}
    for split, some in values.splits.items():
        rows = [nothing if v is None else v if lists else [v] for v in some]
        array = np.array(rows, np.float64).reshape(-1, length)
        labels[split] = array
    missing = np.isnan(labels["train"]).all(axis=0)
    if missing.any():
        absent = [names[i] for i in np.flatnonzero(missing)]
        raise InputError(f"no training example has a number for {short(absent)}")
    return Labelled("regression", names, labels)


def _table(values: Values, length: int) -> Labelled:
    values.require_lengths(length)
    values.require(
        _is_truth,
        "0, 1, -1, true, false or empty; words go into one list or one column "
        "(with separator=), and task=regression takes numbers",
    )
    names = values.names or values.columns or tuple(str(i) for i in range(length))
    if len(names) != length:
        raise InputError(f"{len(names)} names {short(names)} for {length} labels")
    nothing = [None] * length
    labels: dict[Split, Array] = {}
    for split, some in values.splits.items():
        rows = [[int(p) if p in (0, 1) else -1 for p in v or nothing] for v in some]
        labels[split] = np.array(rows, np.int32).reshape(-1, length)
    return Labelled("multilabel", names, labels)


def _classes(values: Values, parts: Sequence[Any]) -> Labelled:
    missing = [
        values.where(split, i)
        for split, some in values.splits.items()
        for i, value in enumerate(some)
        if value is None
    ]
    if missing:
        raise InputError(
            f"{len(missing)} examples have no class; leave them out:{few(missing)}"
        )
    indices, names = _indices(values, parts, at_least=2)
    found = values.mapped(lambda value: indices.get(_key(value), -1))
    labels: dict[Split, Array] = {
        split: np.array(some, np.int32) for split, some in found.splits.items()
    }
    values.require(lambda value: _key(value) in indices, _of(names))
    return Labelled("classification", names, labels)


def _sets(values: Values, parts: Sequence[Any]) -> Labelled:
    indices, names = _indices(values, parts, at_least=1)
    values.require(lambda part: _key(part) in indices, _of(names))
    labels: dict[Split, Array] = {}
    for split, some in values.splits.items():
        array = np.zeros((len(some), len(names)), np.int32)
        for i, value in enumerate(some):
            array[i, [indices[_key(part)] for part in value or ()]] = 1
            if value is None:
                array[i] = -1
        labels[split] = array
    return Labelled("multilabel", names, labels)


def _of(names: Sequence[str]) -> str:
    return f"any of the {len(names)} classes {short(names)}"


def _indices(
    values: Values, parts: Sequence[Any], at_least: int
) -> tuple[dict[tuple[type, Any], int], tuple[str, ...]]:
    """Return the class index of each value, and the class names.

    Classes without given names are the training split's, sorted; texts of whole
    numbers as numbers.
    """
    kinds = {type(part) for part in parts}
    if len(kinds) > 1 or float in kinds:
        names = sorted(kind.__name__ for kind in kinds)
        raise InputError(f"class labels are of several types: {names}")
    if values.names:
        ids = {(int, i): i for i in range(len(values.names))}
        return ids | {(str, n): i for i, n in enumerate(values.names)}, values.names
    found = {
        part
        for value in values.splits["train"]
        if value is not None
        for part in (value if isinstance(value, (list, tuple)) else [value])
    }
    if len(found) < at_least:
        raise InputError(
            f"the training labels are all {[*found]}; at least {at_least} different "
            "ones are needed"
        )
    numbers = all(isinstance(part, str) and _is_whole(part) for part in found)
    order = sorted(found, key=lambda part: (int(part), part) if numbers else part)
    return {_key(part): i for i, part in enumerate(order)}, tuple(map(str, order))


def _known(value: Any) -> Any:
    """Return None instead of a text or a number that means a missing label."""
    if isinstance(value, str):
        return None if value.strip().lower() in UNKNOWN else value
    return None if isinstance(value, float) and value != value else value


def _key(value: Any) -> tuple[type, Any]:
    return type(value), value


def _are_few(count: int, total: int) -> bool:
    """Return whether so many different labels of so many examples can be classes."""
    return count <= max(20, total // 2)


def _is_truth(part: Any) -> bool:
    """Return whether a part is 0, 1, -1 or nothing (NaN is nothing)."""
    return part in (None, 0, 1, -1) or part != part


def _is_number(part: Any) -> bool:
    """Return whether a part is a number that float32 can hold; NaN is nothing."""
    return isinstance(part, (int, float)) and not abs(part) > _LARGEST


def _is_whole(text: str) -> bool:
    return len(text) < 20 and text.removeprefix("-").removeprefix("+").isdecimal()


def _whole(value: Any) -> Any:
    """Return a class id that was saved as a number with decimals as an integer."""
    whole = isinstance(value, float) and value.is_integer()
    return int(value) if whole else value


def short(names: Sequence[str]) -> str:
    """Return the first ten names, and how many more there are."""
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return f"{list(names[:10])}{more}"
