"""The checkpoints of an unfinished run, through Orbax, with digests of our own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from flax import serialization

from jft import tree
from jft.errors import DamageError
from jft.runs.saved import CHANGED, require_space
from jft.step import TrainState

KEEP = 2  # the newest, and one to fall back on should that be damaged


def state_digest(state: TrainState) -> str:
    """Return the hex sha256 of everything in the state, names and bytes."""
    return tree.digest(serialization.to_state_dict(state))


class Checkpoints:
    """The states of an unfinished run, newest first.

    Args:
        folder: The folder that contains them, one subfolder per step.
    """

    def __init__(self, folder: Path) -> None:
        """Open the folder, removing what an interrupted save has left there."""
        self._manager = ocp.CheckpointManager(
            folder.absolute(),
            options=ocp.CheckpointManagerOptions(
                max_to_keep=KEEP, cleanup_tmp_directories=True
            ),
        )

    def save(self, state: TrainState, progress: dict[str, Any]) -> None:
        """Start saving a state on the host, and return before it is saved.

        Args:
            state: The state, as NumPy arrays.
            progress: What the loop needs beside it; JSON.

        Raises:
            StorageError: The disk has no space for it.
        """
        require_space(Path(self._manager.directory), state)
        record = {**progress, "digest": state_digest(state)}
        saved = self._manager.save(
            int(state.step),
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state),
                progress=ocp.args.JsonSave(record),
            ),
        )
        if not saved:
            raise AssertionError(f"Orbax did not save step {int(state.step)}")

    def restore(
        self, like: Callable[[int], TrainState]
    ) -> tuple[TrainState, dict[str, Any]] | None:
        """Return the newest sound state and its progress; None if there is no state.

        Damaged states that are newer are deleted: Orbax would keep them and drop what
        is saved after, since that has a lower step.

        Args:
            like: Gives, for a step, a state of the same structure, shapes and dtypes.

        Raises:
            DamageError: There are checkpoints, but every one is damaged.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        damage: list[str] = []
        for step in steps:
            try:
                found = self._restore_step(step, like(step))
            # Orbax raises errors of many kinds for damaged files.
            except Exception as error:
                reason = str(error).partition("\n")[0]
                damage.append(f"- step {step}: {reason}")
                continue
            for newer in (s for s in steps if s > step):
                self._manager.delete(newer)
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
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        saved = self._manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(abstract),
                progress=ocp.args.JsonRestore(),
            ),
        )
        progress = dict(saved["progress"])
        if state_digest(saved["state"]) != progress.pop("digest"):
            raise DamageError(CHANGED)
        return saved["state"], progress

    def __enter__(self) -> "Checkpoints":
        """Return the checkpoints, to be closed at the end of the `with` block."""
        return self

    def __exit__(self, *error: object) -> None:
        """Wait for saves under way."""
        self._manager.wait_until_finished()
        self._manager.close()
