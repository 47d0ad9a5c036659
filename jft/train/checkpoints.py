"""The checkpoints of an unfinished run: a folder for each of the newest steps."""

import json
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from jft.errors import DamageError
from jft.runs.arrays import load_arrays, require_space, save_arrays
from jft.runs.sums import recover, replacing
from jft.step import TrainState

KEEP = 2  # the newest, and one to fall back on should that be damaged
PROGRESS = "progress.json"


class Checkpoints:
    """The states of an unfinished run, newest first.

    Args:
        folder: The folder that contains them, one subfolder per step.
        run: Identifies the run; the checkpoints of another one are refused.
    """

    def __init__(self, folder: Path, run: str) -> None:
        """Open the folder, removing what an interrupted save has left there."""
        folder.mkdir(exist_ok=True)
        recover(folder)
        self._folder, self._run = folder, run
        self._saver = ThreadPoolExecutor(1, "jft-save")
        self._saving: Future[None] | None = None

    def save(self, state: TrainState, progress: dict[str, Any]) -> None:
        """Start saving a state, and return before it is saved.

        Args:
            state: The state, as NumPy arrays on the host, which nobody changes.
            progress: What the loop needs beside it; JSON.

        Raises:
            StorageError: The disk has no space for it, or the save before has failed.
        """
        self.wait()
        require_space(self._folder, state)
        mark = {"run": self._run, "step": int(state.step)}
        record = json.dumps({**mark, **progress}, indent=1) + "\n"
        self._saving = self._saver.submit(self._write, state, record)

    def wait(self) -> None:
        """Wait until the save under way is on the disk.

        Raises:
            StorageError: It cannot be written.
        """
        saving, self._saving = self._saving, None
        if saving:
            saving.result()

    def _write(self, state: TrainState, record: str) -> None:
        with replacing(self._folder / str(int(state.step))) as part:
            (part / PROGRESS).write_text(record)
            save_arrays(part, "state", state)
        for step in self._steps()[KEEP:]:
            shutil.rmtree(self._folder / str(step), ignore_errors=True)

    def _steps(self) -> list[int]:
        names = [path.name for path in self._folder.iterdir()]
        return sorted((int(name) for name in names if name.isdecimal()), reverse=True)

    def restore(
        self, like: Callable[[int], TrainState]
    ) -> tuple[TrainState, dict[str, Any]] | None:
        """Return the newest sound state and its progress; None if there is no state.

        Damaged states that are newer are deleted: they would be kept as the newest.

        Args:
            like: Gives, for a step, a state of the same structure, shapes and dtypes.

        Raises:
            DamageError: There are checkpoints, but every one is damaged.
        """
        steps = self._steps()
        damage: list[str] = []
        for step in steps:
            try:
                found = self._restore_step(step, like(step))
            except DamageError as error:
                damage.append(f"- {error}")
                continue
            for newer in (s for s in steps if s > step):
                shutil.rmtree(self._folder / str(newer))
            return found
        if damage:
            raise DamageError(
                "every checkpoint of this run is damaged; delete its folder to begin "
                "again:\n" + "\n".join(damage)
            )
        return None

    def _restore_step(
        self, step: int, like: TrainState
    ) -> tuple[TrainState, dict[str, Any]]:
        folder = self._folder / str(step)
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        state = load_arrays(folder, "state", abstract)
        progress = json.loads((folder / PROGRESS).read_text())
        if (progress.pop("run"), progress.pop("step")) != (self._run, step):
            raise DamageError(f"{folder} is of another run or step")
        return state, progress

    def __enter__(self) -> "Checkpoints":
        """Return the checkpoints, to be closed at the end of the `with` block."""
        return self

    def __exit__(self, *error: object) -> None:
        """Wait for the save under way."""
        self._saver.shutdown()
        self.wait()
