"""Metrics of a model over a whole source: every example exactly once."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from jft import config as configs
from jft.augment import check_views
from jft.data.sources import Source, open_splits, require_readable
from jft.devices import get_devices, tune_cpu
from jft.errors import InputError
from jft.evaluate.source import evaluate_source
from jft.predict.interpolate import check_share, interpolate, pretrained_variables
from jft.predict.predictor import Predictor
from jft.runs.directory import open_run
from jft.step import make_eval_step
from jft.tasks import Task
from jft.types import VOID


def evaluate_run(
    run: str | os.PathLike[str],
    data: str | None = None,
    *,
    which: Literal["final", "best"] = "final",
    views: str = "none",
    batch_size: int = 64,
    devices: Literal["auto", "jit", "pmap"] = "auto",
) -> dict[str, Any]:
    """Return what a run's task measures: `n`, `loss`, the score and others by name.

    `score` says which is the score: accuracy, mAP, mIoU or r2.

    Args:
        run: The run's folder.
        data: As in `TrainConfig`, of which the test images are used; None takes what
            the run was trained on. What there is to learn must be the same, its names
            among the run's, in any order; see `relabel`.
        which: The final parameters, or those of the best epoch.
        views: Of `jft.augment.VIEWS`, over which logits are averaged.
        batch_size: Images per step.
        devices: As in `TrainConfig`.

    Raises:
        InputError: The run or the data cannot be used.
    """
    predictor = _load(run, which)
    measure = _measure(run, predictor, data, views, batch_size, devices)
    return measure(predictor.variables)


def evaluate_shares(
    run: str | os.PathLike[str],
    shares: Sequence[float],
    data: str | None = None,
    *,
    which: Literal["final", "best"] = "final",
    views: str = "none",
    batch_size: int = 64,
    devices: Literal["auto", "jit", "pmap"] = "auto",
) -> list[dict[str, Any]]:
    """Return the metrics of networks between the pretrained and the fine-tuned one.

    Each is `share` and what `evaluate_run` returns, which has the other arguments too.

    Args:
        run: The run's folder.
        shares: How far each goes from the pretrained network to the fine-tuned one, in
            [0, 1], by `jft.predict.interpolate`.
        data: Whose test images are used; None takes what the run was trained on.
        which: The final parameters, or those of the best epoch.
        views: Of `jft.augment.VIEWS`, over which logits are averaged.
        batch_size: Images per step.
        devices: As in `TrainConfig`.

    Raises:
        InputError: The run, its pretrained weights, a share, or the data cannot be
            used.
    """
    for share in shares:
        check_share(share)
    predictor = _load(run, which)
    pretrained = pretrained_variables(run)
    measure = _measure(run, predictor, data, views, batch_size, devices)
    return [
        {"share": share, **measure(interpolate(pretrained, predictor.variables, share))}
        for share in shares
    ]


def _load(run: str | os.PathLike[str], which: Literal["final", "best"]) -> Predictor:
    """Return a run's network; nothing before this may start JAX."""
    tune_cpu()
    return Predictor.from_run(run, which)


def _measure(
    run: str | os.PathLike[str],
    predictor: Predictor,
    data: str | None,
    views: str,
    batch_size: int,
    devices: Literal["auto", "jit", "pmap"],
) -> Callable[[Any], dict[str, Any]]:
    """Return what measures variables of a run's network on the test images."""
    check_views(views)
    used = get_devices(devices)
    configs.check_batch(batch_size, len(used.devices))
    directory, task = open_run(run), predictor.task
    spec = data or directory.config().data
    splits = open_splits(spec, predictor.preprocess)
    require_readable(splits)
    if data is None and splits.fingerprint != directory.value(
        "manifest.json", "data", "fingerprint"
    ):
        raise InputError(
            f"{spec} is no longer what the run was trained on, and its test images may "
            f"have been trained on; to measure it as it is, say --data {spec}"
        )
    source = relabel(splits.test, task)
    model = predictor.model.clone(axis_name=used.axis_name)
    step = used.compile(make_eval_step(model, task, predictor.preprocess, views))

    def measure(variables: Any) -> dict[str, Any]:
        there = used.replicate(variables)
        found = evaluate_source(step, there, source, used, task, batch_size=batch_size)
        return {"score": task.score, **found}

    return measure


def relabel(source: Source, task: Task) -> Source:
    """Return the source with its labels at the places that a task has for their names.

    A class that only the task has is in no image; labels and numbers that only the
    task has are unknown.

    Raises:
        InputError: There is something else to learn in it, or it has names that are
            not among the task's.
    """
    names, labels = task.class_names, source.labels
    if source.task != task.name:
        raise InputError(
            f"the run was trained for {task.name}, and the data is for {source.task}"
        )
    if source.class_names == names:
        return source
    what, strange = task.outputs, set(source.class_names) - set(names)
    if strange:
        raise InputError(
            f"the data has {what} that the run was not trained on: "
            f"{', '.join(sorted(strange))}\nthe run's {what}: {', '.join(names)}"
        )
    places = np.array([names.index(name) for name in source.class_names])
    if task.dense:
        placed: Any = _Masks(labels, places)
    else:
        placed = _placed(np.asarray(labels), places, len(names))
    return dataclasses.replace(source, labels=placed, class_names=names)


def _placed(
    labels: npt.NDArray[Any], places: npt.NDArray[np.intp], outputs: int
) -> npt.NDArray[Any]:
    """Return labels [N] or [N, K] as those of so many outputs, in the same dtype."""
    if labels.ndim == 1:
        return places.astype(labels.dtype)[labels]
    unknown = np.nan if labels.dtype.kind == "f" else -1
    whole = np.full((len(labels), outputs), unknown, labels.dtype)
    whole[:, places] = labels
    return whole


class _Masks:
    """Masks whose classes get other places when one is read; indexed like them."""

    def __init__(self, masks: Any, places: npt.NDArray[np.intp]) -> None:
        self._masks = masks
        self._place_of = np.full(256, VOID, np.uint8)
        self._place_of[: len(places)] = places

    def __len__(self) -> int:
        return len(self._masks)

    def __getitem__(self, index: int) -> npt.NDArray[np.uint8]:
        return self._place_of[self._masks[index]]
