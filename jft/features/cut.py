"""Where a network is cut: what comes before never changes, and is computed once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jft.config import AugmentConfig, TrainConfig
from jft.config.augmenting import OFF, PAIRS, SINGLE
from jft.errors import InputError
from jft.models.training import TrainMode

HIDDEN = "pre_logits"  # a VGG's hidden layers, between which features are dropped
_WITHOUT_CONVOLUTIONS = frozenset({HIDDEN, "head"})


@dataclass(frozen=True)
class Cut:
    """A boundary between two parts of a network.

    Attributes:
        stages: Names of the parts in depth order.
        index: Position of the first part after the cut, at least 1.
    """

    stages: tuple[str, ...]
    index: int

    @property
    def after(self) -> str:
        """The last part whose features are kept."""
        return self.stages[self.index - 1]

    @property
    def start(self) -> str:
        """The first part that runs in every step."""
        return self.stages[self.index]

    @property
    def frozen(self) -> tuple[str, ...]:
        """The parts that run once an image."""
        return self.stages[: self.index]

    @property
    def has_convolutions(self) -> bool:
        """Whether any part after the cut may have convolutions."""
        return not _WITHOUT_CONVOLUTIONS.issuperset(self.stages[self.index :])


def cut_of(
    stages: Sequence[str], changing: Iterable[str], mode: TrainMode
) -> Cut | None:
    """Return the last boundary before anything that changes or is random.

    Args:
        stages: Names of the parts in depth order.
        changing: Names of the parameters and statistics that training changes, as
            `params/stage1/block0/conv1/kernel`.
        mode: How the network runs in training.

    Returns:
        None if the first part changes already.
    """
    first = min(stages.index(name.split("/")[1]) for name in changing)
    # Frozen blocks are never skipped, but features are dropped in frozen layers too.
    if mode.dropout and HIDDEN in stages:
        first = min(first, stages.index(HIDDEN))
    return Cut(tuple(stages), first) if first else None


def why_not(config: TrainConfig, task: str | None) -> str | None:
    """Return why the features of an image differ between epochs; None if they do not.

    Args:
        config: The configuration.
        task: What the data is for.
    """
    if task == "segmentation":
        return "a decoder needs the image"
    mixed, changed = (_active(config.augment, names) for names in (PAIRS, SINGLE))
    if mixed:
        return f"{' and '.join(mixed)} mixes other pairs of images each epoch"
    if changed and not config.views:
        some = ", ".join(f"--augment.{name.replace('_', '-')}" for name in changed)
        return (
            f"{some} changes the images each epoch; --views 4 keeps four versions "
            "of each image"
        )
    return None


def _active(config: AugmentConfig, names: Sequence[str]) -> list[str]:
    return [name for name in names if getattr(config, name) not in OFF]


def check(config: TrainConfig, task: str | None, own: bool = False) -> str | None:
    """Check the settings `features` and `views` against the others.

    Args:
        config: The configuration.
        task: What the data is for.
        own: Whether the network is a module of the user's own.

    Returns:
        As `why_not`.

    Raises:
        InputError: Features are asked for that cannot be kept.
    """
    wanted = "--views" if config.views else f"--features {config.features}"
    if config.views and config.features == "off":
        raise InputError("--views keeps features: --features must not be off")
    if config.views and not _active(config.augment, SINGLE):
        raise InputError(
            f"--views {config.views}: nothing changes the images at random; leave "
            "--views out, or set an option of --augment"
        )
    asked = config.views or config.features in ("memory", "disk")
    reason = "a module of your own cannot be cut" if own else why_not(config, task)
    if asked and reason:
        raise InputError(f"{wanted}: {reason}")
    return reason


def check_cuts(features: str, views: int, cuts: Sequence[Cut | None]) -> None:
    """Check that some phase has a frozen part whose features can be kept.

    Args:
        features: The setting of that name.
        views: Likewise.
        cuts: Of each phase.

    Raises:
        InputError: Features are asked for, and no phase has any.
    """
    if (views or features in ("memory", "disk")) and not any(cuts):
        wanted = f"--views {views}" if views else f"--features {features}"
        raise InputError(
            f"{wanted}: the first part of the network is trained or updated "
            f"in every phase; freeze it, as --freeze all-but:head does"
        )
