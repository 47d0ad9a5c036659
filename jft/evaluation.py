"""Metrics of a model over a whole source: every example exactly once."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from jft import config as configs
from jft import metrics
from jft.data.pipeline import Batches, Examples, read
from jft.data.sources import Source, open_splits, require_readable
from jft.devices import Devices, get_devices, tune_cpu
from jft.errors import InputError
from jft.inference import Predictor
from jft.interpolate import check_share, interpolate, pretrained_variables
from jft.runlog import open_run
from jft.step import make_eval_step
from jft.tasks import Task


def evaluate_source(
    eval_step: Callable[[Any, Any], Any],
    variables: Any,
    source: Examples,
    devices: Devices,
    task: Task,
    *,
    batch_size: int,
    workers: int = 0,
) -> dict[str, Any]:
    """Return the metrics over all examples, `n` of them.

    Args:
        eval_step: From `make_eval_step`, compiled by `devices`.
        variables: Parameters and statistics, replicated by `devices`.
        source: The examples.
        devices: Where the step runs.
        task: What the step measures.
        batch_size: Examples per step; the last batch is padded with weight 0.
        workers: Processes that prepare batches.
    """
    batches = Batches(source, batch_size)
    pending = [
        eval_step(variables, devices.put(batch))
        for batch in read(batches, workers=workers)
    ]
    return metrics.collect(task, (devices.fetch(sums) for sums in pending))


def evaluate_run(
    run: str | os.PathLike[str],
    data: str | None = None,
    *,
    which: Literal["final", "best"] = "final",
    views: str = "none",
    batch_size: int = 64,
    devices: Literal["auto", "jit", "pmap"] = "auto",
) -> dict[str, Any]:
    """Return what a run's task measures: `n`, `loss`, `accuracy` and others.

    Args:
        run: The run's folder.
        data: As in `TrainConfig`, of which the test images are used; None takes what
            the run was trained on. Its classes must be among the run's.
        which: The final parameters, or those of the best epoch.
        views: Of `jft.augment.VIEWS`, over which logits are averaged.
        batch_size: Images per step.
        devices: As in `TrainConfig`.

    Raises:
        InputError: The run or the data cannot be used.
    """
    predictor, measure = _prepare(run, data, which, views, batch_size, devices)
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
            [0, 1], by `jft.interpolate`.
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
    pretrained = pretrained_variables(run)
    predictor, measure = _prepare(run, data, which, views, batch_size, devices)
    return [
        {"share": share, **measure(interpolate(pretrained, predictor.variables, share))}
        for share in shares
    ]


def _prepare(
    run: str | os.PathLike[str],
    data: str | None,
    which: Literal["final", "best"],
    views: str,
    batch_size: int,
    devices: Literal["auto", "jit", "pmap"],
) -> tuple[Predictor, Callable[[Any], dict[str, Any]]]:
    """Return a run's network, and what measures variables of it on the test images."""
    directory = open_run(run)
    tune_cpu()
    used = get_devices(devices, batch_size)
    predictor = Predictor.from_run(run, which)
    spec = data or configs.from_dict(directory.read("config.json")).data
    splits = open_splits(spec, predictor.preprocess)
    require_readable(splits)
    began = directory.read("manifest.json")["data"]["fingerprint"]
    if data is None and splits.fingerprint != began:
        raise InputError(
            f"{spec} is no longer what the run was trained on, and its test images may "
            f"have been trained on; to measure it as it is, say --data {spec}"
        )
    source = relabel(splits.test, predictor.task)
    model = predictor.model.clone(axis_name=used.axis_name)
    task = predictor.task
    step = used.compile(make_eval_step(model, task, predictor.preprocess, views))

    def measure(variables: Any) -> dict[str, Any]:
        there = used.replicate(variables)
        return evaluate_source(step, there, source, used, task, batch_size=batch_size)

    return predictor, measure


def relabel(source: Source, task: Task) -> Source:
    """Return the source with its labels counted in a task's classes.

    Raises:
        InputError: There is something else to learn in it, or it has classes that are
            not among the task's.
    """
    names = task.class_names
    if source.task != task.name:
        raise InputError(
            f"the run was trained for {task.name}, and the data is for {source.task}"
        )
    if source.class_names == names:
        return source
    strange = sorted(set(source.class_names) - set(names))
    if strange:
        raise InputError(
            f"the data has classes that the run was not trained on: "
            f"{', '.join(strange)}\nthe run's classes: {', '.join(names)}"
        )
    if task.name != "classification":
        raise InputError(
            f"the data has other outputs than the run: {', '.join(source.class_names)}"
            f"\nthe run's: {', '.join(names)}"
        )
    places = np.array([names.index(n) for n in source.class_names], np.int32)
    return dataclasses.replace(
        source, labels=places[np.asarray(source.labels)], class_names=names
    )
