"""Numbers per image."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, get_args

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax

from jft.config import NumberLoss
from jft.errors import InputError
from jft.tasks.options import check_loss, check_names, check_numbers
from jft.tasks.task import averages, common_sums, per_class, ratio
from jft.types import Metrics

_OWN = ("known", "absolute", "squared")


@dataclass(frozen=True)
class Regression:
    """K numbers per image. Labels are [B, K] float32 in their own units, NaN unknown.

    The network learns them less `mean`, divided by `std`, so that outputs of any units
    count as much and learning rates mean the same.

    Attributes:
        class_names: What the K numbers are called.
        mean: Those of the training data.
        std: Standard deviations of the training data, above 0.
        loss_name: mse, mae, or huber (quadratic up to one standard deviation), each
            the mean over the known numbers of an image.
    """

    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    loss_name: NumberLoss = "mse"

    name: ClassVar[str] = "regression"
    score: ClassVar[str] = "r2"
    outputs: ClassVar[str] = "numbers"
    losses: ClassVar[tuple[str, ...]] = get_args(NumberLoss)
    dense: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Raise InputError if a setting is out of its range."""
        check_loss(self.name, self.loss_name, self.losses)
        check_names(self.class_names)
        check_numbers("mean", self.mean, self.class_names)
        check_numbers("std", self.std, self.class_names)
        if min(self.std, default=1) <= 0:
            raise InputError(f"std must be above 0, got {self.std!r}")

    def target(self, label: jax.Array, outputs: int) -> jax.Array:
        """Return the standardised numbers [B, K] float32, NaN where unknown.

        A blend with what is unknown is unknown too, as NaN has it.
        """
        return (label - self._row(self.mean)) / self._row(self.std)

    def loss(self, logits: jax.Array, target: jax.Array) -> jax.Array:
        """Return the mean loss of the known numbers [B]; 0 where none is known."""
        known = ~jnp.isnan(target)
        truth = jnp.where(known, target, 0.0)
        if self.loss_name == "mse":
            each = jnp.square(logits - truth)
        elif self.loss_name == "mae":
            each = jnp.abs(logits - truth)
        else:
            each = optax.huber_loss(logits, truth)
        count = jnp.sum(known.astype(jnp.float32), axis=1)
        return jnp.sum(jnp.where(known, each, 0.0), axis=1) / jnp.maximum(count, 1.0)

    def sums(self, logits: jax.Array, label: jax.Array, weight: jax.Array) -> Metrics:
        """Return the sums of one batch.

        Returns:
            Those of `common_sums`; and over the known numbers of each output [K]
            float32: `known`, their weight; `absolute` and `squared`, the errors in
            standard deviations.
        """
        target = self.target(label, len(self.mean))
        loss = self.loss(logits, target)
        counts = ~jnp.isnan(target) & (weight[:, None] > 0)
        truth = jnp.where(counts, target, 0.0)
        error = jnp.where(counts, logits - truth, 0.0)

        def add(values: jax.Array) -> jax.Array:
            return jnp.sum(values * weight[:, None], axis=0)

        return {
            **common_sums(loss, weight),
            "known": add(counts.astype(jnp.float32)),
            "absolute": add(jnp.abs(error)),
            "squared": add(jnp.square(error)),
        }

    def rows(self, logits: jax.Array, label: jax.Array) -> dict[str, jax.Array]:
        """Return `label` and `prediction` [B, K] float32, in the data's units."""
        return {"label": label, "prediction": self.predict(logits)}

    def summarise(
        self,
        total: Mapping[str, Any],
        rows: Mapping[str, npt.NDArray[Any]] | None = None,
    ) -> dict[str, Any]:
        """Return `n`, `loss`, `mae` and `rmse` in the data's units and, of rows, `r2`.

        With several outputs they are means over them, and `each_mae`, `each_rmse` and
        `each_r2` have them one by one.
        """
        known, std = np.asarray(total["known"], np.float64), np.array(self.std)
        if rows is None:
            mean = {
                name: ratio(np.asarray(total[name], np.float64), known)
                for name in ("absolute", "squared")
            }
            found = {
                "mae": std * mean["absolute"],
                "rmse": std * np.sqrt(mean["squared"]),
            }
        else:
            columns = zip(rows["label"].T, rows["prediction"].T, strict=True)
            each = [errors(*column, rows["weight"]) for column in columns]
            found = {name: np.array([e[name] for e in each]) for name in each[0]}
        record, occurs = averages(total, _OWN), known > 0
        for name, values in found.items():
            record[name] = float(values[occurs].mean()) if occurs.any() else 0.0
        if len(std) > 1:
            for name, values in found.items():
                record |= per_class(f"each_{name}", values, self.class_names, occurs)
        return record

    def predict(self, logits: jax.Array) -> jax.Array:
        """Return the numbers in the data's units [B, K]."""
        return logits * self._row(self.std) + self._row(self.mean)

    def _row(self, values: tuple[float, ...]) -> jax.Array:
        return jnp.asarray(values, jnp.float32)


def errors(
    label: npt.NDArray[np.floating],
    prediction: npt.NDArray[np.floating],
    weight: npt.NDArray[np.floating],
) -> dict[str, float]:
    """Return `mae`, `rmse` and `r2` of one number, computed in float64.

    They are those of scikit-learn. Where the labels have one value alone, r2 is 1 if
    every prediction is right and else 0.

    Args:
        label: [N], NaN where unknown.
        prediction: [N].
        weight: [N], above 0: how often each counts.

    Returns:
        All 0 where no label is known.
    """
    known = ~np.isnan(label)
    if not known.any():
        return {"mae": 0.0, "rmse": 0.0, "r2": 0.0}
    truth, found, counts = (
        values[known].astype(np.float64) for values in (label, prediction, weight)
    )
    squared = np.average((found - truth) ** 2, weights=counts)
    if truth.min() == truth.max():
        r2 = float(squared == 0)
    else:
        mean = np.average(truth, weights=counts)
        r2 = 1 - squared / np.average((truth - mean) ** 2, weights=counts)
    mae = np.average(np.abs(found - truth), weights=counts)
    return {"mae": float(mae), "rmse": float(np.sqrt(squared)), "r2": float(r2)}
