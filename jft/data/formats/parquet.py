"""Parquet files as Hugging Face's datasets writes them: images in a column."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jft.data.decode import DecodeError
from jft.data.formats.describe import require_choice
from jft.data.formats.parquet_rows import Groups, find_groups
from jft.data.formats.parts import (
    Parts,
    class_names,
    require_mask_options,
    require_no_mask_options,
)
from jft.data.formats.shard_files import Shards, find_shards
from jft.data.formats.value_labels import Values
from jft.data.listing import Dataset, Encoded, File, Split
from jft.errors import InputError, nearest

TASKS = ("auto", "regression")
IMAGE_NAMES = ("image", "img", "picture", "photo", "pixel_values")
LABEL_NAMES = ("label", "labels", "class", "category", "target", "fine_label")
MASK_NAMES = ("mask", "annotation", "segmentation_mask", "segmentation", "label_map")
_SUFFIXES = (".parquet",)


@dataclass(frozen=True, eq=False)
class Column:
    """The files in a column of images.

    Attributes:
        groups: The rows.
        name: The column.
    """

    groups: Groups
    name: str

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.groups)

    def __getitem__(self, index: int) -> File:
        """Return one file, as its bytes or its path."""
        value = self.groups.value(index, self.name)
        path = None
        if isinstance(value, dict):
            value, path = value.get("bytes"), value.get("path")
        if value is not None:
            return value
        if path is None:
            raise DecodeError("the cell is empty")
        return self.groups.root / Path(self.groups.locate(index)[0]).parent / path


@dataclass(frozen=True)
class Schema:
    """What the columns hold.

    Attributes:
        images: Columns of image files.
        others: The other columns.
        names: What Hugging Face's metadata calls the classes of a column.
    """

    images: tuple[str, ...]
    others: tuple[str, ...]
    names: Mapping[str, tuple[str, ...]]


def check(place: str, options: Mapping[str, str]) -> None:
    """Raise `InputError` unless there are such files and the options make sense."""
    find_shards(place, options, _SUFFIXES)
    require_choice(options, "task", TASKS)
    require_mask_options(options)
    if "label" in options and "mask" in options:
        raise InputError("label= and mask= exclude each other")


def load(place: str, options: Mapping[str, str]) -> Dataset:
    """List the rows; only their labels are read, and all masks once.

    Raises:
        InputError: The files or their columns are not as they must be.
    """
    check(place, options)
    shards = find_shards(place, options, _SUFFIXES)
    schema = _same_schema(shards)
    image, labels = choose_columns(schema, options)
    groups: dict[Split, Groups] = {
        split: find_groups(shards.root, n) for split, n in shards.names.items()
    }
    parts = Parts(
        name=shards.name,
        keys={split: some.keys() for split, some in groups.items()},
        images={split: Column(some, image) for split, some in groups.items()},
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
    return parts.with_values(
        Values(
            splits={
                split: _cells(shards, n, labels) for split, n in shards.names.items()
            },
            where=lambda split, i: parts.keys[split][i],
            names=None if several else names,
            columns=labels if several else None,
            name=labels[0],
            regression=options.get("task") == "regression",
        )
    )


def _cells(shards: Shards, names: Sequence[str], columns: Sequence[str]) -> list[Any]:
    """Return the label cells of some files; of several columns, one tuple a row."""
    import pyarrow.parquet as pq

    cells: list[Any] = []
    for name in names:
        table = pq.read_table(shards.root / name, columns=[*columns])
        read = [table.column(column).to_pylist() for column in columns]
        cells += zip(*read, strict=True) if len(columns) > 1 else read[0]
    return cells


def choose_columns(
    schema: Schema, options: Mapping[str, str]
) -> tuple[str, tuple[str, ...]]:
    """Return the column of images, and those of labels.

    Raises:
        InputError: There are none, or several that could be meant.
    """
    if wanted := options.get("mask", options.get("label")):
        labels = tuple(wanted.split(","))
        for name in labels:
            _require_column(schema, name)
    else:
        labels = (_one("label", schema, LABEL_NAMES, MASK_NAMES),)
    if image := options.get("image"):
        _require_column(schema, image)
        if image not in schema.images:
            raise InputError(f"column {image!r} holds no image files")
        return image, labels
    rest = [name for name in schema.images if name not in labels]
    usual = [name for name in IMAGE_NAMES if name in rest]
    if not usual and len(rest) != 1:
        raise InputError(f"image=COLUMN has to say which is the image: {rest}")
    return (usual or rest)[0], labels


def _one(what: str, schema: Schema, usual: Sequence[str], masks: Sequence[str]) -> str:
    """Return the one column that holds labels or masks, by its name."""
    named = [name for name in usual if name in (*schema.others, *schema.images)]
    named = named or [name for name in schema.names if name in schema.others]
    named = named or [name for name in masks if name in schema.images]
    if len(named) == 1:
        return named[0]
    raise InputError(
        f"{what}=COLUMN or mask=COLUMN has to say which is the {what}; images are "
        f"{[*schema.images]}, other columns {[*schema.others]}"
    )


def _require_column(schema: Schema, name: str) -> None:
    columns = (*schema.images, *schema.others)
    if name not in columns:
        raise InputError(
            f"there is no column {name!r}; there are {list(columns)}"
            f"{nearest(name, columns)}"
        )


def _same_schema(shards: Shards) -> Schema:
    """Return what the columns of the files hold; all must have the same ones."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    first: tuple[str, Schema] | None = None
    for _, name in shards.files():
        try:
            schema = read_schema(pq.read_schema(shards.root / name))
        except (OSError, pa.ArrowException) as error:
            raise InputError(
                f"cannot read {str(shards.root / name)!r}: {error}"
            ) from error
        if first is None:
            first = name, schema
        elif schema != first[1]:
            raise InputError(
                f"{first[0]!r} and {name!r} differ in their columns or class names; "
                "train=PATTERN and test=PATTERN say which files are meant"
            )
    assert first is not None
    return first[1]


def read_schema(schema: Any) -> Schema:
    """Return what the columns hold: by type, and by Hugging Face's metadata."""
    import pyarrow as pa

    features = _features(schema)
    images: list[str] = []
    others: list[str] = []
    for field in schema:
        kind = field.type
        if pa.types.is_struct(kind):
            inner = {kind.field(i).name for i in range(kind.num_fields)}
            holds = inner == {"bytes", "path"}
        else:
            holds = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
        (images if holds else others).append(field.name)
    names = {name: _names(features.get(name)) for name in (*others, *images)}
    return Schema(
        tuple(images), tuple(others), {k: v for k, v in names.items() if v is not None}
    )


def _features(schema: Any) -> dict[str, Any]:
    """Return Hugging Face's description of the columns; empty without a sound one."""
    try:
        text = (schema.metadata or {})[b"huggingface"]
        return dict(json.loads(text)["info"]["features"])
    except (ValueError, TypeError, LookupError, RecursionError):
        return {}


def _names(feature: Any) -> tuple[str, ...] | None:
    """Return the class names in a feature: its own, or those of a list's entries."""
    if isinstance(feature, list) and len(feature) == 1:
        feature = feature[0]
    if not isinstance(feature, dict):
        return None
    names: Any = feature.get("names")
    if isinstance(names, list) and names:
        return tuple(map(str, names))
    return _names(feature.get("feature"))
