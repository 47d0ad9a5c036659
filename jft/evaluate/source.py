"""Metrics over a data source: every example exactly once."""

import dataclasses
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from jft.data.pipeline import Batches, Examples, read
from jft.data.sources import Source
from jft.devices import LAG, Devices
from jft.tasks import Classification, Task, sums


def encoded(source: Source, task: Task) -> Source:
    """Return a source with its labels as the task's batches have them."""
    return dataclasses.replace(source, labels=task.encode(source.labels))


def evaluate_source(
    eval_step: Callable[[Any, Any], Any],
    variables: Any,
    source: Examples,
    devices: Devices,
    task: Task,
    *,
    batch_size: int,
    workers: int = 0,
    detailed: bool = False,
) -> dict[str, Any]:
    """Return the metrics over all examples, `n` of them.

    Args:
        eval_step: From `make_eval_step`, compiled by `devices`.
        variables: Parameters and statistics, replicated by `devices`.
        source: The examples.
        devices: Where the step runs.
        task: What the step measures.
        batch_size: Examples per step; the last batch is padded with weight 0.
        workers: Processes that prepare batches.
        detailed: For classes of images, add `classes`, their names, and `confusion`: a
            row for each class, in which each column is how many images of it were
            predicted as that class.
    """

    def results() -> Iterator[Any]:
        pending: deque[Any] = deque()
        for batch in read(Batches(source, batch_size), workers=workers):
            pending.append(eval_step(variables, devices.put(batch)))
            if len(pending) > LAG:
                yield devices.fetch(pending.popleft())
        yield from map(devices.fetch, pending)

    total, rows = sums.gather(results())
    found = task.summarise(total, rows)
    if detailed and isinstance(task, Classification) and rows:
        names = task.class_names
        counts = task.confusion(rows, len(names))[:, :-1]
        found |= {"classes": list(names), "confusion": counts.tolist()}
    return found
