"""Metrics of a model over a whole source: every example exactly once."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from jft import config as configs
from jft.augment import check_views
from jft.data.objects import OBJECTS, list_objects
from jft.data.sources import Source, Splits, open_splits, require_readable
from jft.devices import get_devices, start_jax
from jft.errors import DataError, InputError
from jft.evaluate.source import encoded, evaluate_source
from jft.predict.interpolate import check_alpha, interpolate, pretrained_variables
from jft.predict.predictor import Predictor
from jft.runs.directory import open_run
from jft.runs.moved import found_data
from jft.step import make_eval_step
from jft.tasks import Classification, Task
from jft.types import VOID


def evaluate_run(
    run: str | os.PathLike[str],
    data: Any = None,
    *,
    which: Literal["final", "best"] = "final",
    views: str = "none",
    batch_size: int = 64,
    devices: Literal["auto", "jit", "pmap"] = "auto",
    model: Any = None,
) -> dict[str, Any]:
    """Return what a run's task measures: `n`, `loss`, the score and others by name.

    `score` is the name of the score: accuracy, mAP, mIoU or r2, and `trivial` the score
    of the best prediction that is the same for every image. For classes of images there
    are their names, `classes`, and their `confusion` matrix too: the element [i][j] is
    how many images of class i were predicted as class j, or the sum of their weights.

    Args:
        run: The run's folder.
        data: As in `TrainConfig`; its test images are used. Or objects as `fit` takes
            them, all of which are used. None is the data of the run. The task must be
            that of the run, and the names among the run's names, in any order; see
            `relabel`.
        which: The final parameters, or those of the best epoch.
        views: One of `jft.augment.VIEWS`, over which logits are averaged.
        batch_size: Images per step.
        devices: As in `TrainConfig`.
        model: The Flax module that was trained, if it came from Python.

    Raises:
        InputError: The run or the data cannot be used.
    """
    predictor = _load(run, which, model)
    measure = _measure(run, predictor, data, views, batch_size, devices)
    return measure(predictor.variables)


def evaluate_alphas(
    run: str | os.PathLike[str],
    alphas: Sequence[float],
    data: Any = None,
    *,
    weights: str | None = None,
    which: Literal["final", "best"] = "final",
    views: str = "none",
    batch_size: int = 64,
    devices: Literal["auto", "jit", "pmap"] = "auto",
) -> list[dict[str, Any]]:
    """Return the metrics of networks between the pretrained and the fine-tuned one.

    Each element has `alpha` and the result of `evaluate_run`, which has the other
    arguments too.

    Args:
        run: The run's folder.
        alphas: Weights of the fine-tuned network in [0, 1], for
            `jft.predict.interpolate`.
        data: As for `evaluate_run`.
        weights: Where the pretrained weights are now, if they have moved.
        which: As for `evaluate_run`.
        views: As for `evaluate_run`.
        batch_size: As for `evaluate_run`.
        devices: As for `evaluate_run`.

    Raises:
        InputError: The run, its pretrained weights, an alpha, or the data cannot be
            used.
    """
    for alpha in alphas:
        check_alpha(alpha)
    predictor = _load(run, which)
    pretrained = pretrained_variables(run, predictor.task, weights)
    measure = _measure(run, predictor, data, views, batch_size, devices)
    return [
        {"alpha": alpha, **measure(interpolate(pretrained, predictor.variables, alpha))}
        for alpha in alphas
    ]


def _load(
    run: str | os.PathLike[str], which: Literal["final", "best"], model: Any = None
) -> Predictor:
    """Return a run's network; nothing before this may start JAX."""
    start_jax()
    return Predictor.from_run(run, which, model=model)


def _measure(
    run: str | os.PathLike[str],
    predictor: Predictor,
    data: Any,
    views: str,
    batch_size: int,
    devices: Literal["auto", "jit", "pmap"],
) -> Callable[[Any], dict[str, Any]]:
    """Return a function that evaluates variables of the network on the test images."""
    check_views(views)
    used = get_devices(devices)
    configs.check_batch(batch_size, len(used.devices))
    task = predictor.task
    source = encoded(relabel(open_data(run, predictor, data).test, task), task)
    model: Any = predictor.model.clone(axis_name=used.axis_name)
    step = used.compile(make_eval_step(model, task, predictor.preprocess, views))

    def measure(variables: Any) -> dict[str, Any]:
        replicated = used.replicate(variables)
        total, rows = evaluate_source(
            step, replicated, source, used, batch_size=batch_size
        )
        found = {"score": task.score, **task.summarise(total, rows)}
        if isinstance(task, Classification) and rows:
            names = task.class_names
            counts = task.confusion(rows, len(names))[:, :-1]
            found |= {"classes": list(names), "confusion": counts.tolist()}
        return found

    return measure


def open_data(run: str | os.PathLike[str], predictor: Predictor, data: Any) -> Splits:
    """Return the data of a run, or other data, as `evaluate_run` takes it."""
    directory = open_run(run)
    spec = found_data(directory) if data is None else data
    if data is None and spec == OBJECTS:
        raise InputError(
            f"{run} was trained on data from Python: give --data, or data= in Python"
        )
    spec = os.fspath(spec) if isinstance(spec, os.PathLike) else spec
    given = spec if isinstance(spec, str) else list_objects(spec, spec)
    try:
        splits = open_splits(given, predictor.preprocess)
    except InputError as error:
        if data is not None:
            raise
        remedy = "if the data has moved, give --data"
        raise type(error)(f"{error}; {remedy}") from None
    require_readable(splits)
    if data is None and splits.fingerprint != directory.value(
        "manifest.json", "data", "fingerprint"
    ):
        raise DataError(
            f"{spec} has changed since the run was trained: its test images may have "
            f"been training images; to evaluate it anyway, give --data {spec}"
        )
    return splits


def relabel(source: Source, task: Task) -> Source:
    """Return the source with its labels in the order of a task's names.

    A class that the source lacks occurs in no image; labels and numbers that it lacks
    are unknown.

    Raises:
        DataError: The source is for another task, or has names that are not among
            the task's.
    """
    names, labels = task.class_names, source.labels
    if source.task != task.name:
        raise DataError(
            f"the run was trained for {task.name}, and the data is for {source.task}"
        )
    if source.class_names == names:
        return source
    what, strange = task.outputs, set(source.class_names) - set(names)
    if strange:
        raise DataError(
            f"the data has {what} that the run was not trained on: "
            f"{', '.join(sorted(strange))}\nthe run's {what}: {', '.join(names)}"
        )
    indices = np.array([names.index(name) for name in source.class_names])
    if task.dense:
        ordered: Any = _Masks(labels, indices)
    else:
        ordered = _reordered(np.asarray(labels), indices, len(names))
    return dataclasses.replace(source, labels=ordered, class_names=names)


def _reordered(
    labels: npt.NDArray[Any], indices: npt.NDArray[np.intp], outputs: int
) -> npt.NDArray[Any]:
    """Return labels [N] or [N, K] in the order of the outputs, in the same dtype."""
    if labels.ndim == 1:
        return indices.astype(labels.dtype)[labels]
    unknown = np.nan if labels.dtype.kind == "f" else -1
    whole = np.full((len(labels), outputs), unknown, labels.dtype)
    whole[:, indices] = labels
    return whole


class _Masks:
    """Masks whose class indices are mapped to others at each access."""

    def __init__(self, masks: Any, indices: npt.NDArray[np.intp]) -> None:
        self._masks = masks
        self._index_of = np.full(256, VOID, np.uint8)
        self._index_of[: len(indices)] = indices

    def __len__(self) -> int:
        return len(self._masks)

    def __getitem__(self, index: int) -> npt.NDArray[np.uint8]:
        return self._index_of[self._masks[index]]
