"""What a run was made from, found again after the run has moved with it."""

import os
from pathlib import Path
from typing import Any

from jft.runs.directory import RunDirectory


def found_data(run: RunDirectory) -> str:
    """Return the data of a run, as in `TrainConfig`, with the path where it is now.

    A path that is gone is looked for in the working folder of the run, then at the same
    path relative to the run's folder; unchanged if it is at neither.
    """
    text = run.config().data
    scheme, colon, rest = text.partition(":")
    path, question, options = rest.partition("?")
    return f"{scheme}{colon}{_now(run, path)}{question}{options}" if path else text


def found_weights(run: RunDirectory) -> str:
    """Return the weights of a run, likewise; a name is as it was."""
    path, question, key = run.config().weights.partition("?key=")
    return f"{_now(run, path)}{question}{key}"


def _now(run: RunDirectory, text: str) -> str:
    if os.path.exists(os.path.expanduser(text)):
        return text
    manifest: dict[str, Any] = run.read("manifest.json") or {}
    if not manifest.get("sessions"):
        return text
    before = os.path.join(manifest["sessions"][-1]["working_folder"], text)
    relative = os.path.relpath(before, manifest["folder"])
    candidates = (before, os.path.normpath(run.path.absolute() / relative))
    return next((str(c) for c in candidates if Path(c).exists()), text)
