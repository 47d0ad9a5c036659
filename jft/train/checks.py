"""What a run refuses beyond the range of each setting; none of it needs JAX."""

from collections.abc import Sequence
from typing import Any

from jft.config import LOSSES, TaskConfig, TrainConfig
from jft.data.listing import TaskName
from jft.errors import InputError
from jft.freeze.phases import Phase
from jft.models import ModelSpec
from jft.types import HELD_OUT

# label_smoothing by default; other losses have none. It brings back
# the gradient of easy examples, which a focal loss is there to leave out.
SMOOTHING = {"cross-entropy": 0.1, "cross-entropy+dice": 0.1, "focal": 0.0}


def check_task(config: TrainConfig, task: TaskName, own: Any = None) -> None:
    """Check that the settings make sense for what there is to learn.

    Args:
        config: The settings.
        task: What the data is for.
        own: The task that is given in Python; its loss is not one of ours.

    Raises:
        InputError: They do not, one problem a line.
    """
    if own is not None:
        meant = getattr(own, "name", task)
        if meant != task:
            raise InputError(f"task= is for {meant}, and the data is for {task}")
        return
    rules, losses, loss = config.task, LOSSES[task], loss_of(config, task)
    numbers, masks = task == "regression", task == "segmentation"
    weighs, draws = (
        value == "balanced" for value in (rules.class_weights, config.sampling)
    )
    checks = (
        (
            loss not in losses,
            f"task.loss {loss!r} is not for {task}; valid: {', '.join(losses)}",
        ),
        (weighs and numbers, "task.class_weights: regression has no classes"),
        (
            weighs and draws,
            "task.class_weights and sampling: balanced in either makes up for how "
            "unevenly classes occur, and in both does it twice; take one of them",
        ),
        (
            draws and (numbers or masks),
            f"sampling: balanced needs one class or label, not {task}",
        ),
        (
            loss != "focal" and rules.focal_gamma != TaskConfig.focal_gamma,
            f"task.focal_gamma: {loss} has none; it is for task.loss focal",
        ),
        (
            loss not in SMOOTHING and bool(config.label_smoothing),
            f"label_smoothing: {loss} has none; it is for {', '.join(SMOOTHING)}",
        ),
        (
            config.augment.mixup > 0 and masks,
            "augment.mixup: masks are never blended; use augment.cutmix",
        ),
        (
            config.augment.cutmix > 0 and numbers,
            "augment.cutmix: numbers have no position in the image; use augment.mixup",
        ),
    )
    problems = [problem for wrong, problem in checks if wrong]
    if problems:
        raise InputError("\n".join(problems))


def loss_of(config: TrainConfig, task: TaskName) -> str:
    """Return the name of the loss: the task's first one by default."""
    rule = config.task.loss
    return LOSSES[task][0] if rule == "auto" else rule


def check_sweep(phases: Sequence[Phase], examples: int) -> None:
    """Check that enough images can be held out to choose among learning rates."""
    if any(phase.candidate for phase in phases) and examples < HELD_OUT:
        raise InputError(
            "phases: choosing among learning rates holds out one training image in "
            f"{HELD_OUT}, but there are {examples}"
        )


def with_decoder(spec: ModelSpec, task: TaskName, wanted: str) -> ModelSpec:
    """Return the network with a decoder if, and only if, the data has masks.

    Args:
        spec: The network, with the decoder that is asked for or is its own.
        task: What the data is for.
        wanted: The decoder that is asked for, or auto.
    """
    if task != "segmentation":
        if spec.decoder != "none":
            raise InputError(
                f"{spec.name} with a {spec.decoder} decoder learns from masks, and the "
                f"data has none: it is for {task}"
            )
        return spec
    if spec.decoder != "none":
        return spec
    if wanted == "none":
        raise InputError(
            "the data has masks, which need a decoder: leave --model.decoder at auto, "
            "or take fcn, deeplabv3 or unet"
        )
    return spec.adapted(decoder="unet")


def check_new_values(rule: str, frozen: Sequence[str]) -> None:
    """Check that no newly initialised value is frozen.

    Args:
        rule: The freeze rule.
        frozen: Names of the newly initialised parameters that it freezes.
    """
    if frozen:
        raise InputError(
            f"freeze {rule!r} would freeze new random values: {', '.join(frozen)}"
        )
