"""Metrics as sums and counts, which add up over batches and devices; never averages."""

from collections.abc import Iterable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from jft.types import Metrics


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
        `loss`, `accuracy` and, beyond five classes, `top5`: weighted sums over
        examples; `n`: the sum of weights. All float32 scalars.
    """
    at_label = jnp.take_along_axis(logits, label[:, None], axis=1)
    # Ties count as the earlier class, as argmax and torch's topk have them.
    earlier = jnp.arange(logits.shape[1]) < label[:, None]
    rank = jnp.sum((logits > at_label) | ((logits == at_label) & earlier), axis=1)
    finite = jnp.all(jnp.isfinite(logits), axis=1)
    sums = {
        "loss": jnp.sum(jnp.where(weight > 0, loss, 0.0) * weight),
        "accuracy": jnp.sum(jnp.where((rank < 1) & finite, weight, 0.0)),
        "n": jnp.sum(weight),
    }
    if logits.shape[1] > 5:
        sums["top5"] = jnp.sum(jnp.where((rank < 5) & finite, weight, 0.0))
    return sums


def add(total: Mapping[str, float], sums: Metrics) -> dict[str, float]:
    """Return `total` with one batch's sums added, in float64 on the host."""
    host = {name: float(np.asarray(value)) for name, value in sums.items()}
    return {name: total.get(name, 0.0) + value for name, value in host.items()}


def summarise(total: Mapping[str, float]) -> dict[str, float]:
    """Divide sums by their count: every name but `n`, which becomes an int."""
    n = total["n"]
    ratios = {name: value / n for name, value in total.items() if name != "n"}
    return {"n": round(n), **ratios}


def collect(batches: Iterable[Metrics]) -> dict[str, float]:
    """Return the metrics over all batches."""
    total: dict[str, float] = {}
    for sums in batches:
        total = add(total, sums)
    return summarise(total)
