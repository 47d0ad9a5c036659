"""Which columns Parquet files have, and which hold the images and the labels."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jft.data.webdataset.files import Shards
from jft.errors import InputError, nearest

IMAGE_NAMES = ("image", "img", "picture", "photo", "pixel_values")
LABEL_NAMES = ("label", "labels", "class", "category", "target", "fine_label")
MASK_NAMES = ("mask", "annotation", "segmentation_mask", "segmentation", "label_map")


@dataclass(frozen=True)
class Schema:
    """What the columns hold.

    Attributes:
        images: Columns of image files.
        others: The other columns.
        names: What Hugging Face's metadata calls the classes of a column.
        texts: Those of the other columns that may hold paths.
    """

    images: tuple[str, ...]
    others: tuple[str, ...]
    names: Mapping[str, tuple[str, ...]]
    texts: tuple[str, ...] = ()

    def of(self, name: str) -> tuple[object, ...]:
        """Return what a column holds, to compare it with that of another file."""
        kinds = (self.images, self.others, self.texts)
        return *(kind.count(name) for kind in kinds), self.names.get(name)


def same_columns(
    shards: Shards, options: Mapping[str, str]
) -> tuple[Schema, str, tuple[str, ...]]:
    """Return what the columns hold, the one of images, and those of labels.

    These must be the same in all files; others may differ.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    first: tuple[str, Schema, str, tuple[str, ...]] | None = None
    for _, name in shards.files():
        try:
            schema = read_schema(pq.read_schema(shards.root / name))
        except (OSError, pa.ArrowException) as error:
            raise InputError(
                f"cannot read {str(shards.root / name)!r}: {error}"
            ) from error
        if first is None:
            first = name, schema, *choose_columns(schema, options)
        for column in (first[2], *first[3]):
            if schema.of(column) != first[1].of(column):
                raise InputError(
                    f"{first[0]!r} and {name!r} differ in their column {column!r} or "
                    "its class names; train=PATTERN and test=PATTERN select the files"
                )
    assert first is not None
    return first[1:]


def read_schema(schema: Any) -> Schema:
    """Return what the columns hold: by type, and by Hugging Face's metadata."""
    import pyarrow as pa

    features = _features(schema)
    images: list[str] = []
    others: list[str] = []
    texts: list[str] = []
    for field in schema:
        kind = field.type
        if pa.types.is_struct(kind):
            inner = {kind.field(i).name for i in range(kind.num_fields)}
            holds = bool(inner) and inner <= {"bytes", "path"}
        else:
            holds = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
        (images if holds else others).append(field.name)
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            texts.append(field.name)
    names = {name: _names(features.get(name)) for name in (*others, *images)}
    return Schema(
        tuple(images),
        tuple(others),
        {k: v for k, v in names.items() if v is not None},
        tuple(texts),
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


def choose_columns(
    schema: Schema, options: Mapping[str, str]
) -> tuple[str, tuple[str, ...]]:
    """Return the column of images, and those of labels."""
    image, labels = _choose(schema, options)
    for name in (image, *labels):
        count = (*schema.images, *schema.others).count(name)
        if count > 1:
            raise InputError(f"{count} columns are called {name!r}")
    return image, labels


def _choose(schema: Schema, options: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    if wanted := options.get("mask", options.get("label")):
        labels = tuple(wanted.split(","))
        for name in labels:
            _require_column(schema, name)
        if len({*labels}) < len(labels):
            raise InputError(f"label={wanted}: a column occurs twice")
    else:
        labels = (_one("label", schema, LABEL_NAMES, MASK_NAMES),)
    if image := options.get("image"):
        _require_column(schema, image)
        if image not in (*schema.images, *schema.texts):
            raise InputError(f"column {image!r} holds no image files or paths")
        return image, labels
    rest = [name for name in schema.images if name not in labels]
    usual = [name for name in IMAGE_NAMES if name in rest]
    if not usual and len(rest) != 1:
        raise InputError(f"image=COLUMN must select the image: {rest}")
    return (usual or rest)[0], labels


def _one(what: str, schema: Schema, usual: Sequence[str], masks: Sequence[str]) -> str:
    """Return the one column that holds labels or masks, by its name."""
    named = [name for name in usual if name in (*schema.others, *schema.images)]
    named = named or [name for name in schema.names if name in schema.others]
    named = named or [name for name in masks if name in schema.images]
    if len(named) == 1:
        return named[0]
    raise InputError(
        f"{what}=COLUMN or mask=COLUMN must select the {what}; images are "
        f"{[*schema.images]}, other columns {[*schema.others]}"
    )


def _require_column(schema: Schema, name: str) -> None:
    columns = (*schema.images, *schema.others)
    if name not in columns:
        raise InputError(
            f"no column {name!r}; there are {list(columns)}{nearest(name, columns)}"
        )
