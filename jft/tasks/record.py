"""Tasks as JSON, which is saved with the parameters."""

import dataclasses
from collections.abc import Mapping
from typing import Any, cast

from jft.errors import InputError, unknown
from jft.tasks.classification import Classification
from jft.tasks.multilabel import MultiLabel
from jft.tasks.regression import Regression
from jft.tasks.segmentation import Segmentation
from jft.tasks.task import Task

TASKS: dict[str, Any] = {
    kind.name: kind for kind in (Classification, MultiLabel, Segmentation, Regression)
}


def to_dict(task: Task) -> dict[str, Any]:
    """Return the task as a dictionary that JSON can hold: its name and its settings."""
    settings = dataclasses.asdict(cast(Any, task))
    lists = {k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()}
    return {"name": task.name, **lists}


def from_dict(values: Any) -> Task:
    """Rebuild a task from `to_dict`'s result.

    Raises:
        InputError: It is not that: no such task or setting, one is missing, or out of
            its range.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"the record of a task must be a group, got {values!r}")
    settings = dict(cast(Mapping[str, Any], values))
    name = str(settings.pop("name", None))
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    lists = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
    try:
        return TASKS[name](**lists)
    except TypeError as error:
        # A setting that is missing, or one that the task does not have.
        raise InputError(f"the record of a task is damaged: {error}") from None
