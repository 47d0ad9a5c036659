"""Labels as files with types hold them (numbers, words, lists): what they mean."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from jft.data.describe import few
from jft.data.listing import Split, TaskName
from jft.errors import InputError

TASKS = ("auto", "classification", "regression")

Array = npt.NDArray[np.int32] | npt.NDArray[np.float32]


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


@dataclass(frozen=True)
class Values:
    """Labels as they stand in files.

    Attributes:
        splits: Of each split, a value per example: a number, a word, a list of them,
            or None where nothing is known.
        where: Tells where the label of example `i` of a split stands.
        names: What the data calls the classes 0, 1, ...; None if it does not.
        columns: What the entries of lists are called, where each is a column.
        name: What the label is called; numbers are called after it.
        task: One of `TASKS`: what single labels are, where the values alone leave it
            open.
        ids: Whether the data says that the entries of lists are classes.
    """

    splits: Mapping[Split, Sequence[Any]]
    where: Callable[[Split, int], str]
    names: tuple[str, ...] | None = None
    columns: tuple[str, ...] | None = None
    name: str = "label"
    task: str = "auto"
    ids: bool = False

    def labelled(self) -> Labelled:
        """Return what the labels mean.

        Numbers with decimals are numbers, one or a list of them; words, whole numbers
        and truth values are classes; lists of these are labels, and where all lists
        are of one length above 1 and of 0, 1 and -1 (unknown), one label a place.

        Raises:
            InputError: Values of different kinds, a class that no training example
                has, one without a label, or more classes than look like classes.
        """
        flat = [value for some in self.splits.values() for value in some]
        known = [value for value in flat if value is not None]
        if not known:
            raise InputError("no example has a label")
        lists = isinstance(known[0], (list, tuple))
        self._require(lambda value: isinstance(value, (list, tuple)) == lists, "a list")
        if self.task == "regression":
            return self._numbers(lists)
        if lists:
            return self._lists(known)
        if self.task == "classification":
            whole = {s: [*map(_whole, some)] for s, some in self.splits.items()}
            return replace(self, splits=whole)._classes([*map(_whole, known)])
        if any(isinstance(value, float) for value in known):
            return self._numbers(lists)
        self._require_few(known)
        return self._classes(known)

    def _lists(self, known: Sequence[Any]) -> Labelled:
        if self.task == "classification":
            raise InputError(
                "task=classification takes one label an example, and these are several"
            )
        parts = [part for value in known for part in value]
        length = self._places_in(known) if all(map(_is_truth, parts)) else 0
        if length:
            return self._table(length)
        if self.columns or any(isinstance(part, float) for part in parts):
            return self._numbers(lists=True)
        return self._sets(parts)

    def _places_in(self, known: Sequence[Any]) -> int:
        """Return how many places lists of truths have; 0 if they hold classes.

        Two truths may be two classes as well: as such they are never twice the same,
        and where they are sorted every example has both.
        """
        if self.columns:
            return len(self.columns)
        lengths = {len(value) for value in known}
        length = lengths.pop()
        if self.ids or lengths or length < 2:
            return 0
        if length == 2 and self.names and len(self.names) != 2:
            return 0
        if length == 2 and all([*value] == [0, 1] for value in known):
            raise InputError(
                "all labels are the list [0, 1]: the classes 0 and 1, or no and yes "
                "for one label each. As either, all examples are the same"
            )
        return length

    def _require_few(self, known: Sequence[Any]) -> None:
        """Raise `InputError` where most examples would be a class of their own."""
        single = {_key(value) for value in known if isinstance(value, (int, str))}
        count = 0 if self.names else len(single)
        if count > max(20, len(known) // 2):
            raise InputError(
                f"{count} different labels {self.name!r} of {len(known)} examples look "
                "like names or numbers, not like classes; say task=classification or "
                "task=regression, or label="
            )

    def _require(self, good: Callable[[Any], bool], what: str) -> None:
        """Raise `InputError` with the known values that are not as they must be."""
        wrong = [
            f"{self.where(split, i)}: {value!r}"
            for split, some in self.splits.items()
            for i, value in enumerate(some)
            if value is not None and not good(value)
        ]
        if wrong:
            raise InputError(
                f"{len(wrong)} labels are not like the others ({what}):{few(wrong)}"
            )

    def _numbers(self, lists: bool) -> Labelled:
        flat = [value for some in self.splits.values() for value in some]
        first = next(value for value in flat if value is not None)
        length = len(first) if lists else 1

        def row(value: Any) -> Sequence[Any]:
            return [None] * length if value is None else value if lists else [value]

        def fits(value: Any) -> bool:
            parts = row(value)
            numbers = (part is None or isinstance(part, (int, float)) for part in parts)
            return len(parts) == length and all(numbers)

        self._require(fits, f"{length} numbers" if lists else "a number")
        one = () if lists else (self.name,)
        names = self.columns or one or tuple(f"{self.name}/{i}" for i in range(length))
        labels: dict[Split, Array] = {}
        for split, some in self.splits.items():
            try:
                with np.errstate(over="raise"):
                    array = np.array([row(value) for value in some], np.float64)
                    labels[split] = array.astype(np.float32)
            except (OverflowError, FloatingPointError) as error:
                raise InputError("a label is too large for float32") from error
            if np.isinf(array).any():
                raise InputError("a label is infinite")
        return Labelled("regression", names, labels)

    def _table(self, length: int) -> Labelled:
        names = self.names or self.columns or tuple(str(i) for i in range(length))
        if len(names) != length:
            raise InputError(f"{len(names)} names {list(names)} for {length} labels")
        labels: dict[Split, Array] = {
            split: np.array(
                [
                    [
                        int(part) if part in (0, 1) else -1
                        for part in value or [None] * length
                    ]
                    for value in some
                ],
                np.int32,
            ).reshape(-1, length)
            for split, some in self.splits.items()
        }
        return Labelled("multilabel", names, labels)

    def _classes(self, parts: Sequence[Any]) -> Labelled:
        places, names = self._places(parts)
        labels: dict[Split, Array] = {
            split: np.array([places.get(_key(value), -1) for value in some], np.int32)
            for split, some in self.splits.items()
        }
        lines = [
            f"{self.where(split, i)}: {self.splits[split][i]!r}"
            for split, some in labels.items()
            for i in np.flatnonzero(some < 0).tolist()
        ]
        if lines:
            raise InputError(
                f"{len(lines)} examples have no label, or none of the {len(names)} "
                f"classes {short(names)}:{few(lines)}"
            )
        return Labelled("classification", names, labels)

    def _sets(self, parts: Sequence[Any]) -> Labelled:
        places, names = self._places(parts)
        labels: dict[Split, Array] = {}
        lines: list[str] = []
        for split, some in self.splits.items():
            array = np.zeros((len(some), len(names)), np.int32)
            for i, value in enumerate(some):
                found = [places.get(_key(part), -1) for part in value or ()]
                array[i, found] = 1
                if value is None:
                    array[i] = -1
                if -1 in found:
                    lines.append(f"{self.where(split, i)}: {value!r}")
            labels[split] = array
        if lines:
            raise InputError(
                f"{len(lines)} examples have a label that is none of the {len(names)} "
                f"classes {short(names)}:{few(lines)}"
            )
        return Labelled("multilabel", names, labels)

    def _places(
        self, parts: Sequence[Any]
    ) -> tuple[dict[tuple[type, Any], int], tuple[str, ...]]:
        """Return the place of each value, and the class names.

        Classes without given names are the training split's, sorted.
        """
        kinds = {type(part) for part in parts if part is not None}
        if len(kinds) > 1 or not kinds <= {int, str, bool}:
            names = sorted(kind.__name__ for kind in kinds)
            raise InputError(
                f"labels of different kinds, or of none that is known: {names}"
            )
        if self.names:
            ids = {(int, i): i for i in range(len(self.names))}
            return ids | {(str, n): i for i, n in enumerate(self.names)}, self.names
        flat = (
            part
            for value in self.splits["train"]
            for part in (value if isinstance(value, (list, tuple)) else [value])
        )
        found = sorted({part for part in flat if part is not None})
        if len(found) < 2:
            raise InputError(
                f"the training labels are all {found}; at least 2 are needed"
            )
        return {_key(part): i for i, part in enumerate(found)}, tuple(map(str, found))


def _key(value: Any) -> tuple[type, Any]:
    return type(value), value


def _is_truth(part: Any) -> bool:
    """Return whether a part is 0, 1, -1 or nothing (NaN is nothing)."""
    return part in (None, 0, 1, -1) or part != part


def _whole(value: Any) -> Any:
    """Return a class id that was saved as a number with decimals; None of NaN."""
    if not isinstance(value, float):
        return value
    if value != value:
        return None
    return int(value) if value.is_integer() else value


def short(names: Sequence[str]) -> str:
    """Return the first ten names, and how many more there are."""
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return f"{list(names[:10])}{more}"
