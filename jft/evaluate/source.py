"""Metrics over a data source: every example exactly once."""

from collections.abc import Callable
from typing import Any

from jft.data.pipeline import Batches, Examples, read
from jft.devices import Devices
from jft.tasks import Task, sums


def evaluate_source(
    eval_step: Callable[[Any, Any], Any],
    variables: Any,
    source: Examples,
    devices: Devices,
    task: Task,
    *,
    batch_size: int,
    workers: int = 0,
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
    """
    batches = Batches(source, batch_size)
    pending = [
        eval_step(variables, devices.put(batch))
        for batch in read(batches, workers=workers)
    ]
    return sums.collect(task, (devices.fetch(sums) for sums in pending))
