"""scikit-learn's 1,797 handwritten digits of 8 x 8 pixels, the default data."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from jft.data.listing import Dataset, Listing
from jft.errors import InputError


@dataclass(frozen=True, eq=False)
class Pixels:
    """Images [N, H, W, 3] uint8 that are in memory already."""

    array: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.array)

    def __getitem__(self, index: int) -> npt.NDArray[np.uint8]:
        """Return one image [H, W, 3]."""
        return self.array[index]


def check(place: str, options: Mapping[str, str]) -> None:
    """Find nothing wrong: they come with scikit-learn."""


def load(place: str, options: Mapping[str, str]) -> Dataset:
    """List the digits; the label is the digit."""
    try:
        from sklearn.datasets import load_digits  # pyright: ignore[reportMissingTypeStubs]
    except ImportError as error:
        raise InputError("'digits' needs: pip install scikit-learn") from error
    digits = cast(Any, load_digits())  # images [N, 8, 8] in 0..16, target [N]
    grey = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    labels = digits.target.astype(np.int32)
    listing = Listing(
        keys=tuple(str(i) for i in range(len(labels))),
        images=Pixels(grey[..., None].repeat(3, -1)),
        labels=labels,
    )
    return Dataset(
        name="digits",
        task="classification",
        class_names=tuple("0123456789"),
        splits={"train": listing},
        fingerprint=hashlib.sha256(grey.tobytes() + labels.tobytes()).hexdigest(),
        framed=True,
    )
