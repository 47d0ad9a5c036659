"""The task of a run, with the numbers that its training data gives it."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from jft.config import TrainConfig
from jft.data.listing import Dataset
from jft.data.sources import Source
from jft.errors import InputError, nearest
from jft.tasks import (
    TASKS,
    MultiLabel,
    Regression,
    Task,
    balanced_weights,
    positive_weights,
)
from jft.train.checks import SMOOTHING, loss_of
from jft.types import VOID


def make_task(config: TrainConfig, train: Source) -> Task:
    """Return the task that the rules and the training examples make."""
    names, rules, kind = train.class_names, config.task, TASKS[train.task]
    loss: Any = loss_of(config, train.task)
    if not np.any(np.asarray(train.weights) > 0):
        raise InputError("no training image has a weight above 0")
    if kind is Regression:
        mean, std = moments(train)
        return kind(class_names=names, mean=mean, std=std, loss_name=loss)
    smoothing = config.label_smoothing
    return kind(
        class_names=names,
        loss_name=loss,
        focal_gamma=rules.focal_gamma,
        class_weights=class_weights(train) if rules.class_weights != "none" else None,
        label_smoothing=SMOOTHING.get(loss, 0.0) if smoothing is None else smoothing,
    )


def check_metrics(names: Iterable[str], data: Dataset, own: Task | None = None) -> None:
    """Check the names of metrics that decide which epoch is the best.

    Args:
        names: The names; auto is the score of the task.
        data: What is learned from, which determines the task.
        own: The task that is given in Python instead.

    Raises:
        InputError: The task has no such metric.
    """
    task = own or TASKS[data.task]
    valid = task.metrics(len(data.class_names))
    for name in names:
        if name not in ("auto", *valid):
            raise InputError(
                f"early_stop_metric: {task.name} has no metric {name!r}"
                f"{nearest(name, valid)}\nmetrics: auto, {', '.join(valid)}"
            )


def own_task(task: Task | None, builtin: Task) -> Task | None:
    """Return the task that is given in Python, if its outputs are the data's."""
    if task is not None and task.class_names not in ((), builtin.class_names):
        raise InputError(
            f"task= has the outputs {', '.join(task.class_names)}, and the data has "
            f"{', '.join(builtin.class_names)}"
        )
    return task


def class_weights(source: Source) -> tuple[float, ...]:
    """Return what makes up for how unevenly classes, pixels or labels occur [K]."""
    if TASKS[source.task] is not MultiLabel:
        return balanced_weights(class_counts(source))
    label, weight = np.asarray(source.labels), np.asarray(source.weights, np.float64)
    return positive_weights(weight @ (label == 1), weight @ (label == 0))


def class_counts(source: Source) -> npt.NDArray[np.float64]:
    """Return how often each class occurs [K], in examples, or pixels of masks."""
    classes, dense = len(source.class_names), TASKS[source.task].dense
    counts = np.zeros(classes)
    for i in range(len(source)):
        label = np.asarray(source.labels[i])
        # Only in masks 255 is not a class.
        known = label[label != VOID] if dense else label
        counts += source.weight(i) * np.bincount(known.ravel(), minlength=classes)
    return counts


def moments(source: Source) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each number, over what is known of it.

    An example counts in proportion to its weight. The deviation of a constant
    number, from which nothing is learned, is taken as 1.
    """
    labels = np.asarray(source.labels, np.float64)
    weights = np.asarray(source.weights, np.float64)[:, None]
    counts = np.where(np.isnan(labels), 0.0, weights)
    total = counts.sum(axis=0)
    pairs = zip(source.class_names, total, strict=True)
    empty = [name for name, count in pairs if not count]
    if empty:
        raise InputError(f"no training image has a value of {', '.join(empty)}")

    def average(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return (counts * np.where(counts > 0, values, 0.0)).sum(axis=0) / total

    mean = average(labels)
    std = np.sqrt(average((labels - mean) ** 2))
    lowest = np.where(counts > 0, labels, math.inf).min(axis=0)
    highest = np.where(counts > 0, labels, -math.inf).max(axis=0)
    std = np.where(highest > lowest, std, 1.0)
    return tuple(mean.tolist()), tuple(std.tolist())
