"""Data sets that TensorFlow Datasets has prepared, read without TensorFlow."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jft.data.decode import DecodeError
from jft.data.describe import few
from jft.data.listing import Dataset, Encoded, Split
from jft.data.parts import (
    Parts,
    class_names,
    require_mask_options,
    require_no_mask_options,
)
from jft.data.tfds.features import Chosen, Leaf, choose_features
from jft.data.tfds.prepared import Prepared, find_prepared
from jft.data.tfds.records import (
    FeatureFiles,
    Features,
    Records,
    find_pieces,
    open_builder,
)
from jft.data.values import Values
from jft.errors import InputError


def check(path: str, options: Mapping[str, str]) -> None:
    """Raise `InputError` unless the data set is prepared; TFDS is not imported."""
    find_prepared(path, options)
    require_mask_options(options)


def load(path: str, options: Mapping[str, str]) -> Dataset:
    """List the examples; each is read once for its labels, and no image decoded."""
    check(path, options)
    prepared = find_prepared(path, options)
    builder = open_builder(prepared)
    chosen = choose_features(
        builder.info.features, builder.info.supervised_keys, options
    )
    records: dict[Split, Records] = {
        split: Records(prepared, find_pieces(prepared, builder, name))
        for split, name in split_names(prepared, options).items()
    }
    keys: dict[Split, tuple[str, ...]] = {
        split: some.keys() for split, some in records.items()
    }
    _require_apart(prepared, keys)
    scanned: dict[Split, _Scanned] = {
        split: _scan(some, keys[split], chosen) for split, some in records.items()
    }
    parts = Parts(
        name=prepared.name.rpartition("/")[0].replace("/", "-"),
        keys=keys,
        images={split: _files(some, chosen.image) for split, some in records.items()},
        checks={split: some.checks for split, some in scanned.items()},
    )
    label = chosen.labels[0]
    if chosen.mask:
        files: dict[Split, Encoded] = {
            split: _files(some, label) for split, some in records.items()
        }
        return parts.with_masks(files, options, class_names(options) or label.names)
    require_no_mask_options(options)
    several = len(chosen.labels) > 1
    return parts.with_values(
        Values(
            splits={split: some.values for split, some in scanned.items()},
            where=lambda split, i: keys[split][i],
            names=None if several else class_names(options) or label.names,
            columns=tuple(leaf.name for leaf in chosen.labels) if several else None,
            name=label.name,
            task=_task(chosen),
            ids=label.kind == "classes",
        )
    )


def split_names(prepared: Prepared, options: Mapping[str, str]) -> dict[Split, str]:
    """Return TFDS's names of the splits: as the options give, or `train` and `test`.

    Where there is no `test`, it is `validation`; where neither is, none.
    """
    names: dict[Split, str] = {"train": options.get("train", "train")}
    usual = [name for name in ("test", "validation") if name in prepared.splits]
    if test := options.get("test", next(iter(usual), None)):
        names["test"] = test
    return names


def _task(chosen: Chosen) -> str:
    """Return the task that the feature of a single label implies; else `auto`."""
    kind = chosen.labels[0].kind
    if len(chosen.labels) > 1 or kind == "classes":
        return "auto"
    return "regression" if kind in ("number", "numbers") else "classification"


def _require_apart(prepared: Prepared, keys: Mapping[Split, tuple[str, ...]]) -> None:
    """Raise `InputError` if an example is in both splits, or twice in one."""
    for split, some in keys.items():
        if len({*some}) < len(some):
            raise InputError(f"tfds:{prepared.name}: {split}= has examples twice")
    if both := sorted({*keys["train"]} & {*keys.get("test", ())}):
        raise InputError(
            f"tfds:{prepared.name}: {len(both)} examples are in train= and in test=:"
            f"{few(both)}"
        )


def _files(records: Records, leaf: Leaf) -> FeatureFiles:
    return FeatureFiles(Features(records, (leaf.root,)), leaf.name)


@dataclass(frozen=True)
class _Scanned:
    """What is read of each example: a checksum of its files, and its labels."""

    checks: list[int]
    values: list[Any]


def _scan(records: Records, keys: Sequence[str], chosen: Chosen) -> _Scanned:
    """Read every example once."""
    roots = tuple(dict.fromkeys(leaf.root for leaf in (chosen.image, *chosen.labels)))
    features = Features(records, roots)
    checks: list[int] = []
    values: list[Any] = []
    for i, key in enumerate(keys):
        try:
            example = features[i]
        except DecodeError as error:
            raise InputError(f"{key}: {error}") from error
        check = zlib.crc32(example[chosen.image.name])
        if chosen.mask:
            check = zlib.crc32(example[chosen.labels[0].name], check)
        else:
            values.append(_value(example, chosen.labels))
        checks.append(check)
    return _Scanned(checks, values)


def _value(example: Mapping[str, Any], labels: tuple[Leaf, ...]) -> Any:
    """Return the label of an example: a number or truth value, or a list."""
    found: list[Any] = []
    for leaf in labels:
        value: Any = example
        for part in leaf.name.split("/"):
            value = value[part]
        found.append(_plain(value))
    return found[0] if len(found) == 1 else found


def _plain(value: Any) -> Any:
    """Return Python's own numbers instead of NumPy's."""
    return (
        np.asarray(value).tolist() if len(np.shape(value)) else np.asarray(value).item()
    )
