"""Which examples are held out for testing, where the data does not show it."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from jft.data.listing import Dataset, Listing, Split, stamp
from jft.errors import InputError

TEST_FRACTION = 0.2


def hold_out(dataset: Dataset, ids: Sequence[str] | None = None) -> Dataset:
    """Return a data set without a test split with a fifth of its examples as one.

    Args:
        dataset: Has `train` alone.
        ids: Of each example, what is hashed; None takes the keys.

    Raises:
        InputError: It has too few examples.
    """
    whole = dataset.splits["train"]
    mask = held_out(ids or whole.keys, _strata(whole))
    if not mask.any() or mask.all():
        raise InputError(
            f"{dataset.name}: a test split needs a class of at least two images"
        )
    splits: dict[Split, Listing] = {
        "train": part(whole, np.flatnonzero(~mask)),
        "test": part(whole, np.flatnonzero(mask)),
    }
    both = hashlib.sha256(dataset.fingerprint.encode() + mask.tobytes())
    return replace(dataset, splits=splits, fingerprint=both.hexdigest())


def _strata(listing: Listing) -> list[int]:
    """Return the classes, of which each split needs some; zeros if there are none."""
    labels = listing.class_labels
    if labels is not None and labels.ndim == 1:
        return labels.tolist()
    return [0] * len(listing.keys)


def held_out(keys: Sequence[str], labels: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Choose the test examples: those whose keys hash into the lowest fifth.

    Each key decides for itself, so nothing moves when examples are added. The one
    exception: a class of two or more has at least one example in both splits.

    Args:
        keys: N names, of which each belongs to its example whatever is added.
        labels: N classes.

    Returns:
        bool [N], True for test.
    """
    hashes = np.array([_hash(key) for key in keys], np.uint64)
    mask = hashes < np.uint64(int(TEST_FRACTION * 2**64))
    members: dict[int, list[int]] = {}
    for i, label in enumerate(labels):
        members.setdefault(label, []).append(i)
    for some in members.values():
        if len(some) < 2 or mask[some].all():
            mask[some[int(hashes[some].argmax())]] = False
        elif not mask[some].any():
            mask[some[int(hashes[some].argmin())]] = True
    return mask


def _hash(key: str) -> int:
    return int.from_bytes(hashlib.sha256(os.fsencode(key)).digest()[:8], "big")


def part(listing: Listing, indices: npt.NDArray[np.intp]) -> Listing:
    """Return some examples of a listing, in the order of `indices`."""
    labels, weights = listing.class_labels, listing.weights
    return Listing(
        keys=tuple(listing.keys[i] for i in indices),
        images=Some(listing.images, indices),
        labels=Some(listing.labels, indices) if labels is None else labels[indices],
        weights=None if weights is None else weights[indices],
    )


@dataclass(frozen=True, eq=False)
class Some:
    """The images, or the masks, at some indices of others."""

    parts: Any
    indices: npt.NDArray[np.intp]

    def __len__(self) -> int:
        """Return the number of images or masks."""
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        """Return one image as it is given, or one mask [H, W]."""
        return self.parts[int(self.indices[index])]

    def stamp(self, index: int) -> str:
        """Return what changes with the file."""
        return stamp(self.parts, int(self.indices[index]))
