"""The settings of tasks, and their checks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from jft.config import LOSSES
from jft.errors import InputError, nearest


@dataclass(frozen=True)
class ClassTask:
    """The settings of a task whose outputs are classes or labels.

    Attributes:
        class_names: Names of the K outputs; () if unknown.
        label_smoothing: Fraction of the target spread over all classes, in [0, 1)
            (Szegedy et al. 2016, https://arxiv.org/abs/1512.00567).
        loss_name: One of `losses`.
        focal_gamma: Exponent of the focal loss, at least 0: higher values give easy
            examples less weight.
        class_weights: Weight of each class in the loss; None for 1.
    """

    class_names: tuple[str, ...] = ()
    label_smoothing: float = 0.0
    loss_name: str = "cross-entropy"
    focal_gamma: float = 2.0
    class_weights: tuple[float, ...] | None = None

    name: ClassVar[str]
    outputs: ClassVar[str] = "classes"
    losses: ClassVar[tuple[str, ...]] = LOSSES["classification"]
    dense: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Raise InputError if a setting is out of its range."""
        check_loss(self.name, self.loss_name, self.losses)
        check_names(self.class_names)
        smoothing, gamma = self.label_smoothing, self.focal_gamma
        if not is_number(smoothing) or not 0 <= smoothing < 1:
            raise InputError(f"label_smoothing must be in [0, 1), got {smoothing!r}")
        if not is_number(gamma) or gamma < 0:
            raise InputError(
                f"focal_gamma must be at least 0 and finite, got {gamma!r}"
            )
        weights = self.class_weights
        if weights is not None:
            check_numbers("class_weights", weights, self.class_names)
            if min(weights, default=0) < 0:
                raise InputError(f"class_weights must be at least 0, got {weights!r}")

    @property
    def gamma(self) -> float:
        """Exponent of the focal loss; 0 for other losses."""
        return self.focal_gamma if self.loss_name == "focal" else 0.0

    def encode(self, labels: Any) -> Any:
        """Return the labels unchanged."""
        return labels


def check_loss(task: str, loss: Any, losses: Sequence[str]) -> None:
    """Check that a task has the loss."""
    if loss not in losses:
        hint = nearest(str(loss), losses, count=1)
        valid = ", ".join(losses)
        raise InputError(f"unknown loss {loss!r} for {task}{hint}\nlosses: {valid}")


def check_names(class_names: Any) -> None:
    """Check that there is a tuple of strings."""
    if not isinstance(class_names, tuple) or not all(
        isinstance(name, str) for name in class_names
    ):
        raise InputError(f"class_names must be a tuple of names, got {class_names!r}")


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
