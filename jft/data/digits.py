"""scikit-learn's 1,797 handwritten digits of 8 x 8 pixels, the default data."""

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution

import numpy as np
import numpy.typing as npt

from jft.data.listing import Dataset, Listing, Split
from jft.data.split import part
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


def check(path: str, options: Mapping[str, str]) -> None:
    """Find nothing wrong: they come with scikit-learn."""


def load(path: str, options: Mapping[str, str]) -> Dataset:
    """List the digits; the label is the digit. There is one split, and it is fixed."""
    rows = _rows()
    grey = np.rint(rows[:, :64].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    labels = rows[:, 64].astype(np.int32)
    listing = Listing(
        keys=tuple(str(i) for i in range(len(labels))),
        images=Pixels(grey[..., None].repeat(3, -1)),
        labels=labels,
    )
    test = _fifth(listing.keys, labels)
    splits: dict[Split, Listing] = {
        "train": part(listing, np.flatnonzero(~test)),
        "test": part(listing, np.flatnonzero(test)),
    }
    content = hashlib.sha256(grey.tobytes() + labels.tobytes()).hexdigest()
    return Dataset(
        name="digits",
        task="classification",
        class_names=tuple("0123456789"),
        splits=splits,
        fingerprint=hashlib.sha256(content.encode() + test.tobytes()).hexdigest(),
        framed=True,
    )


def _rows() -> npt.NDArray[np.float64]:
    """Read 64 pixels from 0 to 16 and the digit of each image, [N, 65].

    The file is read as `sklearn.datasets.load_digits` does it. Importing scikit-learn
    would take longer than everything else before training.
    """
    try:
        package = distribution("scikit-learn")
    except PackageNotFoundError as error:
        raise InputError("'digits' needs: pip install scikit-learn") from error
    path = package.locate_file("sklearn/datasets/data/digits.csv.gz")
    with gzip.open(str(path)) as file:
        return np.loadtxt(file, delimiter=",")


def _fifth(
    keys: tuple[str, ...], labels: npt.NDArray[np.int32]
) -> npt.NDArray[np.bool_]:
    """Choose a fifth of each digit, [N], to the image: none is ever added to them."""
    test = np.zeros(len(keys), np.bool_)
    for digit in range(10):
        chosen = np.flatnonzero(labels == digit).tolist()
        chosen.sort(key=lambda i: hashlib.sha256(keys[i].encode()).digest())
        test[chosen[: round(len(chosen) / 5)]] = True
    return test
