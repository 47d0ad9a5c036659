"""Claim: `jft.data check` finds copies of images, and reports no other pairs.

For each data set: the fraction of copies that are found next to their originals, where
a copy is compressed again at JPEG quality 30, or halved in size; the pairs of original
images that look the same to jft, and to dHash's 64 bits within the same distance (such
pairs may be true copies, so the first are named); and the memory per example in bytes.

    python benchmarks/duplicates.py folder:PATH masks:PATH ...
"""

import argparse
import io
import tracemalloc
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from common import save
from PIL import Image

from jft.data.check.look import Seen, look, look_at_all
from jft.data.check.similar import NEAR_BITS, near, same
from jft.data.decode import decode
from jft.data.listing import Dataset, Listing
from jft.data.sources import list_data

COPIES = {"quality 30": 1, "half size": 2}
"""The divisor of the sides, for each kind of copy."""


def copied(pixels: np.ndarray, divisor: int) -> bytes:
    """Return an image as a smaller JPEG file."""
    image = Image.fromarray(pixels)
    if divisor > 1:
        image = image.resize((image.width // divisor, image.height // divisor))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=30 if divisor == 1 else 90)
    return file.getvalue()


def found(listing: Listing, count: int) -> dict[str, float]:
    """Return the fraction of copies found, for `count` images spread over a split.

    Each copy is compared with its original only.
    """
    indices = np.linspace(0, len(listing.keys) - 1, count).astype(int)
    hits = dict.fromkeys(COPIES, 0)
    for index in indices:
        original = look(listing.images[index])
        pixels = decode(listing.images[index])
        for kind, divisor in COPIES.items():
            pair = [original, look(copied(pixels, divisor))]
            hits[kind] += bool(same(pair) or near(pair))
    return {kind: hits[kind] / len(indices) for kind in COPIES}


def dhash_pairs(listing: Listing, seen: Sequence[Seen]) -> int:
    """Count the pairs of different images whose dHash is within `NEAR_BITS` bits."""
    hashes, contents = list[int](), set[bytes]()
    for i, one in enumerate(seen):
        if one.content in contents:
            continue
        contents.add(one.content)
        grey = Image.fromarray(decode(listing.images[i])).convert("L")
        small = np.asarray(grey.resize((9, 8), Image.Resampling.BOX), np.int16)
        bits = np.packbits(small[:, 1:] > small[:, :-1])
        hashes.append(int.from_bytes(bits.tobytes(), "big"))
    values = np.array(hashes, np.uint64)
    apart = (np.bitwise_count(values ^ one) for one in values)
    close = sum(int((row <= NEAR_BITS).sum()) for row in apart)
    return (close - len(values)) // 2


def measure(dataset: Dataset, count: int) -> dict[str, Any]:
    """Return what is found in the training split of a data set."""
    listing = dataset.splits["train"]
    look(listing.images[0])  # imports and caches are not counted
    tracemalloc.start()
    seen = look_at_all(listing)
    remembered, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    pairs = [pair for group in near(seen) for pair in combinations(group, 2)]
    return {
        "pictures": len(seen),
        "copies found": found(listing, min(count, len(seen))),
        "identical groups": len(same(seen)),
        "pairs that look the same": len(pairs),
        "such as": [[listing.keys[i] for i in pair] for pair in pairs[:5]],
        "pairs to dHash": dhash_pairs(listing, seen),
        "bytes an example": round(remembered / len(seen)),
    }


def main() -> None:
    """Measure and write `results/duplicates.json`."""
    parser = argparse.ArgumentParser(prog="python benchmarks/duplicates.py")
    parser.add_argument("sources", nargs="+", help="as --data takes them")
    parser.add_argument("--copies", type=int, default=200, help="of each data set")
    flags = parser.parse_args()
    rows: dict[str, Any] = {}
    for source in flags.sources:
        dataset = list_data(source)
        rows[dataset.name] = measure(dataset, flags.copies)
        print(
            dataset.name,
            *(f"  {k}: {v}" for k, v in rows[dataset.name].items()),
            sep="\n",
        )
    save("duplicates", rows=rows)


if __name__ == "__main__":
    main()
