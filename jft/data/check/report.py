"""What was found in a data set, as a plain dictionary that goes into JSON."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jft.data.check.labels import known_labels, spread
from jft.data.check.look import Seen
from jft.data.check.similar import is_flat, near, same
from jft.data.listing import Dataset, Split


def describe(
    data: str, dataset: Dataset, seen: Mapping[Split, Sequence[Seen]]
) -> dict[str, Any]:
    """Put together what was found; no judgement yet.

    Args:
        data: The value of `--data`.
        dataset: What was listed, in two splits.
        seen: What `look_at_all` remembers of each split.

    Returns:
        The report: the keys of a run's `data_report.json` (found, used, rejected,
        skipped) and more, without any array.
    """
    good = [one for some in seen.values() for one in some if not one.reason]
    rejected = [
        {"path": dataset.splits[split].keys[i], "reason": one.reason, "split": split}
        for split, some in seen.items()
        for i, one in enumerate(some)
        if one.reason
    ]
    return {
        "data": data,
        "name": dataset.name,
        "task": dataset.task,
        "classes": list(dataset.class_names),
        "fingerprint": dataset.fingerprint,
        "found": len(good) + len(rejected),
        "used": len(good),
        "rejected": rejected,
        "skipped": dataset.skipped,
        "skipped_kinds": {k: n for k, n in dataset.skipped_kinds.items() if n},
        "about_files": list(dataset.notes),
        "splits": {
            split: sum(not one.reason for one in some) for split, some in seen.items()
        },
        "sizes": _sizes(good),
        "formats": dict(Counter(one.format for one in good).most_common()),
        "pixels": dict(Counter(one.pixels for one in good).most_common()),
        "one_colour": sum(is_flat(one) for one in good),
        "turned": _keys(dataset, seen, lambda one: one.turned),
        "pages": {
            what: _keys(dataset, seen, lambda one, what=what: what in one.pages)
            for what in ("image", "mask")
        },
        "weights": _weights(dataset, seen),
        "duplicates": _duplicates(dataset, seen),
        "labels": spread(dataset, seen),
    }


def _keys(
    dataset: Dataset,
    seen: Mapping[Split, Sequence[Seen]],
    wanted: Callable[[Seen], bool],
) -> list[str]:
    """Return the keys of the examples of which something is true."""
    return [
        dataset.splits[split].keys[i]
        for split, some in seen.items()
        for i, one in enumerate(some)
        if wanted(one)
    ]


def _weights(
    dataset: Dataset, seen: Mapping[Split, Sequence[Seen]]
) -> dict[str, dict[str, float]]:
    """Return for each split with weights their sum, and how many examples have none."""
    found: dict[str, dict[str, float]] = {}
    for split, listing in dataset.splits.items():
        if listing.weights is not None:
            good = listing.weights[[not one.reason for one in seen[split]]]
            found[split] = {"sum": float(good.sum()), "zero": int((good == 0).sum())}
    return found


def _sizes(seen: Sequence[Seen]) -> dict[str, Any]:
    """Return minimum, median and maximum of the sides, and of longer by shorter."""
    sides = np.array([(one.width, one.height) for one in seen], np.float64)
    if not len(sides):
        return {}
    columns = {
        "width": sides[:, 0],
        "height": sides[:, 1],
        "shorter": sides.min(1),
        "aspect": sides.max(1) / sides.min(1),
    }
    return {
        name: [float(f(some)) for f in (np.min, np.median, np.max)]
        for name, some in columns.items()
    }


def _duplicates(
    dataset: Dataset, seen: Mapping[Split, Sequence[Seen]]
) -> dict[str, list[dict[str, Any]]]:
    """Return groups of identical images, and of those that look the same."""
    indices: list[tuple[Split, int]] = [
        (split, i) for split, some in seen.items() for i in range(len(some))
    ]
    every = [one for some in seen.values() for one in some]
    groups = {"identical": same(every), "near": near(every)}
    return {
        kind: [_group(dataset, [indices[i] for i in group]) for group in some]
        for kind, some in groups.items()
    }


def _group(dataset: Dataset, indices: Sequence[tuple[Split, int]]) -> dict[str, Any]:
    """Name the images of a group, and whether splits or labels differ within."""
    paths = [
        {"path": dataset.splits[split].keys[i], "split": split} for split, i in indices
    ]
    labels: set[str] = set()
    if dataset.task != "segmentation":
        labels = {
            str(known_labels(dataset.splits[split])[i].tolist()) for split, i in indices
        }
    return {
        "images": paths,
        "across_splits": len({split for split, _ in indices}) > 1,
        "labels_differ": len(labels) > 1,
    }
