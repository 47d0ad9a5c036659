"""Check the files of a run: that they are complete, its own, and as they were saved."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jft.errors import DamageError
from jft.runs.directory import RunDirectory, open_run
from jft.runs.sums import damaged, read_sums


@dataclass(frozen=True)
class Verdict:
    """What `verify_run` found.

    Attributes:
        files: Number of files whose digest was computed.
        damage: A line for each folder or file that is damaged, missing, or of
            another run.
    """

    files: int
    damage: list[str]


def verify_run(path: str | os.PathLike[str]) -> Verdict:
    """Compare every file of a run with the sha256 that was written when it was saved.

    Not covered are files that jft does not read again: pictures and exported weights.

    Args:
        path: The run's folder; the run need not be finished.

    Raises:
        InputError: There is no run.
        DamageError: `config.json` is missing.
    """
    run = open_run(path)
    folders = {"": run.path, **{f.name: f for f in _models(run.path)}}
    folders |= {f"checkpoints/{f.name}": f for f in _checkpoints(run.path)}
    lines: list[str] = []
    for name, folder in folders.items():
        if files := damaged(folder):
            lines.append(_told(folder, name, files))
    if not lines:
        lines += _strangers(run)
    count = sum(len(_listed(folder)) + 1 for folder in folders.values())
    return Verdict(count, lines)


def _models(run: Path) -> list[Path]:
    return [run / name for name in ("final", "best") if (run / name).is_dir()]


def _checkpoints(run: Path) -> list[Path]:
    steps = [path for path in run.glob("checkpoints/*") if path.name.isdecimal()]
    return sorted(steps, key=lambda path: int(path.name))


def _listed(folder: Path) -> set[str]:
    try:
        return set(read_sums(folder))
    except DamageError:
        return set()


def _told(folder: Path, name: str, files: list[str]) -> str:
    """Return a line about damaged files; of saved arrays, with the damaged tensors."""
    if not name:
        return f"{folder} is damaged: {', '.join(files)}"
    # It imports JAX, which takes a second.
    from jft.runs.arrays import damage

    return damage(folder, "state" if "/" in name else "variables", files)


def _strangers(run: RunDirectory) -> Iterator[str]:
    """Yield a line for each folder that is sound, but not the one this run saved."""
    for folder in _checkpoints(run.path):
        progress = json.loads((folder / "progress.json").read_text())
        mine = run.value("manifest.json", "id"), int(folder.name)
        if (progress["run"], progress["step"]) != mine:
            yield f"{folder} is of another run or step"
    result = run.read("result.json")
    if result is None:
        return
    digests: dict[str, Any] = {
        "final": result["params_digest"],
        "best": result["best"]["params_digest"],
    }
    for name, digest in digests.items():
        folder = run.path / name
        if not folder.is_dir():
            yield f"{folder} is missing"
        elif json.loads((folder / "model.json").read_text())["digest"] != digest:
            yield f"{folder} is not the model that result.json is about"
