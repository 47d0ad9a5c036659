"""One class per image."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax

from jft.tasks.losses import softmax_loss
from jft.tasks.options import ClassTask
from jft.tasks.ranking import roc_auc
from jft.tasks.task import averages, common_sums, per_class, ratio
from jft.types import Metrics

LISTED = 100  # more classes than this are not listed one by one
_OWN = ("class_n", "class_right")


@dataclass(frozen=True)
class Classification(ClassTask):
    """One class per image, by softmax. Labels are [B] int32 in [0, K)."""

    name: ClassVar[str] = "classification"
    score: ClassVar[str] = "accuracy"

    @classmethod
    def metrics(cls, outputs: int) -> tuple[str, ...]:
        """Return the names of the numbers that `summarise` returns of rows."""
        top = ("top5",) if outputs > 5 else ()
        area = ("roc_auc",) if outputs <= LISTED else ()
        return ("loss", "accuracy", "balanced_accuracy", *top, *area)

    def target(self, label: jax.Array, outputs: int) -> jax.Array:
        """Return the probabilities to learn [B, K] float32, for `label` [B]."""
        certain = jax.nn.one_hot(label, outputs)
        return optax.smooth_labels(certain, self.label_smoothing)

    def loss(self, logits: jax.Array, target: jax.Array) -> jax.Array:
        """Return the training loss per example [B], for logits and target [B, K]."""
        return softmax_loss(logits, target, self.class_weights, self.gamma)

    def sums(self, logits: jax.Array, label: jax.Array, weight: jax.Array) -> Metrics:
        """Return the sums of one batch; see `classification_sums`."""
        if self.loss_name == "cross-entropy" and self.class_weights is None:
            loss = optax.softmax_cross_entropy_with_integer_labels(logits, label)
        else:
            loss = self.loss(logits, jax.nn.one_hot(label, logits.shape[1]))
        return classification_sums(loss, logits, label, weight)

    def rows(self, logits: jax.Array, label: jax.Array) -> dict[str, jax.Array]:
        """Return `label`, `predicted` [B] int32, `probability` [B] and `logits` [B, K].

        `predicted` is K where the logits are not finite; `probability` is that of the
        predicted class. Beyond `LISTED` classes there are no logits, which would need
        much memory.
        """
        classes = logits.shape[1]
        finite = jnp.all(jnp.isfinite(logits), axis=1)
        best = jnp.argmax(logits, axis=1).astype(jnp.int32)
        rows = {
            "label": label,
            "predicted": jnp.where(finite, best, classes),
            "probability": jnp.max(jax.nn.softmax(logits), axis=1),
        }
        return rows | ({"logits": logits} if classes <= LISTED else {})

    def summarise(
        self,
        total: Mapping[str, Any],
        rows: Mapping[str, npt.NDArray[Any]] | None = None,
    ) -> dict[str, Any]:
        """Return `n`, `loss`, `accuracy`, `top5` beyond five classes, and others.

        `balanced_accuracy` is the mean recall of the classes that occur, as in
        scikit-learn. `trivial` is the accuracy of the most frequent class for every
        image. `recall` has a value for each class, up to `LISTED` named classes.

        Of rows: `roc_auc`, one class against the rest, the mean over the classes that
        some but not all images have; and `precision`, `F1` and `support` by class.
        """
        n = np.asarray(total["class_n"], np.float64)
        recall = ratio(np.asarray(total["class_right"], np.float64), n)
        record = averages(total, _OWN)
        record["balanced_accuracy"] = float(recall[n > 0].mean())
        record["trivial"] = float(n.max() / n.sum())
        each = {"recall": recall}
        if rows is not None:
            record |= mean_roc_auc(rows)
            confusion = self.confusion(rows, len(n))
            right, truth = np.diagonal(confusion), confusion.sum(axis=1)
            called = confusion[:, :-1].sum(axis=0)
            each = {
                "precision": ratio(right, called),
                "recall": recall,
                "F1": ratio(2 * right, truth + called),
                "support": truth,
            }
        names = self.class_names if len(n) <= LISTED else ()
        for metric, values in each.items():
            record |= per_class(metric, values, names, n > 0)
        return record

    @staticmethod
    def confusion(
        rows: Mapping[str, npt.NDArray[Any]], classes: int
    ) -> npt.NDArray[np.float64]:
        """Return the weights [K, K + 1] of images by their class and the predicted one.

        The last column has the images whose logits are not finite.
        """
        cells = rows["label"].astype(np.int64) * (classes + 1) + rows["predicted"]
        weight = rows["weight"].astype(np.float64)
        counts = np.zeros(classes * (classes + 1))
        np.add.at(counts, cells, weight)
        return counts.reshape(classes, classes + 1)

    def predict(self, logits: jax.Array) -> jax.Array:
        """Return the probabilities [B, K]."""
        return jax.nn.softmax(logits)


def classification_sums(
    loss: jax.Array, logits: jax.Array, label: jax.Array, weight: jax.Array
) -> Metrics:
    """Return the sums of one batch.

    Args:
        loss: Loss per example [B] float32.
        logits: [B, K] float32.
        label: [B] int32 in [0, K).
        weight: [B] float32, 0 on padding.

    Returns:
        Those of `common_sums`; `accuracy` and, beyond five classes, `top5`: weighted
        sums over examples; `class_n` and `class_right` [K]: the weights of each class,
        and of what is right of it. All are float32 except `n`.
    """
    at_label = jnp.take_along_axis(logits, label[:, None], axis=1)
    # Ties count as the earlier class, as argmax and torch's topk have them.
    earlier = jnp.arange(logits.shape[1])[None] < label[:, None]
    rank = jnp.sum((logits > at_label) | ((logits == at_label) & earlier), axis=1)
    finite = jnp.all(jnp.isfinite(logits), axis=1)
    right = jnp.where((rank < 1) & finite, weight, 0.0)
    member = jax.nn.one_hot(label, logits.shape[1])
    sums = {
        **common_sums(loss, weight),
        "accuracy": jnp.sum(right),
        "class_n": jnp.sum(member * weight[:, None], axis=0),
        "class_right": jnp.sum(member * right[:, None], axis=0),
    }
    if logits.shape[1] > 5:
        sums["top5"] = jnp.sum(jnp.where((rank < 5) & finite, weight, 0.0))
    return sums


def mean_roc_auc(rows: Mapping[str, npt.NDArray[Any]]) -> dict[str, float]:
    """Return `roc_auc` over the classes that some but not all examples have.

    The score of a class is its probability, in float64. {} without logits, or where all
    examples have one class.
    """
    if "logits" not in rows:
        return {}
    logits, label = rows["logits"].astype(np.float64), rows["label"]
    with np.errstate(invalid="ignore"):  # infinite logits have no probability: NaN
        power = np.exp(logits - logits.max(axis=1, keepdims=True))
    probability = power / power.sum(axis=1, keepdims=True)
    areas = [
        roc_auc(probability[:, k], label == k, rows["weight"])
        for k in np.unique(label)
        if not np.all(label == k)
    ]
    return {"roc_auc": float(np.mean(areas))} if areas else {}
