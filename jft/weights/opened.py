"""Weights by any name that `--weights` takes, read, with all they say of themselves."""

import json
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from jft import tree
from jft.config import ModelConfig
from jft.errors import InputError
from jft.models.variants import Decoder
from jft.preprocess import Preprocess
from jft.runs.saved import load_card, load_model
from jft.weights.files import Checkpoint, read_tensors
from jft.weights.hub import Local, fetch, find_weights


@dataclass(frozen=True)
class Opened:
    """Weights that have been read, but not yet put into a network.

    Attributes:
        source: The file or name that was asked for.
        tensors: By their own names.
        digest: Waits for the hex digest of their files, and returns it.
        model: The network they are for, with what was changed of it; None if nothing
            says it.
        preprocess: What they expect of images; None if nothing says it.
        class_names: What the outputs of their head mean; empty if nothing says it.
        about: What is known of where they are from: url, revision, licence, labels.
    """

    source: str
    tensors: Mapping[str, np.ndarray]
    digest: Callable[[], str]
    model: ModelConfig | None
    preprocess: Preprocess | None
    class_names: tuple[str, ...]
    about: Mapping[str, str]

    @property
    def sha256(self) -> str:
        """The hex digest of their files.

        Raises:
            InputError: A file has changed since it was opened.
        """
        return self.digest()


def open_weights(weights: str | os.PathLike[str]) -> Opened | None:
    """Find weights, download them if need be, and read them; None for random ones.

    What the file itself says goes before what a table or a folder says of it.

    Raises:
        InputError: There are no such weights, or they cannot be used.
    """
    local = _fetch(weights)
    if local is None:
        return None
    source = os.fspath(weights)
    if local.is_run:
        return _open_run(source, local)
    checkpoint = read_tensors(local.path)
    stated = checkpoint.metadata
    preprocess, class_names = _described(stated, source)
    return Opened(
        source=source,
        tensors=checkpoint.tensors,
        digest=_hashing(checkpoint),
        model=_model(stated, local.model),
        preprocess=preprocess or local.preprocess,
        class_names=class_names or local.class_names,
        about=local.metadata,
    )


def model_of(weights: str | os.PathLike[str]) -> ModelConfig | None:
    """Return the network that weights say they are for; None if nothing says it.

    Raises:
        InputError: There are no such weights, or they cannot be used.
    """
    local = _fetch(weights)
    if local is None:
        return None
    if local.is_run:
        return load_card(local.path / "final").network
    return _model(read_tensors(local.path).metadata, local.model)


def _model(stated: Mapping[str, str], otherwise: str | None) -> ModelConfig | None:
    """Return the network that a file states, as `export` has written it there."""
    name = stated.get("model", otherwise)
    if name is None:
        return None
    width = stated.get("width", "")
    decoder: Any = stated.get("decoder", "auto")
    known = ("auto", *get_args(Decoder))
    if decoder not in known:
        raise InputError(f"no decoder {decoder!r}; valid: {', '.join(known)}")
    return ModelConfig(
        name=name,
        width=int(width) if width.isdecimal() else None,
        pooled_head=stated.get("pooled_head") == "true",
        decoder=decoder,
    )


def _fetch(weights: str | os.PathLike[str]) -> Local | None:
    found = find_weights(os.fspath(weights))
    return fetch(found) if found else None


def _open_run(source: str, local: Local) -> Opened:
    saved = load_model(local.path / "final")
    flat = tree.flatten(saved.variables)
    return Opened(
        source=source,
        tensors={name: np.asarray(leaf) for name, leaf in flat.items()},
        digest=lambda: saved.card.digest,
        model=saved.card.network,
        preprocess=saved.card.preprocess,
        class_names=saved.card.class_names,
        about=local.metadata,
    )


def _hashing(checkpoint: Checkpoint) -> Callable[[], str]:
    """Hash in a thread, while others trace the network and place the tensors."""
    with_one = ThreadPoolExecutor(1)
    hashing = with_one.submit(lambda: checkpoint.sha256)
    with_one.shutdown(wait=False)
    return hashing.result


def _described(
    metadata: Mapping[str, str], source: str
) -> tuple[Preprocess | None, tuple[str, ...]]:
    """Return the preprocessing and class names that a file states of itself."""
    try:
        stated = json.loads(metadata.get("preprocess", "null"))
        names: Any = json.loads(metadata.get("class_names", "[]"))
        preprocess = Preprocess.from_dict(stated) if stated else None
    except (ValueError, AttributeError, RecursionError, TypeError) as error:
        raise InputError(f"{source}: its metadata is damaged: {error}") from None
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise InputError(f"{source}: its class names are no list of names: {names!r}")
    return preprocess, tuple(names)
