"""Saving and restoring through Orbax, with digests of our own.

Orbax notices missing and truncated files, but a flipped bit in an array comes back
as a wrong value without an error, hence the digests
(tests/train/test_loop.py: damaged).
"""

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from shutil import disk_usage
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from flax.core import FrozenDict

from jft import tree
from jft.config import ModelConfig
from jft.console.text import size
from jft.errors import DamageError, InputError, StorageError
from jft.models import ModelSpec, configured
from jft.models.network import Network
from jft.preprocess import Preprocess

CHANGED = "its bytes are not those that were saved"


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What is saved beside variables, so that predict needs nothing else.

    Attributes:
        model: The network, as a configuration asks for it.
        task: What it has learned, from `jft.tasks.to_dict`.
        class_names: What the head's outputs are called.
        preprocess: How pixels become its input.
        digest: Hex sha256 of the variables, from `tree.digest`.
    """

    model: ModelConfig
    task: dict[str, Any]
    class_names: tuple[str, ...]
    preprocess: Preprocess
    digest: str


def require_space(folder: Path, saved: Any) -> None:
    """Check that the disk has space for a tree of arrays before Orbax writes it.

    Orbax itself ends a full disk with hundreds of lines from its threads.

    Args:
        folder: An existing folder on the disk.
        saved: The arrays. Orbax adds less than a megabyte of metadata.

    Raises:
        StorageError: There is too little space.
    """
    needed = sum(leaf.nbytes for leaf in jax.tree.leaves(saved)) + 2**20
    free = disk_usage(folder).free
    if free < needed:
        raise StorageError(
            f"the disk of {folder} is full: saving needs {size(needed)}, and "
            f"{size(free)} are free. Make room; the same command then resumes"
        )


def save_model(folder: Path, variables: FrozenDict[str, Any], card: ModelCard) -> None:
    """Save parameters and statistics with their card; a kill leaves the old or new."""
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    require_space(folder.parent, variables)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save((part / "variables").absolute(), variables)
    (part / "model.json").write_text(json.dumps(asdict(card), indent=2) + "\n")
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(part, folder)
    shutil.rmtree(old, ignore_errors=True)


def copy_model(folder: Path, name: str) -> str:
    """Save a model again beside its folder, under another name; return its digest.

    Raises:
        DamageError: It is damaged.
    """
    saved = load_model(folder)
    save_model(folder.with_name(name), saved.variables, saved.card)
    return saved.card.digest


def load_card(folder: Path) -> ModelCard:
    """Return the card of a saved model.

    Raises:
        InputError: There is no model, or its card is damaged.
    """
    try:
        values = json.loads((folder / "model.json").read_text())
        preprocess = Preprocess.from_dict(values.pop("preprocess"))
        names = tuple(values.pop("class_names"))
        model = ModelConfig(**values.pop("model"))
        return ModelCard(
            model=model, preprocess=preprocess, class_names=names, **values
        )
    except FileNotFoundError:
        raise InputError(
            f"{folder} has no saved model: run the same command again to finish the run"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamageError(f"{folder / 'model.json'} is damaged: {error}") from None


@dataclass(frozen=True)
class SavedModel:
    """A model that `save_model` saved.

    Attributes:
        card: Its description.
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
    spec = configured(card.model)
    model = spec.build(len(card.class_names))
    size = card.preprocess.size
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    like = FrozenDict(jax.eval_shape(model.init, jax.random.key(0), image))
    return SavedModel(card, spec, model, load_variables(folder, like, card))


def load_variables(folder: Path, like: Any, card: ModelCard) -> FrozenDict[str, Any]:
    """Return the variables that `save_model` saved.

    Args:
        folder: Their folder.
        like: Their shapes and dtypes.
        card: Their card, for its digest.

    Raises:
        DamageError: They are damaged.
    """
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            saved = checkpointer.restore((folder / "variables").absolute(), like)
    # Orbax raises errors of many kinds for damaged files.
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise DamageError(f"{folder} is damaged: {reason}") from None
    if tree.digest(saved) != card.digest:
        raise DamageError(f"{folder} is damaged: {CHANGED}")
    return FrozenDict(saved)
