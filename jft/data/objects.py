"""Data from Python: arrays, lists, and any data set that has `len` and `[i]`."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from jft.data.describe import few, require_choice
from jft.data.items import Items, read_items
from jft.data.listing import ClassMaps, Dataset, Split
from jft.data.parts import Parts
from jft.data.split import hold_out
from jft.data.values import TASKS, Values
from jft.errors import InputError
from jft.types import VOID

OBJECTS = "objects"  # what `TrainConfig.data` is when the data comes from Python


@dataclass(frozen=True, eq=False)
class Masks:
    """Masks in memory, each uint8 [H, W] of class indices and `VOID`."""

    arrays: Sequence[npt.NDArray[np.uint8]]

    def __len__(self) -> int:
        """Return the number of masks."""
        return len(self.arrays)

    def __getitem__(self, index: int) -> npt.NDArray[np.uint8]:
        """Return one mask [H, W]."""
        return self.arrays[index]


def list_objects(
    train: Any,
    test: Any = None,
    *,
    class_names: Sequence[str] | None = None,
    task: str | None = None,
) -> Dataset:
    """List data that is in memory, or behind the `[i]` of another library's data set.

    Every example is read once for its label and a hash of its content.

    Args:
        train: The training data: a tuple (images, labels), of an array uint8
            [N, H, W, 3] or a sequence of images, and of N labels; a sequence of
            (image, label); or a data set of Grain, Hugging Face or torch: `len`, and
            `[i]`, which is (image, label) or a mapping with both. An image is a uint8
            array [H, W, 3], a PIL image, or a path; a label a class name, a class
            index, a number, a list of these (0 and 1: one label each), or a mask of
            class indices [H, W] in which 255 is void.
        test: The test data; None holds out a fifth of `train`, chosen by a hash of each
            path, or of each image that has none.
        class_names: Names of the classes 0, 1, ...; None takes those of the data set.
        task: classification or regression, where whole numbers could be both.

    Raises:
        InputError: The objects hold no such examples, or their labels do not fit
            together.

    >>> images = np.zeros((4, 8, 8, 3), np.uint8)
    >>> list_objects((images, ["cat", "dog"] * 2)).class_names
    ('cat', 'dog')
    """
    require_choice({"task": task or "auto"}, "task", TASKS)
    read: dict[Split, Items] = {"train": read_items(train, "train")}
    if test is not None:
        read["test"] = read_items(test, "test")
    names = read["train"].class_names if class_names is None else tuple(class_names)
    parts = Parts(
        name="objects",
        keys={split: _keys(some) for split, some in read.items()},
        images={split: some.images for split, some in read.items()},
        checks={split: _checks(some) for split, some in read.items()},
        skipped=sum(
            len(some.images.items) - len(some.images) for some in read.values()
        ),
    )
    if any(isinstance(label, np.ndarray) for label in read["train"].labels):
        dataset = _with_masks(parts, read, names)
    else:
        values = Values(
            splits={split: some.labels for split, some in read.items()},
            where=lambda split, i: f"{split}[{read[split].images.indices[i]}]",
            names=names,
            task=task or "auto",
        )
        dataset = parts.with_values(values)
    if test is not None:
        return dataset
    paths, hashes = read["train"].paths, read["train"].hashes
    keys = parts.keys["train"]
    ids = [h if p is None else k for k, p, h in zip(keys, paths, hashes, strict=True)]
    return hold_out(dataset, ids)


def _keys(read: Items) -> tuple[str, ...]:
    """Return paths below the folder that is common to all, or the indices."""
    paths = [path and os.path.abspath(path) for path in read.paths]
    root = os.path.commonpath(
        [os.path.dirname(path) for path in paths if path] or ["/"]
    )
    return tuple(
        os.path.relpath(path, root) if path else str(index)
        for index, path in zip(read.images.indices, paths, strict=True)
    )


def _checks(read: Items) -> list[int]:
    """Return a number for each example that changes with its image, and its mask."""
    checks: list[int] = []
    for digest, label in zip(read.hashes, read.labels, strict=True):
        mask = label.tobytes() if isinstance(label, np.ndarray) else b""
        whole = hashlib.sha256(digest.encode() + mask).digest()
        checks.append(int.from_bytes(whole[:8], "big"))
    return checks


def _with_masks(
    parts: Parts, read: Mapping[Split, Items], names: tuple[str, ...] | None
) -> Dataset:
    """Return the data set with masks, whose values are class indices."""
    labels: dict[Split, ClassMaps] = {}
    highest, wrong = 1, list[str]()
    for split, some in read.items():
        masks: list[npt.NDArray[np.uint8]] = []
        for i, label in zip(some.images.indices, some.labels, strict=True):
            mask = np.asarray(label)
            whole = mask.ndim == 2 and mask.size and mask.dtype.kind in "biu"
            if whole and mask.min() >= 0 and mask.max() <= VOID:
                masks.append(mask.astype(np.uint8))
                highest = max(highest, int(mask[mask != VOID].max(initial=0)))
            else:
                wrong.append(f"{split}[{i}]: {mask.dtype} {[*mask.shape]}")
        labels[split] = Masks(masks)
    if wrong:
        raise InputError(
            f"{len(wrong)} labels are not masks [H, W] of whole numbers in 0..254 and "
            f"255 (void), as others are:{few(wrong)}"
        )
    names = names or tuple(str(i) for i in range(highest + 1))
    if highest >= len(names):
        raise InputError(f"a mask has class {highest}; there are {len(names)} names")
    return parts.dataset("segmentation", names, labels, names)
