"""Adding up what steps return, on the host: sums and counts, never averages."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from jft.tasks import Task

ROWS = "rows"  # key of an evaluation step's arrays that are concatenated, not added


def add(total: Mapping[str, Any], sums: Mapping[str, Any]) -> dict[str, Any]:
    """Return `total`, at first {}, with one batch's sums added, in float64.

    The result is floats and nested lists of floats. JSON keeps their bits, so a total
    that was written and read again continues exactly.
    """
    host = {name: np.asarray(value, np.float64) for name, value in sums.items()}
    return {
        name: (np.asarray(total.get(name, 0.0)) + value).tolist()
        for name, value in host.items()
    }


def gather(
    batches: Iterable[Mapping[str, Any]],
) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]] | None]:
    """Return the sums over all batches of an evaluation, and the rows of all examples.

    Args:
        batches: `task.sums` of each, added up over devices. Where `task.rows` is not
            empty, also `"rows"`: a dictionary of that, gathered from all devices, and
            `"weight"` [B] of the same examples. Only those of weight above 0 count.

    Returns:
        What `task.summarise` takes. The rows are in the order of the batches.
    """
    total: dict[str, Any] = {}
    parts: list[dict[str, npt.NDArray[Any]]] = []
    for batch in batches:
        total = add(total, {k: v for k, v in batch.items() if k != ROWS})
        if ROWS in batch:
            rows = {name: np.asarray(value) for name, value in batch[ROWS].items()}
            real = rows["weight"] > 0
            parts.append({name: values[real] for name, values in rows.items()})
    if not parts:
        return total, None
    names = parts[0]
    whole = {name: np.concatenate([rows[name] for rows in parts]) for name in names}
    return total, whole


def collect(task: Task, batches: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the metrics over all batches of an evaluation, as `gather` takes them."""
    return task.summarise(*gather(batches))
