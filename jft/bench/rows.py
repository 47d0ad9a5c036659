"""The rows of a benchmark: each case measured, or the reason why it could not be."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any, Literal

import jax

from jft.bench.case import Case, Prepared, build_case
from jft.bench.timing import (
    measured_flops,
    rated_flops,
    summary,
    time_in_turn,
)
from jft.errors import InputError


@dataclasses.dataclass(frozen=True)
class Rules:
    """How cases are measured.

    Attributes:
        steps: Measured steps at least.
        warm_up: Steps before them.
        seconds: Measure each case for at least as long.
        parts: Also measure the forward pass, and forward and backward, alone.
    """

    steps: int = 20
    warm_up: int = 3
    seconds: float = 0.0
    parts: bool = True


def cases(
    models: Sequence[str],
    batch_sizes: Sequence[int],
    freezes: Sequence[str],
    dtypes: Sequence[Literal["float32", "bfloat16"]],
    devices: Sequence[Literal["auto", "jit", "pmap"]],
    image_size: int | None,
) -> list[Case]:
    """Return every combination, the batch size changing last."""
    return [
        Case(model, batch_size, freeze, dtype, kind, image_size)
        for model, freeze, dtype, kind, batch_size in itertools.product(
            models, freezes, dtypes, devices, batch_sizes
        )
    ]


def measure(wanted: Sequence[Case], rules: Rules) -> Iterator[dict[str, Any]]:
    """Yield a row for each case, as JSON values.

    A case that does not fit into memory is a row with its `error`; the next smaller
    batch is measured after it.

    Raises:
        InputError: A case is not a valid configuration.
    """
    peaks: dict[str, float] = {}
    waiting = list(wanted)
    while waiting:
        case = waiting.pop(0)
        try:
            yield _row(case, rules, peaks)
        except (jax.errors.JaxRuntimeError, MemoryError) as error:
            message = str(error).partition("\n")[0]
            if "RESOURCE_EXHAUSTED" not in message and not isinstance(
                error, MemoryError
            ):
                raise
            yield {**dataclasses.asdict(case), "error": f"out of memory: {message}"}
            smaller = dataclasses.replace(case, batch_size=case.batch_size // 2)
            if smaller.batch_size and smaller not in waiting:
                waiting.insert(0, smaller)


def _row(case: Case, rules: Rules, peaks: dict[str, float]) -> dict[str, Any]:
    prepared = build_case(case)
    runs: list[Callable[[], Any]] = [prepared.step]
    if rules.parts and prepared.forward and prepared.gradients:
        runs += [prepared.forward, prepared.gradients]
    seconds, *parts = time_in_turn(
        runs, rounds=rules.steps, warm_up=rules.warm_up, seconds=rules.seconds
    )
    whole = median(seconds)
    if case.dtype not in peaks:
        peaks[case.dtype] = measured_flops(case.dtype)
    row = {
        **dataclasses.asdict(case),
        "image_size": prepared.size,
        "device": prepared.devices,
        **summary(seconds, case.batch_size),
        "seconds_per_step": whole,
        "compile_seconds": prepared.compile_seconds,
        "flops": prepared.flops,
        "bytes": prepared.bytes,
        "peak_flops": peaks[case.dtype],
        **_use(prepared, whole, peaks[case.dtype], case.dtype),
    }
    if parts:
        # Differences of medians: the rest is metrics and optimizer.
        forward, both = map(median, parts)
        row |= {"forward": forward, "backward": both - forward, "rest": whole - both}
    return row


def _use(
    prepared: Prepared, seconds: float, peak: float, dtype: str
) -> dict[str, float | None]:
    """Return the model FLOPs utilisation, of the measured and of the rated peak."""
    speed = prepared.flops / seconds
    rated = rated_flops(jax.devices()[0].device_kind, dtype)
    return {"mfu": speed / peak, "mfu_rated": speed / rated if rated else None}


def check(wanted: Sequence[Case]) -> None:
    """Check the names in cases before the first is compiled.

    Raises:
        InputError: There are no cases, or one names no network.
    """
    from jft.models import get_model

    if not wanted:
        raise InputError("there is nothing to measure: give --models and --batch-size")
    for case in wanted:
        get_model(case.model)
        if case.batch_size < 1:
            raise InputError(f"--batch-size must be at least 1, got {case.batch_size}")
