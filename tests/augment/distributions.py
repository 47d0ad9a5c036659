"""Compares samples of random draws with each other."""

import numpy as np


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Return the largest distance of two empirical distribution functions."""
    values = np.union1d(one, other)
    below = [
        np.searchsorted(np.sort(sample), values, side="right") / len(sample)
        for sample in (one, other)
    ]
    return float(np.max(np.abs(below[0] - below[1])))
