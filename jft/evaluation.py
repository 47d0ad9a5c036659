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
from jft.tasks import Classification


def evaluate_source(
    eval_step: Callable[[Any, Any], Any],
    variables: Any,
    source: Examples,
    devices: Devices,
    *,
    batch_size: int,
    workers: int = 0,
) -> dict[str, float]:
    """Return the metrics over all examples, `n` of them.

    Args:
        eval_step: From `make_eval_step`, compiled by `devices`.
        variables: Parameters and statistics, replicated by `devices`.
        source: The examples.
        devices: Where the step runs.
        batch_size: Examples per step; the last batch is padded with weight 0.
        workers: Processes that prepare batches.
    """
    batches = Batches(source, batch_size)
    pending = [
        eval_step(variables, devices.put(batch))
        for batch in read(batches, workers=workers)
    ]
    return metrics.collect(devices.fetch(sums) for sums in pending)


def evaluate_run(
    run: str | os.PathLike[str],
    data: str | None = None,
    *,
    which: Literal["final", "best"] = "final",
    batch_size: int = 64,
    devices: Literal["auto", "jit", "pmap"] = "auto",
) -> dict[str, float]:
    """Return `n`, `accuracy`, `loss` and, beyond five classes, `top5` of a run.

    Args:
        run: The run's folder.
        data: `digits` or `folder:PATH`, of which the test images are used; None takes
            what the run was trained on. Its classes must be among the run's.
        which: The final parameters, or those of the best epoch.
        batch_size: Images per step.
        devices: As in `TrainConfig`.

    Raises:
        InputError: The run or the data cannot be used.
    """
    predictor, measure = _prepare(run, data, which, batch_size, devices)
    return measure(predictor.variables)


def evaluate_shares(
    run: str | os.PathLike[str],
    shares: Sequence[float],
    data: str | None = None,
    *,
    which: Literal["final", "best"] = "final",
    batch_size: int = 64,
    devices: Literal["auto", "jit", "pmap"] = "auto",
) -> list[dict[str, float]]:
    """Return the metrics of networks between the pretrained and the fine-tuned one.

    Each is `share` and what `evaluate_run` returns, which has the other arguments too.

    Args:
        run: The run's folder.
        shares: How far each goes from the pretrained network to the fine-tuned one, in
            [0, 1], by `jft.interpolate`.
        data: Whose test images are used; None takes what the run was trained on.
        which: The final parameters, or those of the best epoch.
        batch_size: Images per step.
        devices: As in `TrainConfig`.

    Raises:
        InputError: The run, its pretrained weights, a share, or the data cannot be
            used.
    """
    for share in shares:
        check_share(share)
    pretrained = pretrained_variables(run)
    predictor, measure = _prepare(run, data, which, batch_size, devices)
    return [
        {"share": share, **measure(interpolate(pretrained, predictor.variables, share))}
        for share in shares
    ]


def _prepare(
    run: str | os.PathLike[str],
    data: str | None,
    which: Literal["final", "best"],
    batch_size: int,
    devices: Literal["auto", "jit", "pmap"],
) -> tuple[Predictor, Callable[[Any], dict[str, float]]]:
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
    source = relabel(splits.test, predictor.class_names)
    model = predictor.model.clone(axis_name=used.axis_name)
    step = used.compile(make_eval_step(model, Classification(), predictor.preprocess))

    def measure(variables: Any) -> dict[str, float]:
        there = used.replicate(variables)
        return evaluate_source(step, there, source, used, batch_size=batch_size)

    return predictor, measure


def relabel(source: Source, class_names: tuple[str, ...]) -> Source:
    """Return the source with its labels counted in `class_names`.

    Raises:
        InputError: The source has classes that are not among them.
    """
    if source.class_names == class_names:
        return source
    strange = sorted(set(source.class_names) - set(class_names))
    if strange:
        raise InputError(
            f"the data has classes that the run was not trained on: "
            f"{', '.join(strange)}\nthe run's classes: {', '.join(class_names)}"
        )
    places = np.array([class_names.index(n) for n in source.class_names], np.int32)
    return dataclasses.replace(
        source, labels=places[source.labels], class_names=class_names
    )
