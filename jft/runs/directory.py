"""The run directory: what was asked, what it ran on, what came of it."""

import fcntl
import hashlib
import json
import math
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from jft import config as configs
from jft.config import TrainConfig
from jft.errors import DamageError, InputError, StorageError, content
from jft.runs.environment import environment
from jft.runs.sums import (
    SUMS,
    checked_bytes,
    read_sums,
    recover,
    sha256,
    write_file,
    write_sums,
)

LOSSES = "losses.f32"
DIGESTS = "digests.jsonl"


@dataclass(frozen=True)
class RunDirectory:
    """The files of one run.

    `config.json`, `manifest.json`, `data_report.json`, `metrics.jsonl`, `losses.f32`,
    `digests.jsonl`, `result.json`, and `SHA256SUMS` of these; the folders
    `checkpoints`, `final` and `best`, which have their own.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def began(self) -> bool:
        """Whether there is anything here that another run must not touch."""
        saved = (self.path / "checkpoints").glob("[0-9]*")
        return (self.path / "result.json").exists() or any(
            step.name.isdecimal() for step in saved
        )

    def read(self, name: str) -> dict[str, Any] | None:
        """Return the object in a JSON file, or None if there is no such file.

        Raises:
            DamageError: The file is damaged.
        """
        try:
            found = json.loads(checked_bytes(self.path, name))
        except FileNotFoundError:
            return None
        except DamageError:
            raise
        except (OSError, ValueError) as error:
            raise DamageError(f"{self.path / name} is damaged: {error}") from None
        if not isinstance(found, dict):
            raise DamageError(f"{self.path / name} is damaged: it holds no JSON object")
        return cast(dict[str, Any], found)

    def value(self, name: str, *keys: str) -> Any:
        """Return what a JSON file holds under nested keys.

        Raises:
            DamageError: The file is missing or damaged, or lacks a key.
        """
        found: Any = self.read(name)
        if found is None:
            raise DamageError(f"{self.path / name} is missing")
        for key in keys:
            if not isinstance(found, dict) or key not in found:
                where = ".".join(keys)
                raise DamageError(f"{self.path / name} is damaged: it lacks {where}")
            found = cast(dict[str, Any], found)[key]
        return found

    def config(self) -> TrainConfig:
        """Return the run's configuration.

        Raises:
            DamageError: `config.json` is missing or damaged.
        """
        try:
            config = configs.from_dict(self.value("config.json"))
            configs.check(config)
        except InputError as error:
            raise DamageError(f"{self.path / 'config.json'}: {error}") from None
        return config

    def write(self, name: str, value: Any) -> None:
        """Write a JSON file whole or not at all; what is not finite becomes null."""
        self.write_text(name, json.dumps(finite(value), indent=2) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Write a UTF-8 text file whole or not at all."""
        # Names of files may hold bytes that are not UTF-8.
        self.write_bytes(name, text.encode("utf-8", "backslashreplace"))

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write a file whole or not at all, and its digest into the record."""
        sums = read_sums(self.path) if (self.path / SUMS).exists() else {}
        # Both digests, since a kill may come before the file is replaced.
        old, new = sha256(self.path / name), hashlib.sha256(content).hexdigest()
        write_sums(self.path, {**sums, name: {old, new} - {""}})
        write_file(self.path / name, content)
        write_sums(self.path, {**sums, name: {new}})

    def remove(self, name: str) -> None:
        """Remove a file and its digest."""
        (self.path / name).unlink(missing_ok=True)
        sums = read_sums(self.path)
        sums.pop(name, None)
        write_sums(self.path, sums)

    @contextmanager
    def claim(self, config: TrainConfig) -> Iterator["RunDirectory"]:
        """Hold the folder for this process, made or found to be this configuration's.

        A run that failed before its first checkpoint leaves nothing to protect: its
        folder may be used with other settings. A finished run continues, from its last
        state, if it is given more epochs; its schedule is then that of all of them.

        Raises:
            InputError: It holds another run (the message has the difference) or
                something else, cannot be written, or another process holds it.
        """
        saved = self.read("config.json") if self.path.is_dir() else None
        if saved is None and self.path.is_dir() and any(self.path.iterdir()):
            raise InputError(
                f"{self.path} is not empty and holds no run; give another --workdir"
            )
        longer = False
        if saved is not None and self.began:
            before = self.config()
            changes = configs.difference(before, config)
            finished = self.read("result.json") is not None
            alone = [change.partition(":")[0] for change in changes] == ["epochs"]
            longer = finished and alone and config.epochs > before.epochs
            if not longer:
                self._refuse("other rules", "give the saved ones to resume it", changes)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / ".lock").open("w")
        except OSError as error:
            reason = f"{self.path}: {error.strerror}; give another --workdir"
            raise StorageError(reason) from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise InputError(f"{self.path}: another process runs it") from None
            recover(self.path)
            if saved is None or not self.began or longer:
                self.write("config.json", configs.to_dict(config))
            if longer:
                self.unfinish()
            yield self

    def unfinish(self) -> None:
        """Remove the result, so that the run continues from its last checkpoint."""
        self.remove("result.json")

    def describe(self, inputs: Mapping[str, Any], devices: str) -> list[str]:
        """Write `manifest.json`: what a run began with, and each session's machine.

        Args:
            inputs: `weights` and `data` with their digests, and what else is fixed.
            devices: What this session runs on.

        Returns:
            How this session's machine differs from the last one's.

        Raises:
            DataError: The weights or the data have changed since the run began.
        """
        saved = self.read("manifest.json") if self.began else None
        sessions = self.value("manifest.json", "sessions") if saved else []
        if saved:
            digests = (("weights", "sha256"), ("data", "fingerprint"))
            pairs = {
                f"{a} {b}": (self.value("manifest.json", a, b), inputs[a][b])
                for a, b in digests
            }
            with content():
                remedy = "put them back to resume it"
                self._refuse("other inputs", remedy, changed(pairs))
        session = {"devices": devices, **environment()}
        run = saved["id"] if saved else uuid.uuid4().hex
        folder = str(self.path.absolute())
        known = {"id": run, "folder": folder, **inputs}
        known["sessions"] = [*sessions, session]
        self.write("manifest.json", known)
        if not sessions:
            return []
        decisive = ("devices", "cpu_count", "xla_flags", "versions")
        return changed({k: (sessions[-1][k], session[k]) for k in decisive})

    def _refuse(self, what: str, remedy: str, changes: Sequence[str]) -> None:
        if changes:
            lines = "\n".join(f"- {change}" for change in changes)
            raise InputError(
                f"{self.path} holds a run with {what} (saved -> given):\n{lines}\n"
                f"{remedy}, or give another --workdir"
            )

    def append_metrics(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Add lines to `metrics.jsonl`; what is not finite becomes null."""
        self._write_metrics([*self.metrics(), *records])

    def _write_metrics(self, records: Sequence[Mapping[str, Any]]) -> None:
        lines = (json.dumps(finite(record)) + "\n" for record in records)
        self.write_text("metrics.jsonl", "".join(lines))

    def metrics(self) -> list[dict[str, Any]]:
        """Return the lines of `metrics.jsonl`.

        Raises:
            DamageError: It is damaged.
        """
        return self.lines("metrics.jsonl")

    def lines(self, name: str) -> list[dict[str, Any]]:
        """Return the objects in a file of JSON lines; none if it is missing.

        Raises:
            DamageError: It is damaged.
        """
        if not (self.path / name).exists():
            return []
        lines = checked_bytes(self.path, name).splitlines()
        return [json.loads(line) for line in lines]

    def losses(self) -> npt.NDArray[np.float32]:
        """Return the summed loss of every step that has been saved, float32 [steps].

        Raises:
            DamageError: The file is damaged.
        """
        if not (self.path / LOSSES).exists():
            return np.zeros(0, np.float32)
        return np.frombuffer(checked_bytes(self.path, LOSSES), "<f4")

    def rewind(self, step: int) -> None:
        """Drop metrics later than `step`, which a resumed run computes again."""
        records = self.metrics()
        self._write_metrics([record for record in records if record["step"] <= step])


def finite(value: Any) -> Any:
    """Return the value with None for each float that JSON has no word for."""
    if isinstance(value, Mapping):
        values = cast(Mapping[str, Any], value)
        return {name: finite(inner) for name, inner in values.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in cast(Sequence[Any], value)]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def changed(pairs: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """Return a line for each name whose two values differ."""
    return [f"{name}: {a} -> {b}" for name, (a, b) in pairs.items() if a != b]


def open_run(path: str | os.PathLike[str]) -> RunDirectory:
    """Return an existing run's directory.

    Raises:
        InputError: There is no run.
        DamageError: Its config.json is missing.
    """
    if not isinstance(cast(Any, path), str | os.PathLike):
        raise InputError(f"a run is given by the path of its folder, got {path!r:.80}")
    run = RunDirectory(Path(path).expanduser())
    if not (run.path / "config.json").is_file():
        if (run.path / SUMS).is_file():
            raise DamageError(f"{run.path / 'config.json'} is missing")
        raise InputError(
            f"{path} is not a run: it has no config.json (python -m jft.train makes "
            "runs, by default in runs/)"
        )
    return run
