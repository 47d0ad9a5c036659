"""A network by name with its weights: built, initialised, loaded, ready to call."""

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.core import FrozenDict

from jft import tree
from jft.config import BUNDLED_WEIGHTS
from jft.devices import tune_cpu
from jft.errors import InputError
from jft.models import ModelSpec, get_model
from jft.models.resnet import ResNet
from jft.preprocess import Preprocess
from jft.step import make_predict_step
from jft.weights.files import Checkpoint, read_tensors
from jft.weights.hub import find_weights
from jft.weights.load import LoadReport, head_classes, place


@dataclass(frozen=True)
class Pretrained:
    """A network and what travels with its weights.

    Attributes:
        model: The Flax module.
        variables: Immutable {"params": ..., "batch_stats": ...}, float32.
        preprocess: How pixels become its input.
        report: Which variables were loaded and which are newly initialised.
        class_names: What the head's outputs are called; empty if unknown.
    """

    model: ResNet
    variables: FrozenDict[str, Any]
    preprocess: Preprocess
    report: LoadReport
    class_names: tuple[str, ...] = ()

    @cached_property
    def _predict(self) -> Any:
        return jax.jit(make_predict_step(self.model, self.preprocess))

    def logits(self, images: np.ndarray | jax.Array) -> jax.Array:
        """Return logits [B, K] float32.

        Args:
            images: [B, H, W, 3] uint8 RGB, already at the size the network is to see.

        Raises:
            InputError: The images are of another shape or dtype.
        """
        images = jnp.asarray(images)
        if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
            raise InputError(
                "images must be uint8 [B, H, W, 3], "
                f"got {images.dtype} {list(images.shape)}"
            )
        return self._predict(self.variables, images)


def load_pretrained(
    name: str,
    weights: str | os.PathLike[str] = BUNDLED_WEIGHTS,
    num_classes: int | None = None,
    *,
    image_size: int | None = None,
    seed: int = 0,
    **model_options: Any,
) -> Pretrained:
    """Build a network and load its weights.

    Args:
        name: One of `jft.models.MODELS`.
        weights: A checkpoint file (.safetensors, .pth, .pt, .th, .bin), the name of
            weights that come with jft, or "none" for random ones.
        num_classes: Outputs of the head; None takes the checkpoint's. A head of
            another size than the checkpoint's is newly initialised.
        image_size: Side of the network's input in pixels; None takes the weights'.
        seed: Fixes newly initialised values.
        **model_options: Options of the network, such as `width=16`.

    Raises:
        InputError: An unknown name, an unreadable file, or tensors that do not fit.
    """
    tune_cpu()
    opened = open_weights(name, weights, image_size=image_size)
    classes = opened.num_classes if num_classes is None else num_classes
    return opened.build(classes, seed=seed, **model_options)


@dataclass(frozen=True)
class OpenedWeights:
    """Weights that have been read, but not yet put into a network.

    Attributes:
        spec: The network they are for.
        source: The file or name that was asked for.
        preprocess: What they expect of images.
        num_classes: Classes of their head, or the network's usual number.
        class_names: The names of these classes; empty if unknown.
        checkpoint: Tensors and metadata; None for random weights.
    """

    spec: ModelSpec
    source: str
    preprocess: Preprocess
    num_classes: int
    class_names: tuple[str, ...]
    checkpoint: Checkpoint | None

    def build(
        self,
        num_classes: int,
        *,
        class_names: tuple[str, ...] = (),
        seed: int = 0,
        **model_options: Any,
    ) -> Pretrained:
        """Build the network around the weights.

        Args:
            num_classes: Outputs of the head.
            class_names: What they mean. If the weights' head is for other classes, it
                is newly initialised, as one of another size is.
            seed: Fixes newly initialised values.
            **model_options: Options of `ModelSpec.build`.
        """
        model = self.spec.build(num_classes, **model_options)
        other = bool(class_names and self.class_names) and (
            class_names != self.class_names
        )
        variables, report = _fill(model, self, seed, other)
        known = class_names or (() if report.reinitialised else self.class_names)
        return Pretrained(model, variables, self.preprocess, report, known)


def open_weights(
    name: str, weights: str | os.PathLike[str], *, image_size: int | None = None
) -> OpenedWeights:
    """Read weights by path or name, and what they say of themselves.

    Raises:
        InputError: An unknown name, an unreadable file, or weights that say that they
            are another network's.
    """
    spec = get_model(name)
    weights = os.fspath(weights)
    path = find_weights(weights)
    checkpoint = read_tensors(path) if path else None
    metadata = checkpoint.metadata if checkpoint else {}
    if metadata.get("model", name) != name:
        raise InputError(
            f"{weights} holds weights of {metadata['model']}, not {name}: take that "
            "model (--model.name), or other weights (--weights)"
        )
    preprocess, class_names = _described(metadata, spec, weights)
    if image_size is not None:
        preprocess = dataclasses.replace(preprocess, size=image_size)
    classes = head_classes(checkpoint.tensors) if checkpoint else None
    if class_names and classes is not None and len(class_names) != classes:
        raise InputError(
            f"{weights} names {len(class_names)} classes, but its head has {classes}"
        )
    return OpenedWeights(
        spec=spec,
        source=weights,
        preprocess=preprocess,
        num_classes=spec.num_classes if classes is None else classes,
        class_names=class_names,
        checkpoint=checkpoint,
    )


def _described(
    metadata: Mapping[str, str], spec: ModelSpec, weights: str
) -> tuple[Preprocess, tuple[str, ...]]:
    """Return the preprocessing and class names that weights state of themselves."""
    try:
        stated = json.loads(metadata.get("preprocess", "null"))
        names: Any = json.loads(metadata.get("class_names", "[]"))
        preprocess = Preprocess.from_dict(stated) if stated else spec.preprocess
    except (ValueError, AttributeError) as error:
        raise InputError(f"{weights}: its metadata is damaged: {error}") from None
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise InputError(f"{weights}: its class names are no list of names: {names!r}")
    return preprocess, tuple(names)


def _fill(
    model: ResNet, opened: OpenedWeights, seed: int, fresh_head: bool
) -> tuple[FrozenDict[str, Any], LoadReport]:
    """Return all variables: the checkpoint's, and initial values for the others."""
    size, checkpoint = opened.preprocess.size, opened.checkpoint
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    shapes = tree.flatten(jax.eval_shape(model.init, jax.random.key(seed), image))
    placed: dict[str, Any] = {}
    ignored: tuple[str, ...] = ()
    if checkpoint:
        placed, ignored = place(
            shapes, checkpoint.tensors, opened.source, fresh_head=fresh_head
        )
    fresh = sorted(set(shapes) - set(placed))
    report = LoadReport(
        source=opened.source,
        sha256=checkpoint.sha256 if checkpoint else "",
        loaded=tuple(sorted(placed)),
        reinitialised=tuple(fresh),
        ignored=ignored,
    )
    values = {**placed, **_initial(model, image, fresh, seed)}
    flat = {name: jnp.asarray(values[name]) for name in shapes}
    return FrozenDict(tree.unflatten(flat)), report


def _initial(
    model: ResNet, image: Any, wanted: Iterable[str], seed: int
) -> dict[str, jax.Array]:
    """Return the initial values of some variables.

    Only these are computed: compiling the initialisation of a whole ResNet-50 takes
    as long as compiling its training step.
    """
    wanted = list(wanted)

    def init(key: jax.Array) -> dict[str, jax.Array]:
        flat = tree.flatten(model.init(key, jnp.zeros(image.shape, image.dtype)))
        return {name: flat[name] for name in wanted}

    # On CPU, XLA compiles rbg much faster than the default generator.
    return jax.jit(init)(jax.random.key(seed, impl="rbg")) if wanted else {}
