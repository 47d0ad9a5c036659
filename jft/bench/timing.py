"""Seconds of steps, and what the device can do at most."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# FLOP/s of dense bfloat16 products, by a part of the device's name, from data sheets.
RATED = {
    "H200": 989e12,
    "H100": 989e12,
    "A100": 312e12,
    "TPU v6": 918e12,
    "TPU v5p": 459e12,
    "TPU v5": 197e12,
    "TPU v4": 275e12,
}


def time_in_turn(
    runs: Sequence[Callable[[], Any]],
    *,
    rounds: int,
    warm_up: int,
    seconds: float = 0.0,
) -> list[list[float]]:
    """Return the seconds of each call of each function, called in turn: A B A B.

    So what else the machine does affects all of them alike.

    Args:
        runs: Each does its work and waits for it.
        rounds: Measured rounds at least.
        warm_up: Rounds before them.
        seconds: Measure for at least as long.
    """
    found: list[list[float]] = [[] for _ in runs]
    for _ in range(warm_up):
        for run in runs:
            run()
    until = time.perf_counter() + seconds
    while len(found[0]) < rounds or time.perf_counter() < until:
        for run, times in zip(runs, found, strict=True):
            began = time.perf_counter()
            run()
            times.append(time.perf_counter() - began)
    return found


def summary(seconds: Sequence[float], images: int) -> dict[str, float]:
    """Return images per second of steps: what is typical, how it spreads.

    `p5` and `p95` are percentiles, `standard_error` that of the mean, and `a_a` the
    ratio of the medians of every other step to the steps between them: as far as it is
    from 1, so far may a difference between two rows be noise.

    Args:
        seconds: Of each step, at least two.
        images: Images per step.
    """
    rates = images / np.asarray(seconds)
    p5, median, p95 = np.percentile(rates, [5, 50, 95])
    return {
        "images_per_second": float(median),
        "p5": float(p5),
        "p95": float(p95),
        "standard_error": float(rates.std(ddof=1) / np.sqrt(len(rates))),
        "a_a": float(np.median(rates[::2]) / np.median(rates[1::2])),
        "steps": len(rates),
    }


def rated_flops(device_kind: str, dtype: str) -> float | None:
    """Return a device's FLOP/s by its data sheet; None if it is not listed here."""
    if dtype != "bfloat16":
        return None
    found = (peak for part, peak in RATED.items() if part in device_kind)
    return next(found, None)


def measured_flops(dtype: str, size: int | None = None) -> float:
    """Return the FLOP/s of a large matrix product on the first device.

    Args:
        dtype: float32 or bfloat16.
        size: Rows and columns; None is 1024 on CPU, 8192 elsewhere.
    """
    size = size or (1024 if jax.default_backend() == "cpu" else 8192)
    draw = np.random.default_rng(0).normal(size=(size, size))
    matrix = jnp.asarray(draw, dtype)
    product = jax.jit(jnp.matmul).lower(matrix, matrix).compile()
    return 2 * size**3 / _best(lambda: product(matrix, matrix))


def measured_bandwidth(megabytes: int = 256) -> float:
    """Return the bytes per second of memory, read and written, on the first device."""
    values = jnp.zeros(megabytes * 2**18, jnp.float32)
    add = jax.jit(lambda x: x + 1).lower(values).compile()
    return 2 * values.nbytes / _best(lambda: add(values))


def _best(run: Callable[[], Any]) -> float:
    """Return the shortest of several times in seconds."""
    waits = [lambda: jax.block_until_ready(run())]
    return min(time_in_turn(waits, rounds=7, warm_up=2)[0])
