"""The task of a run, with the numbers that its training data gives it."""

import numpy as np
import numpy.typing as npt

from jft.config import TrainConfig
from jft.data.listing import TaskName
from jft.data.sources import Source
from jft.errors import InputError
from jft.tasks import TASKS, VOID, Task, balanced_weights


def check_task(config: TrainConfig, task: TaskName) -> None:
    """Check that the rules make sense for what there is to learn.

    Raises:
        InputError: They do not, one problem a line.
    """
    problems: list[str] = []
    rules, valid = config.task, TASKS[task].losses
    if rules.loss not in ("auto", *valid):
        problems.append(
            f"task.loss {rules.loss!r} is not for {task}; valid: {', '.join(valid)}"
        )
    classes = task in ("classification", "multilabel")
    if rules.class_weights != "none" and task == "regression":
        problems.append("task.class_weights: regression has no classes")
    if config.sampling == "balanced" and not classes:
        problems.append(f"sampling: balanced needs one class or label, not {task}")
    if config.augment.mixup and task == "segmentation":
        problems.append("augment.mixup: masks are never blended; use augment.cutmix")
    if config.augment.cutmix and task == "regression":
        problems.append(
            "augment.cutmix: numbers have no place in the image; use augment.mixup"
        )
    if problems:
        raise InputError("\n".join(problems))


def make_task(config: TrainConfig, train: Source) -> Task:
    """Return the task that the rules and the training examples make.

    Raises:
        InputError: The training examples do not suffice for it.
    """
    names, rules, kind = train.class_names, config.task, TASKS[train.task]
    loss = kind.losses[0] if rules.loss == "auto" else rules.loss
    if train.task == "regression":
        mean, std = _moments(train)
        return kind(class_names=names, mean=mean, std=std, loss_name=loss)
    weights = None
    if rules.class_weights == "balanced":
        weights = balanced_weights(class_counts(train))
    return kind(
        class_names=names,
        loss_name=loss,
        class_weights=weights,
        label_smoothing=config.label_smoothing,
    )


def class_counts(source: Source) -> npt.NDArray[np.float64]:
    """Return how often each class occurs [K], in examples, or pixels of masks."""
    classes = len(source.class_names)
    counts = np.zeros(classes)
    for i in range(len(source)):
        label = np.asarray(source.labels[i])
        if source.task == "multilabel":
            found = (label == 1).astype(np.float64)
        else:
            # Only in masks is 255 no class.
            known = label[label != VOID] if source.task == "segmentation" else label
            found = np.bincount(known.ravel(), minlength=classes)
        counts += source.weight(i) * found
    return counts


def _moments(source: Source) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each number, over what is known of it."""
    labels = np.asarray(source.labels, np.float64)
    empty = [
        name
        for name, column in zip(source.class_names, labels.T, strict=True)
        if np.isnan(column).all()
    ]
    if empty:
        raise InputError(f"no training image has a value of {', '.join(empty)}")
    std = np.nanstd(labels, axis=0)
    std = np.where(std > 0, std, 1.0)  # of what is always the same, nothing is learned
    return tuple(np.nanmean(labels, axis=0).tolist()), tuple(std.tolist())
