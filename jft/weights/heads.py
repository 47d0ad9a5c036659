"""Which outputs of a checkpoint's head go into a network's, by their names."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from flax.core import FrozenDict

from jft import tree
from jft.models import ModelSpec
from jft.tasks import Regression
from jft.weights.names import head_names

Rows = tuple[int | None, ...]
"""For each output of a network the one of a checkpoint; None for a new one."""


def rows_by_name(theirs: Sequence[str], ours: Sequence[str]) -> Rows | None:
    """Return the index of each of our outputs in theirs; None if unknown or equal.

    >>> rows_by_name(["cat", "dog", "owl"], ["owl", "cat", "elk"])
    (2, 0, None)
    >>> rows_by_name(["cat", "dog"], ["cat", "dog"])
    """
    if not theirs or not ours or tuple(theirs) == tuple(ours):
        return None
    index_of = {name: index for index, name in enumerate(theirs)}
    return tuple(index_of.get(name) for name in ours)


def with_outputs(
    shapes: Mapping[str, Any], spec: ModelSpec, count: int
) -> dict[str, Any]:
    """Return the shapes of a network's variables with another number of outputs."""
    heads = {
        name: jax.ShapeDtypeStruct((*shapes[name].shape[:-1], count), np.float32)
        for name in head_names(spec)
    }
    return {**shapes, **heads}


def picked(
    loaded: Mapping[str, np.ndarray],
    new: Mapping[str, jax.Array],
    spec: ModelSpec,
    rows: Rows,
) -> dict[str, np.ndarray]:
    """Return the head's variables [..., K], each output from its index in `rows`.

    Outputs whose row is None have their initial values from `new`.
    """
    known = np.array([row is not None for row in rows])
    index = [row or 0 for row in rows]
    return {
        name: np.where(known, loaded[name][..., index], new.get(name, 0))
        for name in head_names(spec)
    }


def converted(
    variables: FrozenDict[str, Any],
    task: Regression,
    before: Regression | None,
    rows: Rows | None,
) -> FrozenDict[str, Any]:
    """Return variables with a head for numbers in a task's standardisation.

    Args:
        variables: Of a network, its outputs already in the task's order.
        task: The new task.
        before: The task that the head has learned, in its own order.
        rows: From `rows_by_name`, all known.
    """
    if before and rows:
        index = [row for row in rows if row is not None]
        before = replace(
            before,
            class_names=tuple(before.class_names[i] for i in index),
            mean=tuple(before.mean[i] for i in index),
            std=tuple(before.std[i] for i in index),
        )
    head = {n: np.asarray(leaf) for n, leaf in variables["params"]["head"].items()}
    kernel, bias = task.converted_head(head["kernel"], head["bias"], before)
    new = jax.device_put({"params/head/kernel": kernel, "params/head/bias": bias})
    return FrozenDict(tree.unflatten(tree.flatten(variables) | new))
