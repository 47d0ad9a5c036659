"""The interface of a task, for the step, evaluation and the log."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from jft.errors import InputError
from jft.types import Metrics


class Task(Protocol):
    """A loss per example, sums that add up, and the metrics they make.

    Shapes: B examples, K outputs; logits are [B, K], and [B, H, W, K] for masks. All
    that is computed on the device is float32 or int32.

    Attributes:
        name: What `--task` calls it.
        score: The metric, the higher the better, that the best epoch is chosen by. It
            can be NaN where the network's outputs are.
        outputs: What the K outputs are called together.
        dense: Whether a label is a mask: outputs are for each pixel.
    """

    name: ClassVar[str]
    score: ClassVar[str]
    outputs: ClassVar[str]
    dense: ClassVar[bool]

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the K outputs are called; () if unknown."""
        ...

    @classmethod
    def metrics(cls, outputs: int) -> tuple[str, ...]:
        """Return the metrics of `summarise` that may decide which epoch is the best.

        Args:
            outputs: K, the number of outputs.
        """
        ...

    def encode(self, labels: Any) -> Any:
        """Return a source's labels as batches have them; done once, on the host.

        Args:
            labels: Of all examples, an array or what is indexed like one. Numbers are
                float64 in the data's units.
        """
        ...

    def target(self, label: jax.Array, outputs: int) -> jax.Array:
        """Return what the loss compares the logits with, for the labels of a batch.

        Args:
            label: As it comes in the batch.
            outputs: K, the number of outputs.
        """
        ...

    def loss(self, logits: jax.Array, target: jax.Array) -> jax.Array:
        """Return the training loss per example [B] float32."""
        ...

    def sums(self, logits: jax.Array, label: jax.Array, weight: jax.Array) -> Metrics:
        """Return arrays that add up over batches and devices.

        Args:
            logits: What the network gives.
            label: What belongs to the images as the network saw them.
            weight: [B] float32, 0 on padding, else how often the example counts.

        Returns:
            Those of `common_sums`, the loss without label smoothing; and what else the
            metrics are made of.
        """
        ...

    def rows(self, logits: jax.Array, label: jax.Array) -> dict[str, jax.Array]:
        """Return arrays [B, ...] that evaluation must keep whole; {} for most."""
        ...

    def summarise(
        self,
        total: Mapping[str, Any],
        rows: Mapping[str, npt.NDArray[Any]] | None = None,
    ) -> dict[str, Any]:
        """Return the metrics, computed in float64.

        Args:
            total: Sums from `jft.tasks.sums.add`. Scalars that the task does not know,
                such as the learning rate times the weight, are divided by `weight`.
            rows: Those of all examples together, and their `weight`. None in training.

        Returns:
            `n`, an int; `weight`, where it is another number; numbers by name; and
            values per class as `{class: value}`, without the classes that do not occur.
        """
        ...

    def predict(self, logits: jax.Array) -> jax.Array | npt.NDArray[np.float64]:
        """Return probabilities, float32, or numbers in the data's units, float64."""
        ...


def common_sums(loss: jax.Array, weight: jax.Array) -> dict[str, jax.Array]:
    """Return the sums that every task has.

    Args:
        loss: Loss per example [B].
        weight: [B] float32, 0 on padding.

    Returns:
        `n`, int32: how many examples have a weight above 0; `weight`, the sum of
        weights, and `loss`, the weighted sum, float32.
    """
    real = weight > 0
    return {
        "n": jnp.sum(real),
        "weight": jnp.sum(weight),
        "loss": jnp.sum(jnp.where(real, loss, 0.0) * weight),
    }


def averages(total: Mapping[str, Any], without: Collection[str] = ()) -> dict[str, Any]:
    """Return `n`, and the other sums divided by `weight`.

    `weight` itself is there where it is not `n`.
    """
    n, weight = round(total["n"]), total["weight"]
    if not n:
        raise InputError("no image has a weight above 0: there is nothing to measure")
    own = {"n", "weight", *without}
    ratios = {name: v / weight for name, v in total.items() if name not in own}
    return {"n": n, **({} if weight == n else {"weight": weight}), **ratios}


def per_class(
    metric: str,
    values: npt.NDArray[np.float64],
    class_names: Sequence[str],
    occurs: npt.NDArray[np.bool_],
) -> dict[str, dict[str, float]]:
    """Return `{metric: {class: value}}` of the classes that occur; {} without names."""
    if not class_names:
        return {}
    found = zip(class_names, values, occurs, strict=True)
    return {metric: {name: float(value) for name, value, there in found if there}}


def ratio(
    part: npt.NDArray[np.float64], whole: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return part / whole [K], 0 where the whole is 0."""
    return part / np.where(whole == 0, 1.0, whole) * (whole != 0)
