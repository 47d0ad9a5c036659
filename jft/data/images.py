"""Images and masks of a listing: read once to see what is good, then kept or not."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from jft.data.cache import Cache, Put
from jft.data.decode import DecodeError, decode
from jft.data.geometry import Square
from jft.data.listing import ClassMaps, Encoded, Listing
from jft.data.squares import Mapped
from jft.errors import InputError

Part = TypeVar("Part", Encoded, ClassMaps)

_CHUNK = 64  # images per task of the pool, so that the cost of a task vanishes


@dataclass(frozen=True, eq=False)
class _Reread(ABC, Generic[Part]):
    """Squares that are made at each access; indexed like an array of them.

    Attributes:
        source: Images or masks as they are given.
        keys: What they are called.
        places: Where the N examples are among them.
        square: How each is brought to its square.
        sizes: int32 [.., 2], height and width of all that are given with a mask, which
            have to stay as they were; None if there are no masks.
    """

    source: Part
    keys: tuple[str, ...]
    places: npt.NDArray[np.int64]
    square: Square
    sizes: npt.NDArray[np.int32] | None = None

    def __len__(self) -> int:
        """Return the number of examples N."""
        return len(self.places)

    def __getitem__(self, index: int) -> npt.NDArray[np.uint8]:
        """Return square `index`; `InputError` if its file has changed."""
        place = int(self.places[index])
        try:
            return self._read(place)
        except DecodeError as error:
            raise InputError(
                f"{self.keys[place]!r} could be read when the run began, "
                f"but now: {error}"
            ) from error

    @abstractmethod
    def _read(self, place: int) -> npt.NDArray[np.uint8]: ...

    def _require_size(self, place: int, pixels: npt.NDArray[np.uint8]) -> None:
        """Raise `DecodeError` where image and mask may not be of one size any more."""
        if self.sizes is None:
            return
        (h, w), (old_h, old_w) = pixels.shape[:2], self.sizes[place].tolist()
        if (h, w) != (old_h, old_w):
            raise DecodeError(f"{w} x {h} pixels, where there were {old_w} x {old_h}")


class Files(_Reread[Encoded]):
    """Images that are decoded at each access, [N, S, S, 3]."""

    def _read(self, place: int) -> npt.NDArray[np.uint8]:
        square = self.square
        image = decode(self.source[place], at_least=square.at_least)
        self._require_size(place, image)
        return square.image(image)


class MaskFiles(_Reread[ClassMaps]):
    """Masks that are read at each access, [N, S, S]."""

    def _read(self, place: int) -> npt.NDArray[np.uint8]:
        mask = self.source[place]
        self._require_size(place, mask)
        return self.square.mask(mask)


Labels = npt.NDArray[np.int32] | npt.NDArray[np.float64] | npt.NDArray[np.uint8]
Images = npt.NDArray[np.uint8] | Mapped | Files
Masks = npt.NDArray[np.uint8] | Mapped | MaskFiles


@dataclass(frozen=True, eq=False)
class Examples:
    """The examples of a split that can be read.

    Attributes:
        images: uint8 [N, S, S, 3] in 0..255, or what is indexed like it.
        labels: As in `Listing`; masks are uint8 [N, S, S], or what is indexed like it.
        weights: float32 [N].
        bad: Of each that cannot be read, its place in the listing, and the reason.
    """

    images: Images
    labels: Labels | Masks
    weights: npt.NDArray[np.float32]
    bad: dict[int, str]


def read_all(
    listing: Listing,
    square: Square,
    *,
    keep: bool,
    workers: int | None = None,
    cache: Cache | None = None,
) -> Examples:
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
        return _examples(listing, stored.images, stored.masks, stored.bad)
    n, size, labels = len(listing.keys), square.preprocess.size, listing.labels
    masks = None if isinstance(labels, np.ndarray) else labels
    if not keep:
        return _read_again(listing, square, workers)
    images = np.empty((n, size, size, 3), np.uint8)
    maps = None if masks is None else np.empty((n, size, size), np.uint8)

    def put(
        i: int, image: npt.NDArray[np.uint8], mask: npt.NDArray[np.uint8] | None
    ) -> None:
        images[i] = image
        if maps is not None and mask is not None:
            maps[i] = mask

    bad = _scan(listing, square, put, workers)
    kept = _good(n, bad) if bad else slice(None)  # a slice copies nothing
    return _examples(listing, images[kept], None if maps is None else maps[kept], bad)


def _read_again(listing: Listing, square: Square, workers: int | None) -> Examples:
    """Return examples that are made at each access."""
    n, labels = len(listing.keys), listing.labels
    if isinstance(labels, np.ndarray):
        bad = _scan(listing, square, None, workers)
        files = Files(listing.images, listing.keys, _good(n, bad), square)
        return _examples(listing, files, None, bad)
    sizes = np.zeros((n, 2), np.int32)
    bad = _scan(listing, square, None, workers, sizes)
    good = _good(n, bad)
    files = Files(listing.images, listing.keys, good, square, sizes)
    maps = MaskFiles(labels, listing.keys, good, square, sizes)
    return _examples(listing, files, maps, bad)


def _good(n: int, bad: Iterable[int]) -> npt.NDArray[np.int64]:
    return np.setdiff1d(np.arange(n), list(bad))


def _examples(
    listing: Listing, images: Images, masks: Masks | None, bad: dict[int, str]
) -> Examples:
    good, labels = _good(len(listing.keys), bad), listing.labels
    if isinstance(labels, np.ndarray):
        labels = labels[good]
    else:
        assert masks is not None
        labels = masks
    weights = listing.weights
    weights = np.ones(len(good), np.float32) if weights is None else weights[good]
    return Examples(images, labels, weights, bad)


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
    n, labels = len(listing.keys), listing.labels
    masks = None if isinstance(labels, np.ndarray) else labels

    def check(i: int) -> None:
        image = decode(listing.images[i], at_least=square.at_least)
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
