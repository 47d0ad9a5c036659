"""The steps that train nothing: logits of images, and metrics of a batch."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jft import augment
from jft.models.pixels import normalise
from jft.models.protocol import StagedModule
from jft.preprocess import Preprocess
from jft.step.training import total
from jft.tasks import Task
from jft.types import Batch, Params


def make_predict_step(
    model: StagedModule, preprocess: Preprocess, views: str = "none"
) -> Callable[[Params, jax.Array], jax.Array]:
    """Return `predict_step(variables, image) -> logits` for uint8 images.

    Args:
        model: The network.
        preprocess: Normalisation of the images.
        views: Of `augment.VIEWS`, over which logits are averaged.
    """

    def predict_step(variables: Params, image: jax.Array) -> jax.Array:
        def logits(image: jax.Array) -> jax.Array:
            normal = normalise(image, preprocess)
            return jnp.asarray(model.apply(variables, normal))

        return augment.averaged(logits, image, views)

    return predict_step


def make_eval_step(
    model: StagedModule,
    task: Task,
    preprocess: Preprocess,
    views: str = "none",
    *,
    start: str | None = None,
) -> Callable[[Params, Batch], dict[str, Any]]:
    """Return `eval_step(variables, batch) -> sums`, to be compiled by `devices`.

    The sums are those of the task; `rows`, if it needs any, are a dict of what it has
    to see of each example, and of their `weight`.

    Args:
        model: The network.
        task: What it is measured by.
        preprocess: Normalisation of the images.
        views: As in `make_predict_step`.
        start: As in `StepSpec`; then there are no views.
    """
    predict_step = make_predict_step(model, preprocess, views)
    axis = model.axis_name

    def eval_step(variables: Params, batch: Batch) -> dict[str, Any]:
        image, label, weight = batch["image"], batch["label"], batch["weight"]
        # A training image may be larger, as crops are taken of it.
        if start is not None:
            logits = jnp.asarray(model.apply(variables, image, start=start))
        elif task.dense:
            image, label = augment.shrink(image, label, preprocess.size)
            logits = predict_step(variables, image)
            label = label.astype(jnp.int32)
        else:
            image = augment.centre(image, preprocess.size)
            logits = predict_step(variables, image)
        sums: dict[str, Any] = dict(total(task.sums(logits, label, weight), axis))
        rows = task.rows(logits, label)
        if rows:
            rows = {**rows, "weight": weight}
            sums["rows"] = rows if axis is None else _gather(rows, axis)
        return sums

    return eval_step


def _gather(rows: Any, axis_name: str) -> Any:
    """Return the rows of all devices, in order, on each of them."""
    return jax.tree.map(
        lambda leaf: jax.lax.all_gather(leaf, axis_name, tiled=True), rows
    )
