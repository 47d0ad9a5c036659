"""Images and masks of a listing: read once and stored in memory, or read again."""

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from jft.data.cache import Cache, Put
from jft.data.decode import DecodeError, decode
from jft.data.geometry import Square
from jft.data.listing import ClassMaps, Encoded, Listing, TaskName
from jft.data.squares import Mapped
from jft.errors import DataError

_CHUNK = 64  # images per task of the pool, so that the cost of a task vanishes


@dataclass(frozen=True, eq=False)
class Files:
    """Squares of images or masks that are read again at each access.

    Attributes:
        parts: The images or the masks, undecoded.
        keys: What they are called.
        indices: Of the N examples, their indices in these.
        square: How each is brought to its square.
        sizes: int32 [.., 2], height and width of each image that has a mask, which must
            not change; None without masks.
    """

    parts: Encoded | ClassMaps
    keys: tuple[str, ...]
    indices: npt.NDArray[np.int64]
    square: Square
    sizes: npt.NDArray[np.int32] | None = None

    def __len__(self) -> int:
        """Return the number of examples N."""
        return len(self.indices)

    def __getitem__(self, index: int) -> npt.NDArray[np.uint8]:
        """Return square `index`; `InputError` if its file has changed.

        An image [S, S, 3], or a mask [S, S].
        """
        i = int(self.indices[index])
        try:
            pixels = decode(
                self.parts[i],
                at_least=self.square.at_least,
                channels=self.square.channels,
            )
            if self.sizes is not None:
                _require_size(pixels, self.sizes[i])
        except DecodeError as error:
            raise DataError(
                f"{self.keys[i]!r} could be read when the run started, but now: {error}"
            ) from error
        make = self.square.mask if pixels.ndim == 2 else self.square.image
        return make(pixels)


def _require_size(pixels: npt.NDArray[np.uint8], size: npt.NDArray[np.int32]) -> None:
    """Raise `DecodeError` where image and mask may not be of one size any more."""
    (h, w), (old_h, old_w) = pixels.shape[:2], size.tolist()
    if (h, w) != (old_h, old_w):
        raise DecodeError(f"{w} x {h} pixels, where there were {old_w} x {old_h}")


Squares = npt.NDArray[np.uint8] | Mapped | Files
Labels = npt.NDArray[np.int32] | npt.NDArray[np.float64] | Squares


@dataclass(frozen=True, eq=False)
class Source:
    """Random access to the labelled examples of a split that can be read.

    Attributes:
        images: uint8 [N, S, S, 3] in 0..255, or what is indexed like it.
        labels: As in `Listing`; masks are uint8 [N, S, S], or what is indexed like it.
        weights: float32 [N], how many examples each counts as.
        class_names: Names of the K outputs.
        task: What there is to learn.
        bad: Of each example that cannot be read, its index in the listing, and why.
        keys: N names, as in `Listing`; () if unknown.
    """

    images: Squares
    labels: Labels
    weights: npt.NDArray[np.float32]
    class_names: tuple[str, ...] = ()
    task: TaskName = "classification"
    bad: Mapping[int, str] = field(default_factory=dict[int, str])
    keys: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of examples N."""
        return len(self.weights)

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.uint8], Any]:
        """Return the image uint8 [S, S, 3] and the label of example `index`."""
        return self.images[index], self.labels[index]

    def weight(self, index: int) -> float:
        """Return how many examples example `index` counts as."""
        return float(self.weights[index])

    def class_indices(self) -> npt.NDArray[np.intp]:
        """Return the class of each example [N], for sampling by class.

        Of several labels it is the rarest that an example has; those without any are a
        class of their own, K.
        """
        labels = np.asarray(self.labels)
        if labels.ndim == 1:
            return labels.astype(np.intp)
        has = labels == 1
        rarest_first = np.argsort(has.sum(axis=0), kind="stable")
        first = np.argmax(has[:, rarest_first], axis=1)
        return np.where(has.any(axis=1), rarest_first[first], labels.shape[1])


def read_all(
    listing: Listing,
    square: Square,
    *,
    keep: bool,
    workers: int | None = None,
    cache: Cache | None = None,
) -> Source:
    """Decode every image and mask once, and set those aside that cannot be.

    Args:
        listing: What there is.
        square: What each is brought to.
        keep: Whether to keep them in memory, or to read them again later.
        workers: Threads; None for one per core (more only wait for Python's lock).
        cache: Where to keep them instead. Nothing is decoded that is there already.

    Raises:
        InputError: The cache cannot be written.
    """
    if cache is not None:
        stored = cache.stored(
            listing, square, lambda put: _scan(listing, square, put, workers)
        )
        return _source(listing, stored.images, stored.masks, stored.bad)
    if not keep:
        return _read_again(listing, square, workers)
    n, size = len(listing.keys), square.preprocess.size
    images = np.empty((n, size, size, square.channels), np.uint8)
    masks = None if listing.masks is None else np.empty((n, size, size), np.uint8)

    def put(
        i: int, image: npt.NDArray[np.uint8], mask: npt.NDArray[np.uint8] | None
    ) -> None:
        images[i] = image
        if masks is not None and mask is not None:
            masks[i] = mask

    bad = _scan(listing, square, put, workers)
    good = _good(n, bad) if bad else slice(None)  # a slice copies nothing
    return _source(listing, images[good], None if masks is None else masks[good], bad)


def _read_again(listing: Listing, square: Square, workers: int | None) -> Source:
    """Return examples that are made at each access."""
    n, masks = len(listing.keys), listing.masks
    sizes = None if masks is None else np.zeros((n, 2), np.int32)
    bad = _scan(listing, square, None, workers, sizes)
    some = listing.keys, _good(n, bad), square, sizes
    files = Files(listing.images, *some)
    return _source(listing, files, None if masks is None else Files(masks, *some), bad)


def _good(n: int, bad: Iterable[int]) -> npt.NDArray[np.int64]:
    return np.setdiff1d(np.arange(n), list(bad))


def _source(
    listing: Listing, images: Squares, masks: Squares | None, bad: dict[int, str]
) -> Source:
    good, labels = _good(len(listing.keys), bad), listing.class_labels
    weights = listing.weights
    found = masks if labels is None else labels[good]
    assert found is not None
    weights = np.ones(len(good), np.float32) if weights is None else weights[good]
    keys = tuple(listing.keys[i] for i in good) if bad else listing.keys
    return Source(images, found, weights, bad=bad, keys=keys)


def _scan(
    listing: Listing,
    square: Square,
    put: Put | None,
    workers: int | None,
    sizes: npt.NDArray[np.int32] | None = None,
) -> dict[int, str]:
    """Decode all of a listing in threads; return why some cannot be.

    Where there are masks, their heights and widths go into `sizes`, if that is given.
    """
    n, masks = len(listing.keys), listing.masks

    def check(i: int) -> None:
        image = decode(
            listing.images[i], at_least=square.at_least, channels=square.channels
        )
        mask = None
        if masks is not None:
            mask = masks[i]
            _require_same_size(image, mask)
            if sizes is not None:
                sizes[i] = mask.shape
            mask = square.mask(mask)
        if put is not None:
            put(i, square.image(image), mask)

    def check_some(start: int) -> dict[int, str]:
        bad: dict[int, str] = {}
        for i in range(start, min(start + _CHUNK, n)):
            try:
                check(i)
            except DecodeError as error:
                bad[i] = str(error)
        return bad

    bad: dict[int, str] = {}
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        for some in pool.map(check_some, range(0, n, _CHUNK)):
            bad |= some
    return bad


def _require_same_size(
    image: npt.NDArray[np.uint8], mask: npt.NDArray[np.uint8]
) -> None:
    if image.shape[:2] != mask.shape:
        (h, w), (mask_h, mask_w) = image.shape[:2], mask.shape
        raise DecodeError(
            f"the mask has {mask_w} x {mask_h} pixels, the image {w} x {h}"
        )
