"""A saved model: parameters and statistics, with a card that describes them."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax.core import FrozenDict

from jft import tree
from jft.config import ModelConfig
from jft.errors import DamageError, InputError
from jft.models import ModelSpec, configured
from jft.models.own import OwnModel
from jft.preprocess import Preprocess
from jft.runs.arrays import load_arrays, require_space, save_arrays
from jft.runs.sums import checked_bytes, replacing


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
    shape = 1, size, size, len(card.preprocess.mean)
    image = jax.ShapeDtypeStruct(shape, jnp.float32)
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
