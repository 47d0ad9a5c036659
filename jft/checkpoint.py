"""Saving and restoring through Orbax, with digests of our own.

Orbax notices missing and truncated files, but a flipped bit in an array comes back
as a wrong value without a word, hence the digests (tests/test_loop.py: damaged).
"""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from flax import serialization
from flax.core import FrozenDict

from jft import tree
from jft.config import ModelConfig
from jft.errors import InputError
from jft.models import ModelSpec, configured
from jft.models.network import Network
from jft.models.variants import Decoder
from jft.preprocess import Preprocess
from jft.step import TrainState

KEEP = 2  # the newest, and one to fall back on should that be damaged

CHANGED = "its bytes are not those that were saved"


def state_digest(state: TrainState) -> str:
    """Return the hex sha256 of everything in the state, names and bytes."""
    return tree.digest(serialization.to_state_dict(state))


class Checkpoints:
    """The states of an unfinished run, newest first.

    Args:
        folder: Where they lie, one folder a step.
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
        """Start saving a state that lies on the host, and return while it goes on.

        Args:
            state: The state, as NumPy arrays.
            progress: What the loop needs beside it; JSON.
        """
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
            InputError: There are checkpoints, but every one is damaged.
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
            raise InputError(
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
            raise InputError(CHANGED)
        return saved["state"], progress

    def close(self) -> None:
        """Wait for saves under way."""
        self._manager.wait_until_finished()
        self._manager.close()


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What stands beside saved variables, so that predict needs nothing else.

    Attributes:
        model: Name of the network in `jft.models.MODELS`.
        width: Channels of its first stage; None is its own.
        pooled_head: Whether a VGG's hidden layers are left out.
        decoder: What makes a map of classes out of its features.
        task: What it has learned, from `jft.tasks.to_dict`.
        class_names: What the head's outputs are called.
        preprocess: How pixels become its input.
        digest: Hex sha256 of the variables, from `tree.digest`.
    """

    model: str
    width: int | None
    pooled_head: bool
    decoder: Literal["auto"] | Decoder
    task: dict[str, Any]
    class_names: tuple[str, ...]
    preprocess: Preprocess
    digest: str

    @property
    def network(self) -> ModelConfig:
        """The network, as a configuration asks for it."""
        return ModelConfig(
            name=self.model,
            width=self.width,
            pooled_head=self.pooled_head,
            decoder=self.decoder,
        )


def save_model(folder: Path, variables: FrozenDict[str, Any], card: ModelCard) -> None:
    """Save parameters and statistics with their card; a kill leaves the old or new."""
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save((part / "variables").absolute(), variables)
    (part / "model.json").write_text(json.dumps(asdict(card), indent=2) + "\n")
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(part, folder)
    shutil.rmtree(old, ignore_errors=True)


def load_card(folder: Path) -> ModelCard:
    """Return the card of a saved model.

    Raises:
        InputError: There is no model, or its card is damaged.
    """
    try:
        values = json.loads((folder / "model.json").read_text())
        preprocess = Preprocess.from_dict(values.pop("preprocess"))
        names = tuple(values.pop("class_names"))
        return ModelCard(preprocess=preprocess, class_names=names, **values)
    except FileNotFoundError:
        raise InputError(
            f"{folder} holds no saved model: the run has not got that far"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder / 'model.json'} is damaged: {error}") from None


@dataclass(frozen=True)
class SavedModel:
    """A model that `save_model` saved.

    Attributes:
        card: What it says of itself.
        spec: The network.
        model: Its Flax module.
        variables: Parameters and statistics.
    """

    card: ModelCard
    spec: ModelSpec
    model: Network
    variables: FrozenDict[str, Any]


def load_model(folder: Path) -> SavedModel:
    """Return the model that `save_model` saved.

    Raises:
        InputError: There is none, or it is damaged.
    """
    card = load_card(folder)
    spec = configured(card.network)
    model = spec.build(len(card.class_names))
    size = card.preprocess.size
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    like = FrozenDict(jax.eval_shape(model.init, jax.random.key(0), image))
    return SavedModel(card, spec, model, load_variables(folder, like, card))


def load_variables(folder: Path, like: Any, card: ModelCard) -> FrozenDict[str, Any]:
    """Return the variables that `save_model` saved.

    Args:
        folder: Where they lie.
        like: Their shapes and dtypes.
        card: Their card, for its digest.

    Raises:
        InputError: They are damaged.
    """
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            saved = checkpointer.restore((folder / "variables").absolute(), like)
    # Orbax raises errors of many kinds for damaged files.
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{folder} is damaged: {reason}") from None
    if tree.digest(saved) != card.digest:
        raise InputError(f"{folder} is damaged: {CHANGED}")
    return FrozenDict(saved)
