"""WiSE-FT: networks between the pretrained and the fine-tuned one of a run."""

import os
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax.core import FrozenDict

from jft import tree
from jft.devices import start_jax
from jft.errors import DataError, InputError
from jft.models import configured
from jft.models.own import PREFIX
from jft.runs.directory import RunDirectory, open_run
from jft.runs.moved import found_weights
from jft.tasks import Task
from jft.weights.find import RANDOM, find_weights
from jft.weights.opened import Opened, open_weights
from jft.weights.pretrained import build


def interpolate(
    pretrained: Mapping[str, Any], tuned: FrozenDict[str, Any], alpha: float
) -> FrozenDict[str, Any]:
    """Return `(1 - alpha) * pretrained + alpha * tuned`, variable by variable.

    The method is weight-space ensembling (Wortsman et al. 2021, "Robust fine-tuning of
    zero-shot models", https://arxiv.org/abs/2109.01903): on images unlike those of the
    fine-tuning, a network between the two is often better than either.

    Variables that were not pretrained, such as a new head, keep their fine-tuned
    values: their initial values are random.

    Batch statistics are interpolated like parameters, as in the paper's code, which
    interpolates whole state dicts. The true statistics of a network with averaged
    weights differ from the averages of the statistics (Izmailov et al. 2018,
    https://arxiv.org/abs/1803.05407, recompute them), so an alpha between may be worse
    than both ends: `python -m jft.evaluate RUN --interpolate 0 0.25 0.5 0.75 1`
    measures it.

    Args:
        pretrained: The initial variables by '/'-joined name, from
            `pretrained_variables`.
        tuned: The run's {"params": ..., "batch_stats": ...}, float32.
        alpha: In [0, 1]: 0 is the pretrained network with the fine-tuned head, 1 the
            fine-tuned network, both to the bit. Variables that are equal in both, such
            as frozen ones, are the same to the bit for every alpha.
    """
    check_alpha(alpha)
    mixed = {
        name: _between(pretrained[name], leaf, alpha) if name in pretrained else leaf
        for name, leaf in tree.flatten(tuned).items()
    }
    return FrozenDict(tree.unflatten(jax.device_put(mixed)))


def check_alpha(alpha: float) -> None:
    """Check that alpha is in [0, 1]."""
    if not 0 <= alpha <= 1:
        raise InputError(
            f"alpha (fraction of the fine-tuned network) must be in [0, 1], got {alpha}"
        )


def _between(pretrained: Any, tuned: Any, alpha: float) -> Any:
    # At the ends, 0 * x + y would turn a y of -0.0 into 0.0.
    if alpha in (0, 1):
        return tuned if alpha else pretrained
    # In float64, since (1 - alpha) * x + alpha * x is x again once it is rounded to
    # float32; in float32 itself it is not.
    mixed = np.multiply(pretrained, 1 - alpha, dtype=np.float64)
    mixed += np.multiply(tuned, alpha, dtype=np.float64)
    return mixed.astype(np.float32)


def pretrained_variables(
    run: str | os.PathLike[str], task: Task, weights: str | None = None
) -> dict[str, jax.Array]:
    """Return what a run took from its pretrained weights, by '/'-joined name, float32.

    What the run initialised itself is left out.

    Args:
        run: The run's folder. It need not be finished.
        task: What the run learns; a head for numbers is converted to its
            standardisation.
        weights: The weights, if they have moved; None looks where they were, and at the
            same path relative to the run.

    Raises:
        InputError: It is not a run, or it started from random weights, or its weights
            are gone or have changed.
    """
    directory = open_run(run)
    start_jax()
    config = directory.config()
    if str(config.model.name).startswith(PREFIX):
        raise InputError(
            f"{run} trained a Flax module from Python: its folder does not hold the "
            "initial values to interpolate from"
        )
    if config.weights == RANDOM:
        raise InputError(
            f"{run} started from random weights: there is no pretrained network to "
            "interpolate from"
        )
    began = directory.value("manifest.json", "weights")
    opened = _open_again(directory, weights)
    if opened.sha256 != began["sha256"]:
        raise DataError(
            f"{opened.source} is not the file that {run} started from: its "
            f"sha256 is {opened.sha256}, and was {began['sha256']}"
        )
    spec = configured(opened.network(config.model))
    built = build(
        opened,
        spec,
        opened.preprocess_for(spec, config.image_size, config.crop, config.model),
        len(task.class_names),
        class_names=task.class_names,
        task=task,
        stem_init=config.model.stem_init,
    )
    flat = tree.flatten(built.variables)
    kept = set(built.report.loaded) - set(began["reinitialised"])
    return {name: leaf for name, leaf in flat.items() if name in kept}


def _open_again(run: RunDirectory, weights: str | None) -> Opened:
    try:
        return open_weights(find_weights(weights or found_weights(run)))
    except InputError as error:
        raise type(error)(
            f"the weights that {run.path} started from cannot be read: {error}; if "
            "they have moved, give --weights"
        ) from None
