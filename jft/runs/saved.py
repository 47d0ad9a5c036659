"""Saving and restoring through Orbax, with digests of our own.

Orbax notices missing and truncated files, but a flipped bit in an array comes back
as a wrong value without an error, hence a digest of each file and of each tensor
(benchmarks/reliability.py counts them).
"""

import errno
import json
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from shutil import disk_usage
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
import tensorstore
from flax import serialization
from flax.core import FrozenDict

from jft import tree
from jft.config import ModelConfig
from jft.console.text import size
from jft.errors import DamageError, InputError, StorageError
from jft.models import ModelSpec, configured
from jft.models.own import OwnModel
from jft.preprocess import Preprocess
from jft.runs.sums import checked_bytes, damaged, replacing

TENSORS = "tensors.json"
_LOCK = threading.Lock()


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


def save_arrays(folder: Path, name: str, saved: Any) -> dict[str, str]:
    """Save a tree of arrays in a folder that `replacing` yields.

    Args:
        folder: The folder; `tensors.json` in it gets the digest of each leaf.
        name: Of the folder in it that Orbax makes.
        saved: The arrays, on the host.

    Returns:
        The digest of each leaf by name.

    Raises:
        OSError: The disk is full, for one.
    """
    digests = tree.leaf_digests(serialization.to_state_dict(saved))
    (folder / TENSORS).write_text(json.dumps(digests, indent=1) + "\n")
    try:
        with _orbax() as checkpointer:
            checkpointer.save((folder / name).absolute(), saved)
    except OSError:
        raise
    # TensorStore has errors of its own.
    except Exception as error:
        code = errno.ENOSPC if "RESOURCE_EXHAUSTED" in str(error) else errno.EIO
        raise OSError(code, _first_line(error)) from None
    return digests


def load_arrays(folder: Path, name: str, like: Any) -> Any:
    """Return the tree that `save_arrays` saved, once every file and leaf is checked.

    Args:
        folder: As for `save_arrays`.
        name: As for `save_arrays`.
        like: Its structure, shapes and dtypes.

    Raises:
        DamageError: Something in the folder has changed; the message has the files and
            the tensors.
    """
    wrong = damaged(folder)
    if wrong:
        raise DamageError(damage(folder, name, wrong))
    try:
        with _orbax() as checkpointer:
            saved = checkpointer.restore((folder / name).absolute(), like)
    # Orbax raises errors of many kinds where files do not fit each other.
    except Exception as error:
        reason = f"{folder} is damaged: {_first_line(error)}"
        raise DamageError(reason) from None
    now = tree.leaf_digests(serialization.to_state_dict(saved))
    before = _saved_digests(folder)
    if now != before:
        changed = [
            name for name in {**before, **now} if now.get(name) != before.get(name)
        ]
        raise DamageError(f"{folder} is damaged: {_these(changed)}")
    return saved


def damage(folder: Path, name: str, files: Sequence[str]) -> str:
    """Return a line about damaged files, with the names of the tensors in them.

    Args:
        folder: As for `save_arrays`.
        name: As for `save_arrays`.
        files: From `damaged`.
    """
    shown = ", ".join(files[:3]) + (", ..." if files[3:] else "")
    tensors = [] if TENSORS in files else _unlike(folder, name)
    return f"{folder} is damaged: {shown}" + (
        f" ({_these(tensors)})" if tensors else ""
    )


def _unlike(folder: Path, name: str) -> list[str]:
    """Return the tensors that cannot be read, or are not those that were saved."""
    base = f"file://{(folder / name).absolute()}/"
    found: list[str] = []
    for tensor, digest in _saved_digests(folder).items():
        store = {"driver": "ocdbt", "base": base, "path": tensor.replace("/", ".")}
        # One after the other: Orbax leaves the other reads behind if one fails.
        try:
            opened = tensorstore.open({"driver": "zarr", "kvstore": store}).result()
            now = tree.leaf_digests({tensor: opened.read().result()})[tensor]
        except Exception:
            now = ""
        if now != digest:
            found.append(tensor)
    return found


def _saved_digests(folder: Path) -> dict[str, str]:
    try:
        return json.loads((folder / TENSORS).read_text())
    except OSError:
        return {}


def _these(tensors: Sequence[str]) -> str:
    more = f" and {len(tensors) - 1} more" if tensors[1:] else ""
    return f"tensor {tensors[0]}{more}"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]


@contextmanager
def _orbax() -> Iterator[ocp.StandardCheckpointer]:
    """Yield a checkpointer: one at a time, since two in threads make the same folders.

    What it logs of an error that it raises too is left out.
    """
    logger = logging.getLogger("absl")
    with _LOCK, ocp.StandardCheckpointer() as checkpointer:
        before, logger.disabled = logger.disabled, True
        try:
            yield checkpointer
            checkpointer.wait_until_finished()
        finally:
            logger.disabled = before


def save_model(folder: Path, variables: FrozenDict[str, Any], card: ModelCard) -> None:
    """Save parameters and statistics with their card; a kill leaves the old or new.

    Raises:
        StorageError: They cannot be written; what was saved before is left.
    """
    require_space(folder.parent, variables)
    with replacing(folder) as part:
        save_arrays(part, "variables", variables)
        (part / "model.json").write_text(json.dumps(asdict(card), indent=2) + "\n")


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
        values = json.loads(checked_bytes(folder, "model.json"))
        preprocess = Preprocess.from_dict(values.pop("preprocess"))
        names = tuple(values.pop("class_names"))
        model = ModelConfig(**values.pop("model"))
        return ModelCard(
            model=model, preprocess=preprocess, class_names=names, **values
        )
    except FileNotFoundError as error:
        if folder.exists():
            reason = f"{folder} is damaged: {folder / 'model.json'} is missing"
            raise DamageError(reason) from error
        raise InputError(
            f"{folder} has no saved model: run the same command again to finish the run"
        ) from None
    except DamageError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamageError(f"{folder / 'model.json'} is damaged: {error}") from None


@dataclass(frozen=True)
class SavedModel:
    """A model that `save_model` saved.

    Attributes:
        card: Its description.
        spec: The network.
        model: Its Flax module, a `Network` for a `ModelSpec`.
        variables: Parameters and statistics.
    """

    card: ModelCard
    spec: ModelSpec | OwnModel
    model: Any
    variables: FrozenDict[str, Any]


def load_model(folder: Path, own: OwnModel | None = None) -> SavedModel:
    """Return the model that `save_model` saved.

    Args:
        folder: Its folder.
        own: The Flax module that was trained, if it came from Python.

    Raises:
        InputError: There is none, it is damaged, or it is one of another module.
    """
    card = load_card(folder)
    if own and own.config_name != card.model.name:
        raise InputError(f"{folder} holds a {card.model.name}, not a {own.name}")
    spec = own or configured(card.model)
    model: Any = spec.build(len(card.class_names))
    size = card.preprocess.size
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    like = FrozenDict(jax.eval_shape(model.init, jax.random.key(0), image))
    hint = "\nor model= is not the module that was trained" if own else ""
    try:
        saved = load_arrays(folder, "variables", like)
    except DamageError as error:
        raise DamageError(f"{error}{hint}") from None
    shapes = [[leaf.shape for leaf in jax.tree.leaves(x)] for x in (saved, like)]
    if shapes[0] != shapes[1] or tree.digest(saved) != card.digest:
        reason = "model.json is of other parameters"
        raise DamageError(f"{folder} is damaged: {reason}{hint}")
    return SavedModel(card, spec, model, FrozenDict(saved))
