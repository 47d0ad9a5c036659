"""Learning-rate range test: raise the learning rate step by step, record the loss."""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jft.data.pipeline import read
from jft.errors import InputError
from jft.step import make_train_step
from jft.tasks.sums import add
from jft.train.phases import Trainee, build_phases
from jft.train.setup import Setup

FIRST, LAST, STEPS = 1e-6, 10.0, 100
SMOOTHING = 0.9  # weight of the mean so far in the mean that is looked at
DIVERGED = 4.0  # times the lowest loss


@dataclass(frozen=True)
class RangeTest:
    """What a range test found; a point for every step until the loss diverged.

    Attributes:
        rates: Learning rates, increasing.
        losses: Training loss of each step's batch.
        smoothed: Its running mean.
        suggestion: The suggested learning rate.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    suggestion: float


def rate_at(step: Any) -> Any:
    """Return the learning rate of a step: from `FIRST` to `LAST` in equal ratios."""
    fraction = jnp.asarray(step, jnp.float32) / (STEPS - 1)
    return FIRST * (LAST / FIRST) ** fraction


def find_rate(setup: Setup) -> RangeTest:
    """Train the first phase with a rising learning rate, and discard the state.

    Source: Smith 2017, https://arxiv.org/abs/1506.01186, with the exponential rise and
    the stop of fastai's `lr_find`.

    Raises:
        InputError: The loss does not fall at any learning rate.
    """
    config, devices = setup.config, setup.devices
    trainee = Trainee(
        setup.pretrained,
        setup.task,
        devices.axis_name,
        setup.batches.steps_per_epoch,
    )
    first, *_ = build_phases(config, setup.rules.phases, trainee, learning_rate=rate_at)
    step = devices.compile(make_train_step(first.step_spec), donate=True)
    state = devices.replicate(setup.state)
    epochs = math.ceil(STEPS / setup.batches.steps_per_epoch)
    batches = dataclasses.replace(setup.batches, epochs=epochs)
    rates: list[float] = []
    losses: list[float] = []
    reader = read(batches, workers=config.workers)
    for done, batch in enumerate(itertools.islice(reader, STEPS)):
        state, sums = step(state, devices.put(batch))
        total = add({}, devices.fetch(sums))
        if not total["weight"]:
            continue  # every example of it is held out
        loss = total["loss"] / total["weight"]
        if not math.isfinite(loss):
            break
        rates.append(float(rate_at(done)))
        losses.append(loss)
        smoothed = smooth(losses)
        if smoothed[-1] > DIVERGED * min(smoothed):
            break
    smoothed = smooth(losses)
    found = rates[steepest(smoothed)]
    return RangeTest(tuple(rates), tuple(losses), tuple(smoothed), found)


def smooth(values: Sequence[float]) -> list[float]:
    """Return running means that weigh the past by `SMOOTHING`, without its start."""
    mean, means = 0.0, list[float]()
    for i, value in enumerate(values, start=1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * value
        means.append(mean / (1 - SMOOTHING**i))
    return means


def steepest(losses: Sequence[float]) -> int:
    """Return the point before the lowest loss where the loss falls fastest.

    There the learning rate helps most, well below where it does harm; fastai
    suggests this point as `steep`. The first tenth is left out, where running means are
    of few batches, and the lowest point itself.
    """
    first, lowest = len(losses) // 10, int(np.argmin(losses)) if losses else 0
    if lowest - first < 2 or losses[lowest] > 0.99 * losses[first]:
        raise InputError(
            f"the loss did not fall at any of {len(losses)} learning rates from "
            f"{FIRST:g} on: look at the data, and at what is "
            "frozen"
        )
    slopes = np.gradient(np.asarray(losses[first : lowest + 1]))
    return first + 1 + int(np.argmin(slopes[1:-1]))


def plot(found: RangeTest, path: Path) -> None:
    """Plot loss over learning rate, with the suggestion, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(found.rates, found.losses, color="0.8", label="each batch")
    axes.plot(found.rates, found.smoothed, color="C0", label="running mean")
    axes.axvline(found.suggestion, color="C3", linestyle="--")
    axes.text(
        found.suggestion,
        0.97,
        f" {found.suggestion:.2g}",
        color="C3",
        va="top",
        transform=axes.get_xaxis_transform(),
    )
    axes.set_xscale("log")
    low, high = min(found.losses), found.smoothed[0]
    axes.set_ylim(low - 0.1 * (high - low), high + 0.3 * (high - low))
    axes.set_xlabel("learning rate")
    axes.set_ylabel("training loss")
    axes.legend(loc="lower left")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
