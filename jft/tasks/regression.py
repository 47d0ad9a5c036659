"""Numbers per image."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax

from jft.tasks.options import check_loss, check_names, check_numbers
from jft.tasks.task import averages, per_class, ratio
from jft.types import Metrics

_OWN = ("known", "absolute", "squared", "value", "square")
ROUNDING = 1e-6  # what float32 sums leave of a spread that is none, by its square


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
    loss_name: Literal["mse", "mae", "huber"] = "mse"

    name: ClassVar[str] = "regression"
    score: ClassVar[str] = "r2"
    losses: ClassVar[tuple[str, ...]] = ("mse", "mae", "huber")

    def __post_init__(self) -> None:
        """Raise InputError if a setting is out of its range."""
        check_loss(self.name, self.loss_name, self.losses)
        check_names(self.class_names)
        check_numbers("mean", self.mean, self.class_names, above_zero=None)
        check_numbers("std", self.std, self.class_names, above_zero=True)

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
        """Return the sums of one batch, float32.

        Returns:
            `loss` and `n` over examples; and over the known numbers of each output,
            standardised, which is where float32 sums lose least, each [K]: `known`,
            their count; `absolute` and `squared`, errors; `value` and `square`, the
            labels and their squares.
        """
        target = self.target(label, len(self.mean))
        loss = self.loss(logits, target)
        counts = ~jnp.isnan(target) & (weight[:, None] > 0)
        truth = jnp.where(counts, target, 0.0)
        error = jnp.where(counts, logits - truth, 0.0)

        def add(values: jax.Array) -> jax.Array:
            return jnp.sum(values * weight[:, None], axis=0)

        return {
            "loss": jnp.sum(jnp.where(weight > 0, loss, 0.0) * weight),
            "n": jnp.sum(weight),
            "known": add(counts.astype(jnp.float32)),
            "absolute": add(jnp.abs(error)),
            "squared": add(jnp.square(error)),
            "value": add(truth),
            "square": add(jnp.square(truth)),
        }

    def rows(self, logits: jax.Array, label: jax.Array) -> dict[str, jax.Array]:
        """Return nothing: all metrics are made of sums."""
        return {}

    def summarise(
        self,
        total: Mapping[str, Any],
        rows: Mapping[str, npt.NDArray[Any]] | None = None,
    ) -> dict[str, Any]:
        """Return `n`, `loss`, `mae`, `rmse` in the data's units, and `r2`.

        With several outputs they are means over them, and `each_mae`, `each_rmse` and
        `each_r2` have them one by one. Where the labels have one value alone, r2 is 1
        if every prediction is right and else 0, as in scikit-learn.
        """
        known, absolute, squared, value, square = (
            np.asarray(total[name], np.float64) for name in _OWN
        )
        occurs, std = known > 0, np.array(self.std)
        spread = square - ratio(value**2, known)
        constant = spread <= ROUNDING * square
        r2 = np.where(
            constant, squared == 0, 1 - squared / np.where(constant, 1, spread)
        )
        found = {
            "mae": std * ratio(absolute, known),
            "rmse": std * np.sqrt(ratio(squared, known)),
            "r2": r2,
        }
        record = averages(total, _OWN)
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
