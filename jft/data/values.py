"""Labels as the data has them, before it is decided what they mean."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jft.data.describe import few
from jft.data.listing import Split
from jft.errors import InputError

TASKS = ("auto", "classification", "multilabel", "regression")
_WHOLE = re.compile(r"[+-]?\d{1,300}", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_LARGEST = float(np.finfo(np.float32).max)
UNKNOWN = ("", "nan", "<na>")  # texts of a missing label, in lower case


@dataclass(frozen=True)
class Values:
    """Labels as the data has them.

    Attributes:
        splits: Of each split, a value per example: a number, a text, a list of them,
            or None where nothing is known.
        where: Returns the name of example `i` of a split, for errors.
        names: What the data calls the classes 0, 1, ...; None if it does not.
        columns: Names of the entries of lists, where each is a column.
        name: Name of the label; regression outputs are named after it.
        task: One of `TASKS`: what single labels are, where the values leave it open.
        ids: Whether the data defines the entries of lists as classes.
    """

    splits: Mapping[Split, Sequence[Any]]
    where: Callable[[Split, int], str]
    names: tuple[str, ...] | None = None
    columns: tuple[str, ...] | None = None
    name: str = "label"
    task: str = "auto"
    ids: bool = False

    def all_known(self) -> list[Any]:
        """Return the labels that are not None, of all splits."""
        return [v for some in self.splits.values() for v in some if v is not None]

    def mapped(self, change: Callable[[Any], Any], **fields: Any) -> "Values":
        """Return the values, changed where they are known, and with other fields."""
        splits = {
            split: [None if value is None else change(value) for value in some]
            for split, some in self.splits.items()
        }
        return replace(self, splits=splits, **fields)

    def require(self, good: Callable[[Any], bool], what: str) -> None:
        """Raise `InputError` with the parts of labels that are not good."""
        wrong: list[str] = []
        for split, some in self.splits.items():
            for i, value in enumerate(some):
                parts = value if isinstance(value, (list, tuple)) else [value]
                for k, part in enumerate(parts):
                    if part is None or good(part):
                        continue
                    column = f", column {self.columns[k]!r}" if self.columns else ""
                    wrong.append(f"{self.where(split, i)}{column}: {part!r:.80}")
        if wrong:
            raise InputError(f"{len(wrong)} labels are not {what}:{few(wrong)}")

    def require_lengths(self, length: int) -> None:
        """Raise `InputError` unless all lists have this length."""
        known = self.all_known()
        other = next((len(value) for value in known if len(value) != length), None)
        if other is not None:
            raise InputError(f"labels are lists of {length} and of {other} entries")


def number(cell: str) -> float:
    """Return the number in a cell; NaN if there is none, or one beyond float32.

    >>> number(" 1.5e3 "), number("1_000")
    (1500.0, nan)
    """
    cell = cell.strip()
    value = float(cell) if _NUMBER.fullmatch(cell) else float("nan")
    return value if abs(value) <= _LARGEST else float("nan")


def numbers_or_words(
    texts: Mapping[Split, Sequence[str]], *, mixed: bool
) -> dict[Split, list[Any]]:
    """Return numbers if all texts are numbers or nothing, else the words they are.

    Args:
        texts: Of each split.
        mixed: Whether numbers stay numbers beside words.
    """
    numbers: dict[Split, list[Any]] = {
        split: [*map(_number, some)] for split, some in texts.items()
    }
    if mixed or not any(isinstance(v, str) for some in numbers.values() for v in some):
        return numbers
    return {split: [text or None for text in some] for split, some in texts.items()}


def _number(text: str) -> int | float | str | None:
    """Return the number that a text is; None of an empty one, other words as is."""
    if text.lower() in UNKNOWN:
        return None
    if _WHOLE.fullmatch(text):
        return int(text)
    value = number(text)
    return text if np.isnan(value) else value
