"""Metrics of a ranking by score: average precision and the area under the ROC curve."""

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.float64]


def average_precision(
    score: npt.NDArray[np.floating],
    positive: npt.NDArray[np.bool_],
    weight: npt.NDArray[np.floating],
) -> float:
    """Return `sum_n (R_n - R_(n-1)) P_n` over the distinct scores, from the highest.

    R and P are recall and precision if all with at least that score are called
    positive, so that the order of equal scores does not matter. The definition, and
    to rounding the numbers, of scikit-learn's `average_precision_score`.

    Args:
        score: [N], the higher the more likely positive.
        positive: [N].
        weight: [N], above 0: how often each counts.

    Returns:
        In [0, 1]; 0 without a positive, or if a score is NaN, which has no rank.
    """
    if not positive.any() or np.isnan(score).any():
        return 0.0
    hits, called = _cumulative(score, positive, weight)
    precision, recall = hits / called, hits / hits[-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def roc_auc(
    score: npt.NDArray[np.floating],
    positive: npt.NDArray[np.bool_],
    weight: npt.NDArray[np.floating],
) -> float:
    """Return the probability that a positive has a higher score than a negative.

    Equal scores count one half. The numbers, to rounding, of scikit-learn's
    `roc_auc_score`.

    Args:
        score: [N], the higher the more likely positive.
        positive: [N], some true and some false.
        weight: [N], above 0: how often each counts.

    Returns:
        In [0, 1]; 0 if a score is NaN, which has no rank.
    """
    if np.isnan(score).any():
        return 0.0
    hits, called = _cumulative(score, positive, weight)
    alarms = called - hits
    heights = hits + np.append(0.0, hits[:-1])
    area = np.sum(np.diff(alarms, prepend=0.0) * heights) / 2
    return float(area / (hits[-1] * alarms[-1]))


def _cumulative(
    score: npt.NDArray[np.floating],
    positive: npt.NDArray[np.bool_],
    weight: npt.NDArray[np.floating],
) -> tuple[Counts, Counts]:
    """Return the weights of positives, and of all, down to each distinct score."""
    order = np.argsort(-score, kind="stable")
    score, counts = score[order], weight[order].astype(np.float64)
    ends = np.append(np.flatnonzero(score[1:] != score[:-1]), len(score) - 1)
    return np.cumsum(counts * positive[order])[ends], np.cumsum(counts)[ends]
