"""What a person gives in Python instead of a setting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jft.config import ModelConfig, TrainConfig
from jft.data.objects import OBJECTS
from jft.errors import InputError
from jft.models.own import PREFIX, OwnModel

TASK = (
    *("name", "score", "outputs", "dense", "class_names"),
    *("metrics", "target", "loss", "sums", "rows", "summarise", "predict"),
)


@dataclass(frozen=True)
class Objects:
    """Objects instead of settings; None leaves the setting.

    Attributes:
        train: Training data, as `jft.data.objects.list_objects` takes it.
        test: Test data, likewise; None holds out a fifth of `train`.
        task: A `jft.tasks.Task`.
        model: A Flax module, or a `jft.models.own.OwnModel`.
        optimizer: An optax transformation, its learning rate included.
        callbacks: Those that `fit` calls.
    """

    train: Any = None
    test: Any = None
    task: Any = None
    model: Any = None
    optimizer: Any = None
    callbacks: Sequence[Any] = ()

    def check(self, config: TrainConfig) -> None:
        """Check that they are what they must be, and that no setting gives them too.

        Args:
            config: The settings.

        Raises:
            InputError: They are not; every problem, one per line.
        """
        problems: list[str] = []
        data = config.data
        if self.test is not None and self.train is None:
            problems.append("test= without train=: give both, or neither")
        if self.train is not None and data not in ("digits", OBJECTS):
            problems.append(f"train= and data {data!r}: give one of them")
        if missing := _missing(self.task, TASK):
            problems.append(
                f"task= must be a jft.Task, got {type(self.task).__name__}, which has "
                f"no {', '.join(missing)}"
            )
        if _missing(self.optimizer, ("init", "update")):
            problems.append(
                "optimizer= must be an optax transformation, such as optax.adam(1e-3), "
                f"got {type(self.optimizer).__name__}"
            )
        if self.model is not None:
            problems += _twice(config)
        if problems:
            raise InputError("\n".join(problems))

    def network(self, config: TrainConfig) -> OwnModel:
        """Return the module that is given, with the preprocessing of the settings.

        Raises:
            InputError: It is not a module that can be trained.
        """
        own = OwnModel.of(self.model).adapted(config.image_size, config.crop)
        own.shapes  # noqa: B018 - refuses wrong stages
        return own

    def names(self) -> list[str]:
        """Return what the files of the run cannot repeat, for its manifest."""
        given = [
            ("data", self.train),
            ("model", getattr(self.model, "module", self.model)),
            ("task", self.task),
            ("optimizer", self.optimizer),
            *(("callback", each) for each in self.callbacks if each.decides),
        ]
        return [
            f"{name} (object: {type(value).__name__})"
            for name, value in given
            if value is not None
        ]


def _twice(config: TrainConfig) -> list[str]:
    """Return what is wrong with settings of a network that `model=` gives."""
    problems: list[str] = []
    if config.weights not in (TrainConfig.weights, "none"):
        problems.append(
            f"model= and weights {config.weights!r}: give one of them; "
            "jft.OwnModel(module, variables) has initial values"
        )
    given, default = vars(config.model), vars(ModelConfig())
    problems += [
        f"model= and model.{name} {value!r}: give one of them"
        for name, value in given.items()
        if value != default[name] and not str(value).startswith(PREFIX)
    ]
    return problems


def _missing(value: Any, members: tuple[str, ...]) -> list[str]:
    if value is None:
        return []
    return [name for name in members if not hasattr(value, name)]
