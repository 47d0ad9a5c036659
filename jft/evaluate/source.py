"""Metrics over a data source: every example exactly once."""

import csv
import dataclasses
import io
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from jft.data.pipeline import Batches, Examples, read
from jft.data.sources import Source
from jft.devices import LAG, Devices
from jft.tasks import Task, sums


def encoded(source: Source, task: Task) -> Source:
    """Return a source with its labels as the task's batches have them."""
    return dataclasses.replace(source, labels=task.encode(source.labels))


def evaluate_source(
    eval_step: Callable[[Any, Any], Any],
    variables: Any,
    source: Examples,
    devices: Devices,
    *,
    batch_size: int,
    workers: int = 0,
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return the sums over all examples and their rows, for `task.summarise`.

    Args:
        eval_step: From `make_eval_step`, compiled by `devices`.
        variables: Parameters and statistics, replicated by `devices`.
        source: The examples.
        devices: Where the step runs.
        batch_size: Examples per step; the last batch is padded with weight 0.
        workers: Processes that prepare batches.
    """

    def results() -> Iterator[Any]:
        pending: deque[Any] = deque()
        for batch in read(Batches(source, batch_size), workers=workers):
            pending.append(eval_step(variables, devices.put(batch)))
            if len(pending) > LAG:
                yield devices.fetch(pending.popleft())
        yield from map(devices.fetch, pending)

    return sums.gather(results())


def mistakes(source: Source, rows: Mapping[str, Any] | None) -> str:
    """Return a CSV table of the images whose predicted class is wrong.

    The columns are the file, its label, the predicted class and its probability; the
    most probable come first. Where logits are not finite, no class is predicted.

    Args:
        source: The examples, with their keys.
        rows: Of `Classification.rows`, of all examples of weight above 0, in order.

    Returns:
        Nothing of other tasks.
    """
    if rows is None or "predicted" not in rows or not source.keys:
        return ""
    names = [*source.class_names, ""]
    counted = np.flatnonzero(source.weights > 0)
    wrong = np.flatnonzero(rows["predicted"] != rows["label"])
    probability = rows["probability"]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["file", "label", "predicted", "probability"])
    for i in wrong[np.argsort(-probability[wrong], kind="stable")]:
        label, predicted = names[rows["label"][i]], names[rows["predicted"][i]]
        key = source.keys[counted[i]]
        table.writerow([key, label, predicted, f"{probability[i]:.6f}"])
    return text.getvalue()
