"""Class weights that compensate for unequal frequencies."""

from collections.abc import Iterable


def balanced_weights(counts: Iterable[float]) -> tuple[float, ...]:
    """Return N / (K n_c) for every class, as scikit-learn's "balanced".

    N is the number of examples (of pixels, for masks), n_c that of class c, and K the
    number of classes that occur; one that does not gets 0. Over the data the weights
    are 1 on average, so that the scale of the loss is unchanged. They have no upper
    limit, which would end that: look at them before training with extreme ones.

    >>> balanced_weights([6, 2, 0])
    (0.6666666666666666, 2.0, 0.0)
    """
    counts = list(counts)
    total, present = sum(counts), sum(n > 0 for n in counts)
    return tuple(float(total / (present * n)) if n else 0.0 for n in counts)


def positive_weights(
    positives: Iterable[float], negatives: Iterable[float]
) -> tuple[float, ...]:
    """Return negatives / positives for every label, torch's recommended `pos_weight`.

    Where a label is there then counts as much in the loss, over the data, as where it
    is not. A label that all or no images have gets 1. There is no upper limit.

    >>> positive_weights([1, 0, 4], [3, 4, 0])
    (3.0, 1.0, 1.0)
    """
    pairs = zip(positives, negatives, strict=True)
    return tuple(float(no / yes) if yes and no else 1.0 for yes, no in pairs)
