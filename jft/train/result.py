"""What a finished run leaves: its metrics, and where it is."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from jft.runs.directory import RunDirectory


@dataclass(frozen=True)
class Result:
    """A finished run.

    Attributes:
        workdir: The run's folder.
        score: Name of the metric that is better the higher: accuracy, mAP, mIoU or r2.
        metrics: The final parameters on the test images: their number `n`, their
            `weight` if it differs from `n`, the mean `loss`, the score, and the other
            metrics of the task.
        params_digest: Hex sha256 over the final parameters and statistics.
        seconds: Time spent, over all sessions of the run.
        history: The records of `metrics.jsonl`, two per epoch: `split` is train or
            test. `pandas.DataFrame(result.history)` is a table of them.
    """

    workdir: Path
    score: str
    metrics: Mapping[str, Any]
    params_digest: str
    seconds: float
    history: list[dict[str, Any]] = field(
        default_factory=list[dict[str, Any]], repr=False
    )


def result_of(directory: RunDirectory, record: dict[str, Any]) -> Result:
    """Return the result that `result.json` holds."""
    own = ("score", "params_digest", "seconds")
    metrics = {n: v for n, v in record.items() if n not in (*own, "best")}
    return Result(
        workdir=directory.path,
        metrics=_from_json(metrics),
        history=_from_json(directory.metrics()),
        **{name: directory.value("result.json", name) for name in own},
    )


def _from_json(value: Any) -> Any:
    """Return metrics with NaN where JSON has null."""
    if isinstance(value, dict):
        values = cast(dict[str, Any], value)
        return {name: _from_json(inner) for name, inner in values.items()}
    if isinstance(value, list):
        return [_from_json(inner) for inner in cast(list[Any], value)]
    return math.nan if value is None else value
