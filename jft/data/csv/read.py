"""Tables: a row for each image, with its path and its label or labels."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from jft.data.csv.labels import read_labels
from jft.data.csv.rows import Rows, read_rows
from jft.data.describe import (
    few,
    identity,
    require_choice,
    require_file,
    size_of,
    with_slashes,
)
from jft.data.listing import Dataset, Listing, Paths, Split
from jft.data.names import TEST_WORDS, TRAIN_WORDS, split_of, split_word
from jft.data.values import TASKS
from jft.data.walk import require_folder
from jft.errors import InputError, nearest

PATH_NAMES = (
    *("path", "file", "filename", "file_name", "filepath", "file_path", "image"),
    *("image_path", "img", "img_path"),
)
LABEL_NAMES = ("label", "labels", "class", "class_name", "category", "target")
SPLIT_NAMES = (
    *("split", "set", "subset", "partition"),
    *("is_valid", "is_val", "is_validation", "is_test", "is_train"),
)
_TRUTHS = {
    **dict.fromkeys(("true", "1", "1.0", "yes"), True),
    **dict.fromkeys(("false", "0", "0.0", "no"), False),
}
WEIGHT_NAMES = ("weight", "sample_weight")
SUFFIXES = (".jpg", ".png", ".jpeg", ".JPG", ".tif")


def check(path: str, options: Mapping[str, str]) -> None:
    """Raise `InputError` unless the table exists and the options make sense."""
    require_file(Path(path))
    require_choice(options, "task", TASKS)
    require_choice(options, "decimal", (".", ","))
    try:
        "a".encode(options.get("encoding", "utf-8"))
    except LookupError as error:
        raise InputError(
            f"encoding={options['encoding']}: unknown encoding; common ones are "
            "utf-8, utf-16, cp1252, latin-1, gbk and shift_jis"
        ) from error
    if not options.get("separator", " "):
        raise InputError("separator= is empty; valid is what divides the labels, as |")
    if "separator" in options and options.get("task", "auto") not in (
        "auto",
        "multilabel",
    ):
        raise InputError("separator= makes several labels: it is task=multilabel")
    require_folder(_root(path, options))


def load(path: str, options: Mapping[str, str]) -> Dataset:
    """List the images of a CSV or TSV file."""
    check(path, options)
    encoding, decimal = options.get("encoding", "utf-8"), options.get("decimal", "")
    rows = read_rows(Path(path), encoding, decimal)
    root = _root(path, options)
    path_column = _required(rows, options, "path", PATH_NAMES)
    labels = _label_columns(rows, options)
    column = _column(rows, options, "split", SPLIT_NAMES)
    members, skipped = _members(rows, column, options)
    names = _paths(rows, path_column, root, options.get("suffix", ""))
    task, separator = options.get("task", "auto"), options.get("separator")
    found = read_labels(rows, labels, members, task, separator)
    weights = _weights(rows, _column(rows, options, "weight", WEIGHT_NAMES))
    splits: dict[Split, Listing] = {}
    sizes: dict[Split, list[int]] = {}
    for split, indices in members.items():
        chosen = tuple(names[i] for i in indices.tolist())
        splits[split] = Listing(
            keys=tuple(_key(name, root) for name in chosen),
            images=Paths(root, chosen),
            labels=found.labels[split],
            weights=None if weights is None else weights[indices],
        )
        sizes[split] = [size_of(root / name) for name in chosen]
    return Dataset(
        name=Path(path).resolve().stem,
        task=found.task,
        class_names=found.class_names,
        splits=splits,
        fingerprint=identity(splits, sizes, (found.task, found.class_names)),
        skipped=skipped,
    )


def _root(path: str, options: Mapping[str, str]) -> Path:
    given = options.get("root")
    return Path(path).parent if given is None else Path(given).expanduser()


def _key(name: str, root: Path) -> str:
    """Return the name of an image: never an absolute path."""
    if os.path.isabs(name):
        name = os.path.relpath(name, root.absolute())
    return name


def _column(
    rows: Rows, options: Mapping[str, str], option: str, usual: Sequence[str]
) -> int | None:
    """Return the index of a column that an option names, or a usual name finds."""
    if option in options:
        return rows.column(options[option])
    found = [i for i, name in enumerate(rows.header) if name.lower() in usual]
    if len(found) > 1:
        which = " or ".join(f"{option}={rows.header[i]}" for i in found)
        raise InputError(f"{rows.file!r} has several columns for that: give {which}")
    return found[0] if found else None


def _required(
    rows: Rows, options: Mapping[str, str], option: str, usual: Sequence[str]
) -> int:
    """Return the index of a column, without which the table cannot be used."""
    column = _column(rows, options, option, usual)
    if column is None:
        raise InputError(
            f"{rows.file!r} has no column called {', '.join(usual)}; its first line is "
            f"{', '.join(rows.header)[:80]!r}. The first line must name the columns; "
            f"{option}=NAME selects it"
        )
    return column


def _label_columns(rows: Rows, options: Mapping[str, str]) -> list[int]:
    """Return the indices of all label columns."""
    given = options.get("label", "")
    if "," not in given or given in rows.header:
        return [_required(rows, options, "label", LABEL_NAMES)]
    columns = [rows.column(name) for name in given.split(",")]
    if len({*columns}) < len(columns):
        raise InputError(f"label={given} names a column twice")
    if "separator" in options or options.get("task") == "classification":
        raise InputError(
            f"label={given}: separator= and task=classification take one column"
        )
    return columns


def _members(
    rows: Rows, column: int | None, options: Mapping[str, str]
) -> tuple[dict[Split, npt.NDArray[np.int64]], int]:
    """Return the rows of each split, and how many are of none that is used."""
    if column is None:
        if given := [name for name in ("train", "test") if name in options]:
            raise InputError(
                f"{given[0]}= is a word in a split column: give split=COLUMN as well; "
                f"columns of {rows.file!r} are {', '.join(rows.header)}"
            )
        return {"train": np.arange(len(rows.cells))}, 0
    words = [cells[column].strip() for cells in rows.cells]
    where = f"{rows.file!r}, column {rows.header[column]!r}"
    if options.keys() & {"train", "test"}:
        splits = _as_given({*words}, options, where)
    else:
        splits = _by_word({*words}, rows.header[column], where)
    wrong = [
        f"line {rows.lines[i]}: {rows.cells[i][column][:60]!r}"
        for i, word in enumerate(words)
        if word not in splits
    ]
    if wrong:
        raise InputError(
            f"{where}: {len(wrong)} rows are of no split; valid are "
            f"{', '.join((*TRAIN_WORDS, *TEST_WORDS))}; or give train=WORD and "
            f"test=WORD{few(wrong)}"
        )
    of = np.array([splits[word] or "" for word in words])
    members: dict[Split, npt.NDArray[np.int64]] = {
        split: np.flatnonzero(of == split) for split in ("train", "test")
    }
    if not len(members["train"]):
        raise InputError(f"{where}: no row is of train")
    if not len(members["test"]):
        del members["test"]
    return members, len(words) - sum(map(len, members.values()))


def _as_given(
    words: set[str], options: Mapping[str, str], where: str
) -> dict[str, Split | None]:
    """Return the split of each word by the options train= and test=."""
    splits: dict[str, Split | None] = dict.fromkeys(words, None)
    if "train" not in options:
        splits = dict.fromkeys(words, "train")
    names: tuple[Split, ...] = ("train", "test")
    for name in names:
        for word in options.get(name, "").split(","):
            if word and word not in words:
                known = f"{[*sorted(words)][:20]}{nearest(word, words)}"
                raise InputError(f"{where} has no {name}={word}, but {known}")
            if word and name == "test" and word in options.get("train", "").split(","):
                raise InputError(f"{where}: {word!r} is in train= and in test=")
            splits |= {word: name} if word else {}
    return splits


def _by_word(words: set[str], header: str, where: str) -> dict[str, Split | None]:
    """Return the split of each word that means one; None for a third split.

    Truth values, as in fastai's `is_valid`, mean what the column is called.
    """
    if {word.lower() for word in words} <= _TRUTHS.keys():
        meant = split_of([split_word(header) or ""])
        if not meant:
            raise InputError(f"{where}: {sorted(words)} mean no split; give test=WORD")
        yes = "train" if "train" in meant.values() else "test"
        no = "test" if yes == "train" else "train"
        return {word: yes if _TRUTHS[word.lower()] else no for word in words}
    meanings = {word: split_word(word) for word in words}
    used = split_of(word for word in meanings.values() if word)
    return {word: used.get(m) for word, m in meanings.items() if m is not None}


def _paths(rows: Rows, column: int, root: Path, suffix: str) -> list[str]:
    """Return the paths of all rows, as written except for '.' and backslashes.

    Rows are of one image if their paths lead to one file, however they are written.
    """
    cells = [row[column] for row in rows.cells]
    if empty := [f"line {rows.lines[i]}" for i, cell in enumerate(cells) if not cell]:
        raise InputError(f"{rows.file!r}: {len(empty)} rows have no path{few(empty)}")
    names = [os.path.normpath(with_slashes(cell + suffix, root)) for cell in cells]
    whole = os.path.realpath(root)
    whole_paths = [os.path.normpath(os.path.join(whole, name)) for name in names]
    first: dict[str, int] = {}
    again = [
        f"line {rows.lines[i]}: {_key(names[i], root)!r} is in line "
        f"{rows.lines[first[path]]} already"
        for i, path in enumerate(whole_paths)
        if first.setdefault(path, i) != i
    ]
    if again:
        raise InputError(
            f"{rows.file!r}: {len(again)} rows repeat an image. Keep one row for each; "
            "a weight column counts it more often, and several labels go into several "
            f"columns, or into one with separator={few(again)}"
        )
    if not any(size_of(root / name) >= 0 for name in names):
        raise InputError(_nowhere(rows.file, root, names))
    return names


def _nowhere(file: str, root: Path, names: Sequence[str]) -> str:
    hint = "root=FOLDER sets their folder"
    for suffix in SUFFIXES:
        if size_of(root / (names[0] + suffix)) >= 0:
            hint = f"did you mean suffix={suffix}?"
    return f"{file!r}: no image is in {str(root)!r}, such as {names[0]!r}; {hint}"


def _weights(rows: Rows, column: int | None) -> npt.NDArray[np.float32] | None:
    """Return the weights of all rows, None without a column of them."""
    if column is None:
        return None
    values = np.array([rows.number(cells[column]) for cells in rows.cells], np.float32)
    with np.errstate(invalid="ignore"):
        good = np.isfinite(values) & (values >= 0)
    if not good.all():
        wrong = [
            f"line {rows.lines[i]}: {rows.cells[i][column]!r}"
            for i in np.flatnonzero(~good).tolist()
        ]
        raise InputError(
            f"{rows.file!r}, column {rows.header[column]!r}: {len(wrong)} weights are "
            f"not numbers of at least 0{few(wrong)}"
        )
    if not values.any():
        raise InputError(f"{rows.file!r}: all weights are 0")
    return values
