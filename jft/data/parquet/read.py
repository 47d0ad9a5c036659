"""Parquet files as Hugging Face's datasets writes them: images in a column."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jft.data.decode import DecodeError
from jft.data.describe import require_choice, with_slashes
from jft.data.labels import short
from jft.data.listing import Dataset, Encoded, File, Split, stamp
from jft.data.parquet.columns import Schema, same_columns
from jft.data.parquet.rows import Groups, find_groups
from jft.data.parts import (
    Parts,
    class_names,
    require_mask_options,
    require_no_mask_options,
)
from jft.data.values import TASKS, Values
from jft.data.webdataset.files import Shards, find_shards
from jft.errors import InputError

_SUFFIXES = (".parquet",)


@dataclass(frozen=True, eq=False)
class Column:
    """The files in a column of images.

    Attributes:
        groups: The rows.
        name: The column.
        paths: Whether it holds paths as text, relative to the Parquet file.
    """

    groups: Groups
    name: str
    paths: bool = False

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.groups)

    def __getitem__(self, index: int) -> File:
        """Return one file, as its bytes or its path."""
        value = self.groups.value(index, self.name)
        path = None
        if self.paths:
            value, path = None, value
        elif isinstance(value, dict):
            value, path = value.get("bytes"), value.get("path")
        if value is not None:
            return value
        if path is None:
            raise DecodeError("the cell is empty")
        folder = self.groups.root / Path(self.groups.locate(index)[0]).parent
        return folder / with_slashes(path, folder)

    def stamp(self, index: int) -> str:
        """Return what changes with one file; read only if it may be a path."""
        leaves = f"{self.name}.bytes", self.name
        if not self.paths and any(self.groups.full(index, leaf) for leaf in leaves):
            return f"{self.name} {self.groups.stamp(index)}"
        try:
            return stamp([self[index]], 0)
        except DecodeError as error:
            return str(error)


def check(path: str, options: Mapping[str, str]) -> None:
    """Raise `InputError` unless there are such files and the options make sense."""
    find_shards(path, options, _SUFFIXES)
    require_choice(options, "task", TASKS)
    require_mask_options(options)
    if "label" in options and "mask" in options:
        raise InputError("label= and mask= exclude each other")


def load(path: str, options: Mapping[str, str]) -> Dataset:
    """List the rows; only their labels are read, and all masks once."""
    check(path, options)
    shards = find_shards(path, options, _SUFFIXES)
    schema, image, labels = same_columns(shards, options)
    groups: dict[Split, Groups] = {
        split: find_groups(shards.root, n) for split, n in shards.names.items()
    }
    parts = Parts(
        name=shards.name,
        keys={split: some.keys() for split, some in groups.items()},
        images={
            split: Column(some, image, image in schema.texts)
            for split, some in groups.items()
        },
        checks={split: some.row_checks() for split, some in groups.items()},
        skipped=shards.skipped,
    )
    names = class_names(options) or schema.names.get(labels[0])
    if len(labels) == 1 and labels[0] in schema.images:
        files: dict[Split, Encoded] = {
            split: Column(some, labels[0]) for split, some in groups.items()
        }
        return parts.with_masks(files, options, names)
    require_no_mask_options(options)
    several = len(labels) > 1
    values = Values(
        splits={s: _cells(shards, n, labels) for s, n in shards.names.items()},
        where=lambda split, i: parts.keys[split][i],
        names=None if several else names,
        columns=labels if several else None,
        name=labels[0],
        task=options.get("task", "auto"),
    )
    dataset = parts.with_values(values)
    if several and values.task != "regression":
        _require_truths(dataset, schema, labels)
    return dataset


def _cells(shards: Shards, names: Sequence[str], columns: Sequence[str]) -> list[Any]:
    """Return the label cells of some files; of several columns, one tuple a row."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    cells: list[Any] = []
    for name in names:
        try:
            with pq.ParquetFile(shards.root / name) as file:
                table = file.read(columns=[*columns])
            read = [table.column(column).to_pylist() for column in columns]
        except (OSError, ValueError, LookupError, pa.ArrowException) as error:
            raise InputError(
                f"cannot read column {','.join(columns)} of "
                f"{str(shards.root / name)!r}: {error}"
            ) from error
        cells += zip(*read, strict=True) if len(columns) > 1 else read[0]
    return cells


def _require_truths(dataset: Dataset, schema: Schema, labels: Sequence[str]) -> None:
    """Raise `InputError` if columns of classes became numbers, or their ids labels."""
    classes = [name for name in labels if name in schema.names]
    many = [name for name in classes if len(schema.names[name]) > 2]
    if many or (classes and dataset.task == "regression"):
        name = (many or classes)[0]
        raise InputError(
            f"label={','.join(labels)}: column {name!r} holds classes "
            f"{short(schema.names[name])}, and several columns are yes or no each, "
            f"or numbers; valid is label={name} alone (or task=regression, which takes "
            "ids for numbers)"
        )
