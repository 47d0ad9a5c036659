"""What is learned: the loss per example and the metrics that belong to it."""

from dataclasses import dataclass

import jax
import optax

from jft import metrics
from jft.types import Metrics


@dataclass(frozen=True)
class Classification:
    """One class per image, by softmax cross-entropy.

    Attributes:
        label_smoothing: Share of the target spread evenly over all classes, in [0, 1)
            (Szegedy et al. 2016, https://arxiv.org/abs/1512.00567).
    """

    label_smoothing: float = 0.0

    def loss(self, logits: jax.Array, label: jax.Array) -> jax.Array:
        """Return the training loss per example [B], for `logits` [B, K], label [B]."""
        classes = logits.shape[-1]
        target = jax.nn.one_hot(label, classes, dtype=logits.dtype)
        target = optax.smooth_labels(target, self.label_smoothing)
        return optax.softmax_cross_entropy(logits, target)

    def sums(self, logits: jax.Array, label: jax.Array, weight: jax.Array) -> Metrics:
        """Return metric sums of one batch, the loss without smoothing among them."""
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, label)
        return metrics.classification_sums(loss, logits, label, weight)
