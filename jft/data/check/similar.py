"""The same picture twice: to the pixel, or but for another size or compression."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from jft.data.check.look import Seen

# On neu_cls, CIFAR-10 and crackforest these find 89 % to 99 % of the copies that are
# compressed again at quality 30 or halved, and no pair else (benchmarks/duplicates.py).
NEAR_BITS = 4
NEAR_LEVELS = 5.0
FLAT_LEVELS = 2.0  # standard deviation below which an image shows nothing to compare
_ROWS = 512


def same(seen: Sequence[Seen]) -> list[list[int]]:
    """Return the groups of places of images whose pixels are identical."""
    groups: dict[bytes, list[int]] = {}
    for place, one in enumerate(seen):
        if not one.reason:
            groups.setdefault(one.content, []).append(place)
    return [group for group in groups.values() if len(group) > 1]


def near(seen: Sequence[Seen]) -> list[tuple[int, int]]:
    """Return pairs of places of images that look the same and are not identical.

    Of identical images the first stands for all, and so does one for all of the same
    hash when these are compared with others. Images of one colour are left out.
    """
    by_hash: dict[int, list[int]] = {}
    contents: set[bytes] = set()
    for place, one in enumerate(seen):
        if one.reason or one.content in contents or is_flat(one):
            continue
        contents.add(one.content)
        by_hash.setdefault(one.waves, []).append(place)
    pairs = [pair for group in by_hash.values() for pair in pairwise(group)]
    hashes = np.array(list(by_hash), np.uint64)
    stands_for = [group[0] for group in by_hash.values()]
    found = {pair for bucket in _buckets(hashes) for pair in _close(hashes, bucket)}
    pairs += [(stands_for[a], stands_for[b]) for a, b in found]
    ordered = sorted((min(pair), max(pair)) for pair in pairs)
    return [pair for pair in ordered if _looks_same(seen[pair[0]], seen[pair[1]])]


def is_flat(one: Seen) -> bool:
    """Tell whether an image is of one colour, or nearly."""
    return float(_thumbnail(one).std()) < FLAT_LEVELS


def _buckets(hashes: npt.NDArray[np.uint64]) -> Iterator[npt.NDArray[np.intp]]:
    """Yield places of hashes that may be close, most places more than once.

    Of two hashes within `NEAR_BITS` bits, at least one of `NEAR_BITS + 1` bands of bits
    is the same: only those which share one have to be compared.
    """
    edges = np.linspace(0, 64, NEAR_BITS + 2).astype(int)
    for low, high in pairwise(edges):
        band = (hashes >> np.uint64(low)) & np.uint64(2 ** (high - low) - 1)
        order = np.argsort(band, kind="stable")
        starts = np.flatnonzero(np.diff(band[order])) + 1
        yield from (part for part in np.split(order, starts) if len(part) > 1)


def _close(
    hashes: npt.NDArray[np.uint64], bucket: npt.NDArray[np.intp]
) -> Iterator[tuple[int, int]]:
    """Yield the pairs (a < b) within a bucket that differ in at most `NEAR_BITS`."""
    for start in range(0, len(bucket), _ROWS):
        rows = bucket[start : start + _ROWS]
        apart = np.bitwise_count(hashes[rows, None] ^ hashes[None, bucket])
        for i, j in np.argwhere(apart <= NEAR_BITS):
            a, b = int(rows[i]), int(bucket[j])
            if a < b:
                yield a, b


def _looks_same(one: Seen, other: Seen) -> bool:
    return bool(np.abs(_thumbnail(one) - _thumbnail(other)).mean() <= NEAR_LEVELS)


def _thumbnail(one: Seen) -> npt.NDArray[np.float64]:
    return np.frombuffer(one.thumbnail, np.uint8).astype(np.float64)
