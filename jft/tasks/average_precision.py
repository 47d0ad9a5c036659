"""The area under the precision-recall curve, as steps: average precision."""

import numpy as np
import numpy.typing as npt


def average_precision(
    score: npt.NDArray[np.floating],
    positive: npt.NDArray[np.bool_],
    weight: npt.NDArray[np.floating],
) -> float:
    """Return `sum_n (R_n - R_(n-1)) P_n` over the distinct scores, from the highest.

    R and P are recall and precision if all with at least that score are called
    positive, so that the order of equal scores is of no account. The definition, and
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
    order = np.argsort(-score, kind="stable")
    score, counts = score[order], weight[order].astype(np.float64)
    ends = np.append(np.flatnonzero(score[1:] != score[:-1]), len(score) - 1)
    hits = np.cumsum(counts * positive[order])[ends]
    precision = hits / np.cumsum(counts)[ends]
    recall = hits / hits[-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))
