"""Opened weights: their tensors, and what is known about them."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, get_args

import numpy as np

from jft import tree
from jft.config import ModelConfig
from jft.errors import InputError, content, unknown
from jft.models import ModelSpec
from jft.models.variants import Decoder
from jft.preprocess import Crop, Preprocess
from jft.weights.description import Description
from jft.weights.fetch import fetch
from jft.weights.files import read_tensors
from jft.weights.find import RANDOM, Found
from jft.weights.load import head_classes, usual_preprocess
from jft.weights.prefix import Part, network_part
from jft.weights.recognise import recognise

MARK = "jft"
"""The note that jft puts into its own files; without it, notes are not ours."""


@dataclass(frozen=True)
class Opened:
    """Weights that are open, but not yet in a network.

    Attributes:
        source: How `--weights` names them.
        tensors: By their own names; empty for random weights.
        digest: Waits for the hex digest of their files, and returns it.
        model: The network that they state, with what was changed of it; None if they
            do not state it.
        preprocess: How they expect images; None if they do not state it.
        class_names: What the outputs of their head mean; empty if they do not state it.
        task: What they have learned, from `jft.tasks.to_dict`; None if they do not
            state it.
        entry: Which of several state dicts in the file they are; empty if there is one.
        about: Where they are from: url, revision, licence, labels, if known.
    """

    source: str
    tensors: Mapping[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])
    digest: Callable[[], str] = str
    model: ModelConfig | None = None
    preprocess: Preprocess | None = None
    class_names: tuple[str, ...] = ()
    task: Mapping[str, Any] | None = None
    about: Mapping[str, str] = field(default_factory=dict[str, str])
    entry: str = ""

    @property
    def sha256(self) -> str:
        """The hex digest of their files; empty for random weights."""
        return self.digest()

    def network(self, wanted: ModelConfig) -> ModelConfig:
        """Return the wanted network; what it does not set comes from the weights.

        Where neither names the network, the tensors identify it.
        """
        if self.model and wanted.name in (None, self.model.name):
            return self.model.changed(wanted)
        if wanted.name is not None:
            return wanted
        if self.source == RANDOM:
            raise InputError(
                "random weights do not name a network: give --model.name (in "
                "Python: name)"
            )
        try:
            found = recognise(self.tensors)
        except InputError as error:
            raise InputError(f"{self.source} {error}") from None
        if found is None:
            raise InputError(
                f"{self.source}: its tensors fit no network of jft; give --model.name "
                "(in Python: name) to see what does not fit"
            )
        return found.changed(wanted)

    def part(self, spec: ModelSpec) -> Part:
        """Return the tensors of a network, without the prefix of their names."""
        try:
            return network_part(self.tensors, spec)
        except InputError as error:
            raise InputError(f"{self.source} {error}") from None

    def preprocess_for(
        self,
        spec: ModelSpec,
        image_size: int | None = None,
        crop: Crop | Literal["auto"] = "auto",
        wanted: ModelConfig | None = None,
    ) -> Preprocess:
        """Return how pixels become the input of a network with these weights.

        Args:
            spec: The network.
            image_size: Side of its input in pixels; None takes the weights'.
            crop: Which part of an image is seen; auto takes the weights'.
            wanted: Its channels, mean and std are used; None takes the weights'.
        """
        preprocess = self.preprocess or usual_preprocess(self.part(spec), spec)
        if image_size is not None:
            preprocess = dataclasses.replace(preprocess, size=image_size)
        if crop != "auto":
            preprocess = preprocess.with_crop(crop)
        if wanted is not None:
            preprocess = _with_channels(preprocess, wanted)
        spec.check_size(preprocess.size)
        return preprocess

    def head_classes(self, spec: ModelSpec) -> int | None:
        """Return the number of classes of their head; None if they have none."""
        count, named = head_classes(self.part(spec), spec), len(self.class_names)
        if count and named not in (0, count):
            raise InputError(
                f"{self.source} names {named} classes, but its head has {count}"
            )
        return count


def open_weights(found: Found) -> Opened:
    """Download weights if needed, open their files, and read their metadata.

    What a file itself states goes before what a table or a folder states of it. JAX is
    imported only for the weights of a run.

    Raises:
        InputError: They cannot be fetched.
        DataError: They are damaged, or cannot be used.
    """
    if found.is_random:
        return Opened(found.name)
    stated = fetch(found)
    if found.is_run:
        return _open_run(found, stated)
    with content():
        contents = read_tensors(stated.path, found.key)
        notes = contents.metadata if MARK in contents.metadata else {}
        preprocess, class_names, task = _described(notes, found.name)
    return Opened(
        source=found.name,
        tensors=contents.tensors,
        digest=_in_thread(lambda: contents.sha256),
        model=_model(notes, stated.model),
        preprocess=preprocess or stated.preprocess,
        class_names=class_names or stated.class_names,
        task=task,
        about=stated.about,
        entry=contents.entry if len(contents.entries) > 1 else "",
    )


def _open_run(found: Found, stated: Description) -> Opened:
    # It imports JAX, which takes a second.
    from jft.runs.saved import load_model

    saved = load_model(stated.path / "final")
    flat = tree.flatten(saved.variables)
    return Opened(
        source=found.name,
        tensors={name: np.asarray(leaf) for name, leaf in flat.items()},
        digest=lambda: saved.card.digest,
        model=saved.card.model,
        preprocess=saved.card.preprocess,
        class_names=saved.card.class_names,
        task=saved.card.task,
        about=stated.about,
    )


def _in_thread(digest: Callable[[], str]) -> Callable[[], str]:
    """Hash while others trace the network and read the tensors."""
    pool = ThreadPoolExecutor(1)
    hashing = pool.submit(digest)
    pool.shutdown(wait=False)
    return partial(hashing.result)


def _model(notes: Mapping[str, str], otherwise: str | None) -> ModelConfig | None:
    """Return the network that a file states, as `export` has written it there."""
    name = notes.get("model", otherwise)
    if name is None:
        return None
    width = notes.get("width", "")
    decoder = check_decoder(notes.get("decoder", "auto"))
    return ModelConfig(
        name=name,
        width=int(width) if width.isdecimal() else None,
        pooled_head=notes.get("pooled_head") == "true",
        decoder=decoder,
    )


def check_decoder(decoder: Any) -> Any:
    """Check a decoder's name, and return it."""
    known = ("auto", *get_args(Decoder))
    if decoder not in known:
        raise unknown("decoder", decoder, known)
    return decoder


def _described(
    notes: Mapping[str, str], source: str
) -> tuple[Preprocess | None, tuple[str, ...], dict[str, Any] | None]:
    """Return the preprocessing, class names and task that a file states."""
    try:
        stated = json.loads(notes.get("preprocess", "null"))
        names: Any = json.loads(notes.get("class_names", "[]"))
        task: Any = json.loads(notes.get("task", "null"))
        preprocess = Preprocess.from_dict(stated) if stated else None
    except (ValueError, AttributeError, RecursionError, TypeError) as error:
        raise InputError(f"{source}: its metadata is damaged: {error}") from None
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise InputError(
            f"{source}: its class names are not a list of names: {names!r}"
        )
    if not isinstance(task, dict | None):
        raise InputError(f"{source}: its task is not an object: {task!r:.80}")
    return preprocess, tuple(names), task


def _with_channels(preprocess: Preprocess, wanted: ModelConfig) -> Preprocess:
    """Return the preprocessing for the channels, mean and std that are wanted."""
    preprocess = preprocess.with_channels(wanted.channels or len(preprocess.mean))
    given: dict[str, Any] = {}
    for name in ("mean", "std"):
        text = getattr(wanted, name)
        if not text:
            continue
        try:
            values = tuple(float(part) for part in text.split(","))
        except ValueError:
            values = ()
        if len(values) != len(preprocess.mean):
            raise InputError(
                f"--model.{name} must be {len(preprocess.mean)} numbers separated by "
                f"commas, one per channel, got {text!r:.80}"
            )
        given[name] = tuple(value * preprocess.pixel_max for value in values)
    return dataclasses.replace(preprocess, **given)
