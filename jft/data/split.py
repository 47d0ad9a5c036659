"""Which examples are held out for testing, where the data does not say."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jft.data.listing import ClassMaps, Encoded, File, Listing, stamp

TEST_SHARE = 0.2


def held_out(keys: Sequence[str], labels: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Choose the test examples: in each class, the 20 % whose keys hash lowest.

    Args:
        keys: N names, of which each belongs to its example whatever is added.
        labels: N classes.

    Returns:
        bool [N], True for test. A class of two or more gives at least one.
    """
    members: dict[int, list[int]] = {}
    for i, label in enumerate(labels):
        members.setdefault(label, []).append(i)
    mask = np.zeros(len(keys), np.bool_)
    for chosen in members.values():
        chosen.sort(key=lambda i: hashlib.sha256(os.fsencode(keys[i])).digest())
        mask[chosen[: max(len(chosen) > 1, round(len(chosen) * TEST_SHARE))]] = True
    return mask


def part(listing: Listing, places: npt.NDArray[np.intp]) -> Listing:
    """Return some examples of a listing, in the order of `places`."""
    labels, weights = listing.labels, listing.weights
    return Listing(
        keys=tuple(listing.keys[i] for i in places),
        images=SomeImages(listing.images, places),
        labels=(
            labels[places]
            if isinstance(labels, np.ndarray)
            else SomeMasks(labels, places)
        ),
        weights=None if weights is None else weights[places],
    )


@dataclass(frozen=True, eq=False)
class SomeImages:
    """The images at some places of others."""

    images: Encoded
    places: npt.NDArray[np.intp]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.places)

    def __getitem__(self, index: int) -> File:
        """Return one image as it is given."""
        return self.images[int(self.places[index])]


@dataclass(frozen=True, eq=False)
class SomeMasks:
    """The masks at some places of others."""

    masks: ClassMaps
    places: npt.NDArray[np.intp]

    def __len__(self) -> int:
        """Return the number of masks."""
        return len(self.places)

    def __getitem__(self, index: int) -> npt.NDArray[np.uint8]:
        """Return one mask [H, W]."""
        return self.masks[int(self.places[index])]

    def stamp(self, index: int) -> str:
        """Return what changes with the mask's file."""
        return stamp(self.masks, int(self.places[index]))
