"""One class per pixel."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax

from jft.config import LOSSES
from jft.tasks.losses import dice_loss, mean_over, softmax_loss
from jft.tasks.options import ClassTask
from jft.tasks.task import averages, common_sums, per_class, ratio
from jft.types import Metrics

_OWN = ("confusion",)


@dataclass(frozen=True)
class Segmentation(ClassTask):
    """One class per pixel, by softmax; logits are [B, H, W, K].

    Labels are [B, H, W], the class index of each pixel. Pixels outside [0, K), such as
    `VOID`, are ignored by the loss and the metrics; an image of only such pixels has
    loss 0. The loss of an image is the mean over its other pixels, so each image has
    the same weight, whatever part of it is void.

    The loss cross-entropy+dice is the sum of both, as in nnU-Net (Isensee et al. 2021,
    https://arxiv.org/abs/1809.10486). dice has no label smoothing.
    """

    name: ClassVar[str] = "segmentation"
    score: ClassVar[str] = "mIoU"
    losses: ClassVar[tuple[str, ...]] = LOSSES["segmentation"]
    dense: ClassVar[bool] = True

    @classmethod
    def metrics(cls, outputs: int) -> tuple[str, ...]:
        """Return the names of the numbers that `summarise` returns."""
        del outputs
        return ("loss", "mIoU", "pixel_accuracy")

    def target(self, label: jax.Array, outputs: int) -> jax.Array:
        """Return the class indices [B, H, W] int32."""
        return label.astype(jnp.int32)

    def loss(self, logits: jax.Array, target: jax.Array) -> jax.Array:
        """Return the training loss [B], for class indices [B, H, W] int32."""
        return self._loss(logits, target, self.label_smoothing)

    def _loss(
        self, logits: jax.Array, target: jax.Array, smoothing: float
    ) -> jax.Array:
        member = jax.nn.one_hot(target, logits.shape[-1])  # all 0 on void
        if self.loss_name == "dice":
            return dice_loss(logits, member, self.class_weights)
        smooth = optax.smooth_labels(member, smoothing)
        each = softmax_loss(logits, smooth, self.class_weights, self.gamma)
        mean = mean_over(each, jnp.any(member > 0, axis=-1), axis=(1, 2))
        if self.loss_name == "cross-entropy+dice":
            mean += dice_loss(logits, member, self.class_weights)
        return mean

    def sums(self, logits: jax.Array, label: jax.Array, weight: jax.Array) -> Metrics:
        """Return the sums of one batch.

        Returns:
            Those of `common_sums`; `confusion` [K, K + 1] int32: pixels by their class
            and by the one predicted; the last column has those whose logits are not
            finite. It counts every pixel of an example with any weight once, as float32
            would lose count beyond 2^24.
        """
        loss = self._loss(logits, label.astype(jnp.int32), smoothing=0.0)
        real = jnp.where(weight[:, None, None] > 0, label.astype(jnp.int32), -1)
        return {
            **common_sums(loss, weight),
            "confusion": _confusion(logits, real),
        }

    def rows(self, logits: jax.Array, label: jax.Array) -> dict[str, jax.Array]:
        """Return {}: all metrics are computed from sums."""
        return {}

    def summarise(
        self,
        total: Mapping[str, Any],
        rows: Mapping[str, npt.NDArray[Any]] | None = None,
    ) -> dict[str, Any]:
        """Return `n` images, `loss`, `mIoU`, `pixel_accuracy`, `IoU` and `F1` by class.

        All are of the confusion of all images together. `mIoU` is the mean over the
        classes that occur in labels or predictions, 0 if no pixel counts; `F1` is the
        Dice coefficient of the predicted classes. `trivial` is the `mIoU` of the most
        frequent class at every pixel.
        """
        confusion = np.asarray(total["confusion"], np.float64)
        right, truth = np.diagonal(confusion), confusion.sum(axis=1)
        both = truth + confusion[:, :-1].sum(axis=0)
        occurs, iou = both > 0, ratio(right, both - right)
        record = averages(total, _OWN)
        record["mIoU"] = float(iou[occurs].mean()) if occurs.any() else 0.0
        pixels = max(truth.sum(), 1.0)
        record["trivial"] = float(truth.max() / pixels / max((truth > 0).sum(), 1))
        record["pixel_accuracy"] = float(right.sum() / pixels)
        record |= per_class("IoU", iou, self.class_names, occurs)
        return record | per_class(
            "F1", ratio(2 * right, both), self.class_names, occurs
        )

    def predict(self, logits: jax.Array) -> jax.Array:
        """Return the probabilities of each pixel's class [B, H, W, K]."""
        return jax.nn.softmax(logits)


def _confusion(logits: jax.Array, label: jax.Array) -> jax.Array:
    """Return [K, K + 1] int32 for logits [B, H, W, K] and int32 labels [B, H, W]."""
    k = logits.shape[-1]
    finite = jnp.all(jnp.isfinite(logits), axis=-1)
    predicted = jnp.where(finite, jnp.argmax(logits, axis=-1).astype(jnp.int32), k)
    cells = k * (k + 1)
    inside = (label >= 0) & (label < k)
    cell = jnp.where(inside, label * (k + 1) + predicted, cells)
    counts = jnp.zeros(cells, jnp.int32).at[cell.ravel()].add(1, mode="drop")
    return counts.reshape(k, k + 1)
