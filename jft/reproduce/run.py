"""Repeat a run from its folder alone, and compare the two."""

import dataclasses
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jft.errors import InputError
from jft.reproduce.compare import Comparison, compare
from jft.runs.directory import RunDirectory, open_run
from jft.runs.moved import found_data, found_weights


def compare_runs(first: str | os.PathLike[str], second: str) -> Comparison:
    """Compare two runs that there are; nothing is trained.

    Raises:
        InputError: One of them is not a run.
    """
    return compare(open_run(first), open_run(second))


def reproduce_run(
    path: str | os.PathLike[str],
    *,
    data: str | None = None,
    weights: str | None = None,
    workdir: str | None = None,
) -> Comparison:
    """Repeat a run in another folder, and compare the two to the bit.

    It runs under the XLA flags of the run, if jaxlib is of the same version. Call it
    before JAX is used, or the flags have no effect.

    Args:
        path: The run's folder.
        data: Its data, if that has moved; None looks where it was, and at the same path
            relative to the run.
        weights: Its weights, likewise.
        workdir: Folder of the new run; None is that of the run with `-again`. It
            resumes if it was interrupted.

    Raises:
        InputError: The run is not finished or used Python objects, or its data or
            weights are not found.
    """
    run = open_run(path)
    if run.read("result.json") is None:
        raise InputError(f"{run.path} is not finished: there is nothing to compare")
    manifest = run.read("manifest.json") or {}
    if manifest["not_repeatable"]:
        objects = ", ".join(manifest["not_repeatable"])
        raise InputError(f"{run.path} used Python objects: {objects}")
    _same_flags(manifest["sessions"][-1])
    name = run.path.absolute().name
    again = Path(workdir) if workdir else run.path.absolute().with_name(f"{name}-again")
    if again.absolute() == run.path.absolute():
        raise InputError("--workdir must be another folder than that of the run")
    config = dataclasses.replace(
        run.config(),
        workdir=str(again),
        data=data or found_data(run),
        weights=weights or found_weights(run),
    )
    # It imports JAX, which reads the flags once.
    from jft.train.loop import fit

    return compare(run, RunDirectory(fit(config).workdir))


def _same_flags(session: dict[str, Any]) -> None:
    # A flag that a version of XLA does not know aborts the process.
    if session["versions"]["jaxlib"] == version("jaxlib"):
        os.environ["XLA_FLAGS"] = session["xla_flags"]
