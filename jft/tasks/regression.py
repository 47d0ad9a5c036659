"""Numbers per image."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax

from jft.config import LOSSES, NumberLoss
from jft.errors import InputError
from jft.tasks.losses import mean_over
from jft.tasks.options import check_loss, check_names, check_numbers
from jft.tasks.task import averages, common_sums, per_class, ratio
from jft.types import Metrics

_OWN = ("known", "absolute", "squared")


@dataclass(frozen=True)
class Regression:
    """K numbers per image. Labels are [B, K] float32, standardised, NaN where unknown.

    The network learns `(number - mean) / std`, so that outputs of any unit count as
    much and learning rates mean the same. `encode` and `predict` convert in float64:
    float32 would round 5400001 to a multiple of 0.5.

    Attributes:
        class_names: What the K numbers are called.
        mean: Means over the training data, in the data's units.
        std: Standard deviations over the training data, above 0.
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
    losses: ClassVar[tuple[str, ...]] = LOSSES["regression"]
    dense: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Raise InputError if a setting is out of its range."""
        check_loss(self.name, self.loss_name, self.losses)
        check_names(self.class_names)
        check_numbers("mean", self.mean, self.class_names)
        check_numbers("std", self.std, self.class_names)
        if min(self.std, default=1) <= 0:
            raise InputError(f"std must be above 0, got {self.std!r}")

    @classmethod
    def metrics(cls, outputs: int) -> tuple[str, ...]:
        """Return the names of the numbers that `summarise` returns of rows."""
        del outputs
        return ("loss", "r2", "mae", "rmse")

    def encode(self, labels: Any) -> npt.NDArray[np.float32]:
        """Return numbers [N, K] in the data's units as a batch has them: standardised.

        NaN, an unknown number, stays NaN.
        """
        numbers = np.asarray(labels, np.float64)
        return ((numbers - self.mean) / self.std).astype(np.float32)

    def target(self, label: jax.Array, outputs: int) -> jax.Array:
        """Return the label [B, K]; a blend with an unknown number, NaN, is unknown."""
        return label

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
        return mean_over(each, known, axis=1)

    def sums(self, logits: jax.Array, label: jax.Array, weight: jax.Array) -> Metrics:
        """Return the sums of one batch.

        Returns:
            Those of `common_sums`; and over the known numbers of each output [K]
            float32: `known`, their weight; `absolute` and `squared`, the errors in
            standard deviations.
        """
        loss = self.loss(logits, label)
        counts = ~jnp.isnan(label) & (weight[:, None] > 0)
        truth = jnp.where(counts, label, 0.0)
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
        """Return `label` and `prediction` [B, K] float32, both standardised."""
        return {"label": label, "prediction": logits}

    def summarise(
        self,
        total: Mapping[str, Any],
        rows: Mapping[str, npt.NDArray[Any]] | None = None,
    ) -> dict[str, Any]:
        """Return `n`, `loss`, `mae` and `rmse` in the data's units and, of rows, `r2`.

        With several outputs they are means over them, and `each_mae`, `each_rmse` and
        `each_r2` have them one by one. `trivial`, beside `r2`, is that of the mean: 0.
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
            found |= {name: std * found[name] for name in ("mae", "rmse")}
        record, occurs = averages(total, _OWN), known > 0
        for name, values in found.items():
            record[name] = float(values[occurs].mean()) if occurs.any() else 0.0
        if rows is not None:
            record["trivial"] = 0.0
        if len(std) > 1:
            for name, values in found.items():
                record |= per_class(f"each_{name}", values, self.class_names, occurs)
        return record

    def predict(self, logits: jax.Array) -> npt.NDArray[np.float64]:
        """Return the numbers in the data's units [B, K]."""
        return np.asarray(logits, np.float64) * self.std + self.mean

    def converted_head(
        self,
        kernel: npt.NDArray[np.float32],
        bias: npt.NDArray[np.float32],
        before: "Regression | None",
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return another task's head for this standardisation; predictions stay equal.

        Args:
            kernel: [C, K].
            bias: [K].
            before: The same numbers with the standardisation that the head was trained
                for; None for a head that predicts in the data's units.
        """
        mean, std = (before.mean, before.std) if before else (0.0, 1.0)
        ratio = np.divide(std, self.std)
        shift = np.subtract(mean, self.mean) / self.std
        new = kernel * ratio, bias * ratio + shift
        return new[0].astype(np.float32), new[1].astype(np.float32)


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
