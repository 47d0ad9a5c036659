"""How the labels of a data set are spread, for each task."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from jft.data.check.look import Seen
from jft.data.listing import Dataset, Listing, Split
from jft.data.masks.values import background
from jft.types import VOID

OUTLIER = 6.0  # robust standard deviations from the median


def spread(dataset: Dataset, seen: Mapping[Split, Sequence[Seen]]) -> dict[str, Any]:
    """Return the report's part on the labels of the examples that can be read.

    Returns:
        `counts`: for each split and class, examples (multilabel: that have it;
        segmentation: that show it); and what else the task has.
    """
    names = dataset.class_names
    readable = {
        split: np.array([i for i, one in enumerate(seen[split]) if not one.reason], int)
        for split in dataset.splits
    }
    if dataset.task == "segmentation":
        masks = {
            split: [one.mask for one in seen[split] if one.mask is not None]
            for split in dataset.splits
        }
        return _of_masks(names, masks)
    labels = {
        split: known_labels(listing)[readable[split]]
        for split, listing in dataset.splits.items()
    }
    if dataset.task == "classification":
        return {
            "counts": {
                split: _named(names, np.bincount(some, minlength=len(names)))
                for split, some in labels.items()
            }
        }
    return (_of_sets if dataset.task == "multilabel" else _of_numbers)(names, labels)


def known_labels(listing: Listing) -> npt.NDArray[Any]:
    """Return the labels [N] or [N, K] of a listing without masks."""
    assert listing.class_labels is not None
    return listing.class_labels


def _named(names: Sequence[str], counts: npt.NDArray[Any]) -> dict[str, Any]:
    return dict(zip(names, counts.tolist(), strict=True))


def _of_sets(
    names: Sequence[str], labels: Mapping[str, npt.NDArray[Any]]
) -> dict[str, Any]:
    """Count labels, known and unknown, and the two that are most often together."""
    every = np.concatenate(list(labels.values()))
    has = every == 1
    # In floats, for which NumPy has BLAS; exact to 16 million images.
    together = (has.T.astype(np.float32) @ has.astype(np.float32)).astype(np.int64)
    np.fill_diagonal(together, 0)
    a, b = (int(i) for i in np.unravel_index(together.argmax(), together.shape))
    return {
        "counts": {
            split: _named(names, (some == 1).sum(0)) for split, some in labels.items()
        },
        "unknown": int((every == -1).sum()),
        "labels_per_image": float(has.sum(1).mean()) if len(has) else 0.0,
        "images_without_label": int((~has.any(1)).sum()),
        "most_together": {
            "labels": [names[a], names[b]],
            "images": int(together[a, b]),
            "of_the_rarer": float(
                together[a, b] / max(1, min(has[:, a].sum(), has[:, b].sum()))
            ),
        },
    }


def _of_numbers(
    names: Sequence[str], labels: Mapping[str, npt.NDArray[Any]]
) -> dict[str, Any]:
    """Give the range of each number, and how many are far from all others."""
    return {
        "counts": {
            split: _named(names, (~np.isnan(some)).sum(0))
            for split, some in labels.items()
        },
        "numbers": {
            split: {name: _range(some[:, k]) for k, name in enumerate(names)}
            for split, some in labels.items()
        },
    }


def _range(values: npt.NDArray[Any]) -> dict[str, Any]:
    known = values[~np.isnan(values)].astype(np.float64)
    if not len(known):
        return {"unknown": len(values)}
    median = float(np.median(known))
    # 1.4826 makes the median deviation the standard deviation of a normal spread.
    scale = 1.4826 * float(np.median(np.abs(known - median)))
    far = np.abs(known - median) > OUTLIER * scale if scale else np.zeros(len(known))
    return {
        "min": float(known.min()),
        "median": median,
        "max": float(known.max()),
        "mean": float(known.mean()),
        "std": float(known.std()),
        "unknown": len(values) - len(known),
        "outliers": int(far.sum()),
    }


def _of_masks(
    names: Sequence[str], masks: Mapping[str, Sequence[npt.NDArray[np.int64]]]
) -> dict[str, Any]:
    """Count pixels and images of each class, void, and images of one class alone."""
    report: dict[str, Any] = {"counts": {}, "pixels": {}, "void_fraction": {}}
    report |= {"without_foreground": {}, "all_void": {}}
    for split, some in masks.items():
        table = np.array(some, np.int64).reshape(-1, VOID + 1)
        shown = table[:, : len(names)]
        report["counts"][split] = _named(names, (shown > 0).sum(0))
        report["pixels"][split] = _named(names, shown.sum(0))
        void = table[:, VOID].sum() / max(1, table.sum())
        report["void_fraction"][split] = float(void)
        ground = shown[:, background(names)]
        none = (shown.sum(1) == ground) & (ground > 0)
        report["without_foreground"][split] = int(none.sum())
        report["all_void"][split] = int((shown.sum(1) == 0).sum())
    return report
