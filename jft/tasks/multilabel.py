"""Any number of labels per image."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from jft.tasks.losses import mean_over, sigmoid_loss
from jft.tasks.options import ClassTask
from jft.tasks.ranking import average_precision
from jft.tasks.task import averages, common_sums, per_class, ratio
from jft.types import Metrics

_OWN = ("known", "right", "hits", "false_alarms", "misses")


@dataclass(frozen=True)
class MultiLabel(ClassTask):
    """Any number of labels per image, each by a sigmoid.

    Labels are [B, K] int32: 1 present, 0 absent, -1 unknown and ignored. Label
    smoothing moves each target towards 1/2. `class_weights` weight a label where it is
    present, as torch's `pos_weight`.
    """

    name: ClassVar[str] = "multilabel"
    score: ClassVar[str] = "mAP"
    outputs: ClassVar[str] = "labels"

    @classmethod
    def metrics(cls, outputs: int) -> tuple[str, ...]:
        """Return the names of the numbers that `summarise` returns of rows."""
        del outputs
        return ("loss", "mAP", "accuracy", "f1")

    def target(self, label: jax.Array, outputs: int) -> jax.Array:
        """Return the probabilities to learn [B, K] float32, NaN where unknown.

        A blend with an unknown label is unknown too.
        """
        smooth = self.label_smoothing
        certain = label.astype(jnp.float32) * (1 - smooth) + smooth / 2
        return jnp.where(label < 0, jnp.nan, certain)

    def loss(self, logits: jax.Array, target: jax.Array) -> jax.Array:
        """Return the mean loss of the known labels [B]; 0 where none is known."""
        known = ~jnp.isnan(target)
        truth = jnp.where(known, target, 0.0)
        each = sigmoid_loss(logits, truth, self.class_weights, self.gamma)
        return mean_over(each, known, axis=1)

    def sums(self, logits: jax.Array, label: jax.Array, weight: jax.Array) -> Metrics:
        """Return the sums of one batch, scalars.

        Returns:
            Those of `common_sums`; weights over labels, of which those above 1/2 are
            called there: `known`, `right`, `hits`, `false_alarms` and `misses`.
        """
        known = label >= 0
        loss = self.loss(logits, jnp.where(known, label.astype(jnp.float32), jnp.nan))
        # Logits that are not finite are never right.
        called, finite = logits > 0, jnp.isfinite(logits)
        there = label == 1

        def count(labels: jax.Array) -> jax.Array:
            return jnp.sum(jnp.where(labels & known, weight[:, None], 0.0))

        return {
            **common_sums(loss, weight),
            "known": count(known),
            "right": count((called == there) & finite),
            "hits": count(called & there & finite),
            "false_alarms": count(called & ~there),
            "misses": count(there & ~(called & finite)),
        }

    def rows(self, logits: jax.Array, label: jax.Array) -> dict[str, jax.Array]:
        """Return what average precision ranks: `logits` and `label` [B, K]."""
        return {"logits": logits, "label": label}

    def summarise(
        self,
        total: Mapping[str, Any],
        rows: Mapping[str, npt.NDArray[Any]] | None = None,
    ) -> dict[str, Any]:
        """Return `n`, `loss`, `accuracy`, `f1` and, of rows, `mAP`, `trivial`, `AP`.

        `accuracy` is the fraction of correct labels, `f1` the micro average over all
        labels. `AP` is the average precision by label, `mAP` its mean over the labels
        that are present at least once, and 0 if there is none. `trivial` is the `mAP`
        of equal scores for all images: the mean fraction of images with the label.
        `precision`, `recall`, `F1` and `support` are those of each label, of which
        probabilities above 1/2 are positive.
        """
        hits = total["hits"]
        called = 2 * hits + total["false_alarms"] + total["misses"]
        record = averages(total, _OWN)
        record["accuracy"] = total["right"] / max(total["known"], 1.0)
        record["f1"] = 2 * hits / called if called else 0.0
        return record if rows is None else record | self._ranked(rows)

    def _ranked(self, rows: Mapping[str, npt.NDArray[Any]]) -> dict[str, Any]:
        found: list[float] = []
        constant: list[float] = []
        for score, label in zip(rows["logits"].T, rows["label"].T, strict=True):
            known = label >= 0
            weight = rows["weight"][known]
            positive = label[known] == 1
            found.append(average_precision(score[known], positive, weight))
            equal = np.zeros_like(score[known])
            constant.append(average_precision(equal, positive, weight))
        values = np.array(found)
        occurs = (rows["label"] == 1).any(axis=0)
        means = {
            name: float(np.array(each)[occurs].mean()) if occurs.any() else 0.0
            for name, each in (("mAP", found), ("trivial", constant))
        }
        record = means | per_class("AP", values, self.class_names, occurs)
        for metric, each in _by_label(rows).items():
            record |= per_class(metric, each, self.class_names, occurs)
        return record

    def predict(self, logits: jax.Array) -> jax.Array:
        """Return the probability of each label [B, K]."""
        return jax.nn.sigmoid(logits)


def _by_label(
    rows: Mapping[str, npt.NDArray[Any]],
) -> dict[str, npt.NDArray[np.float64]]:
    """Return precision, recall, F1 and support of each label [K], 0 where undefined."""
    weight = rows["weight"].astype(np.float64)[:, None]
    there, absent = rows["label"] == 1, rows["label"] == 0
    called = rows["logits"] > 0
    # Logits that are not finite are never right.
    hits = weight * (called & there & np.isfinite(rows["logits"]))
    right, alarms = hits.sum(axis=0), (weight * (called & absent)).sum(axis=0)
    support = (weight * there).sum(axis=0)
    return {
        "precision": ratio(right, right + alarms),
        "recall": ratio(right, support),
        "F1": ratio(2 * right, right + alarms + support),
        "support": support,
    }
