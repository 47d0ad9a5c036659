"""The same picture twice: to the pixel, or in another size or compression."""

from collections.abc import Iterable, Iterator, Sequence
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
    """Return the groups of indices of images whose pixels are identical."""
    groups: dict[bytes, list[int]] = {}
    for index, one in enumerate(seen):
        if not one.reason:
            groups.setdefault(one.content, []).append(index)
    return [group for group in groups.values() if len(group) > 1]


def near(seen: Sequence[Seen]) -> list[list[int]]:
    """Return the groups of indices of images that look the same and are not identical.

    Each image of a group looks like another one of it. Of identical images the first
    represents all, and one image represents all of the same hash when these are
    compared with others. Images of one colour are left out.
    """
    by_hash: dict[int, list[int]] = {}
    contents: set[bytes] = set()
    for index, one in enumerate(seen):
        if one.reason or one.content in contents or is_flat(one):
            continue
        contents.add(one.content)
        by_hash.setdefault(one.waves, []).append(index)
    pairs: list[tuple[int, int]] = []
    for indices in by_hash.values():
        pairs += _walk(seen, np.array(indices))
    hashes = np.array(list(by_hash), np.uint64)
    first_of = np.array([indices[0] for indices in by_hash.values()], int)
    for bucket in _buckets(hashes):
        pairs += _walk(seen, first_of[_close(hashes, bucket)])
    return _joined(pairs)


def is_flat(one: Seen) -> bool:
    """Return whether an image is of one colour, or nearly."""
    return float(_thumbnail(one).std()) < FLAT_LEVELS


def _buckets(hashes: npt.NDArray[np.uint64]) -> Iterator[npt.NDArray[np.intp]]:
    """Yield indices of hashes that may be close, most more than once.

    Of two hashes within `NEAR_BITS` bits, at least one of `NEAR_BITS + 1` bands of bits
    is the same: only those with a common band have to be compared.
    """
    edges = np.linspace(0, 64, NEAR_BITS + 2).astype(int)
    for low, high in pairwise(edges):
        band = (hashes >> np.uint64(low)) & np.uint64(2 ** (high - low) - 1)
        order = np.argsort(band, kind="stable")
        starts = np.flatnonzero(np.diff(band[order])) + 1
        yield from (part for part in np.split(order, starts) if len(part) > 1)


def _close(
    hashes: npt.NDArray[np.uint64], bucket: npt.NDArray[np.intp]
) -> npt.NDArray[np.intp]:
    """Return those of a bucket within `NEAR_BITS` bits of another one of it."""
    found = [np.zeros(0, np.intp)]
    for start in range(0, len(bucket), _ROWS):
        rows = bucket[start : start + _ROWS]
        apart = np.bitwise_count(hashes[rows, None] ^ hashes[None, bucket])
        found.append(rows[(apart <= NEAR_BITS).sum(1) > 1])
    return np.concatenate(found)


def _walk(
    seen: Sequence[Seen], indices: npt.NDArray[np.int_]
) -> Iterator[tuple[int, int]]:
    """Yield pairs of images that look the same, enough to connect all that do.

    Each image is compared with those that no other was found to look like, so a
    thousand copies of a picture take a thousand comparisons, not half a million.
    """
    if len(indices) < 2:
        return
    hashes = np.array([seen[index].waves for index in indices], np.uint64)
    shown = np.stack([_thumbnail(seen[index]) for index in indices])
    left = np.arange(len(indices))
    while len(left):
        reached, left = [int(left[0])], left[1:]
        while reached and len(left):
            one = reached.pop()
            found = np.bitwise_count(hashes[left] ^ hashes[one]) <= NEAR_BITS
            apart = np.abs(shown[left[found]] - shown[one]).mean(1)
            found[found] = apart <= NEAR_LEVELS
            for other in left[found].tolist():
                reached.append(other)
                yield int(indices[one]), int(indices[other])
            left = left[~found]


def _joined(pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Return the groups that pairs connect, sorted, by their first members."""
    group_of: dict[int, list[int]] = {}
    for pair in pairs:
        one, other = (group_of.setdefault(index, [index]) for index in pair)
        if one is other:
            continue
        small, large = sorted((one, other), key=len)
        large += small
        group_of.update(dict.fromkeys(small, large))
    return sorted(sorted(g) for g in {id(g): g for g in group_of.values()}.values())


def _thumbnail(one: Seen) -> npt.NDArray[np.float32]:
    return np.frombuffer(one.thumbnail, np.uint8).astype(np.float32)
