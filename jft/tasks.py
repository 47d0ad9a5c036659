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

    def target(self, label: jax.Array, classes: int) -> jax.Array:
        """Return the probabilities to learn [B, K] float32, for `label` [B]."""
        certain = jax.nn.one_hot(label, classes)
        return optax.smooth_labels(certain, self.label_smoothing)

    def loss(self, logits: jax.Array, target: jax.Array) -> jax.Array:
        """Return the training loss per example [B], for logits and target [B, K]."""
        return optax.softmax_cross_entropy(logits, target)

    def sums(self, logits: jax.Array, label: jax.Array, weight: jax.Array) -> Metrics:
        """Return metric sums of one batch, the loss without smoothing among them."""
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, label)
        return metrics.classification_sums(loss, logits, label, weight)
