"""Checks of a task's settings."""

import math
from collections.abc import Sequence
from typing import Any

from jft.errors import InputError, nearest


def check_loss(task: str, loss: Any, losses: Sequence[str]) -> None:
    """Check that a task has the loss."""
    if loss not in losses:
        hint = nearest(str(loss), losses, count=1)
        valid = ", ".join(losses)
        raise InputError(f"{task} has no loss {loss!r}{hint}\nits losses: {valid}")


def check_names(class_names: Any) -> None:
    """Check that there is a tuple of strings."""
    if not isinstance(class_names, tuple) or not all(
        isinstance(name, str) for name in class_names
    ):
        raise InputError(f"class_names must be a tuple of names, got {class_names!r}")


def check_classes(task: Any) -> None:
    """Check the settings of a task whose loss is one of classes."""
    check_loss(task.name, task.loss_name, task.losses)
    check_names(task.class_names)
    smoothing, gamma = task.label_smoothing, task.focal_gamma
    if not is_number(smoothing) or not 0 <= smoothing < 1:
        raise InputError(f"label_smoothing must be in [0, 1), got {smoothing!r}")
    if not is_number(gamma) or gamma < 0:
        raise InputError(f"focal_gamma must be at least 0 and finite, got {gamma!r}")
    weights = task.class_weights
    if weights is not None:
        check_numbers("class_weights", weights, task.class_names)
        if min(weights, default=0) < 0:
            raise InputError(f"class_weights must be at least 0, got {weights!r}")


def check_numbers(what: str, values: Any, class_names: Sequence[str]) -> None:
    """Check one finite number for each class.

    Args:
        what: What the numbers are, for the message.
        values: A tuple of numbers.
        class_names: The classes; () if their number is unknown.
    """
    if not isinstance(values, tuple) or not all(map(is_number, values)):
        raise InputError(f"{what} must be a tuple of finite numbers, got {values!r}")
    if class_names and len(values) != len(class_names):
        raise InputError(
            f"{what}: got {len(values)} numbers for {len(class_names)} classes"
        )


def is_number(value: Any) -> bool:
    """Return whether it is a finite int or float."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)
