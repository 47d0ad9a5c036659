"""A network by name with its weights: built, initialised, loaded, ready to call."""

import dataclasses
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.core import FrozenDict

from jft import tree
from jft.config import BUNDLED_WEIGHTS, ModelConfig
from jft.devices import tune_cpu
from jft.errors import InputError
from jft.models import ModelSpec, configured
from jft.models.network import Network
from jft.models.pixels import normalise
from jft.preprocess import Preprocess
from jft.weights.hub import RANDOM
from jft.weights.load import LoadReport, head_classes, place, usual_preprocess
from jft.weights.opened import Opened, open_weights
from jft.weights.published import other_network


@dataclass(frozen=True)
class Pretrained:
    """A network and what travels with its weights.

    Attributes:
        spec: The network.
        model: Its Flax module.
        variables: Immutable {"params": ...}, float32, and "batch_stats" where batches
            are normalised.
        preprocess: How pixels become its input.
        report: Which variables were loaded and which are newly initialised.
        class_names: What the head's outputs are called; empty if unknown.
        about: Where the weights are from: url, revision, licence, labels, if known.
    """

    spec: ModelSpec
    model: Network
    variables: FrozenDict[str, Any]
    preprocess: Preprocess
    report: LoadReport
    class_names: tuple[str, ...] = ()
    about: Mapping[str, str] = field(default_factory=dict[str, str])

    @cached_property
    def _predict(self) -> Any:
        def logits(variables: Any, images: jax.Array) -> jax.Array:
            normal = normalise(images, self.preprocess)
            return jnp.asarray(self.model.apply(variables, normal))

        return jax.jit(logits)

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
        self.spec.check_size(min(images.shape[1:3]))
        return self._predict(self.variables, images)


def load_pretrained(
    name: str | None = None,
    weights: str | os.PathLike[str] = BUNDLED_WEIGHTS,
    num_classes: int | None = None,
    *,
    image_size: int | None = None,
    width: int | None = None,
    pooled_head: bool = False,
    seed: int = 0,
) -> Pretrained:
    """Build a network and load its weights.

    Args:
        name: One of `jft.models.MODELS`; None takes what the weights say.
        weights: A checkpoint file or folder, a run, or a name such as
            "torchvision:resnet50" or "hf:OWNER/REPO"; "none" for random ones.
        num_classes: Outputs of the head; None takes the checkpoint's. A head of
            another size than the checkpoint's is newly initialised.
        image_size: Side of the network's input in pixels; None takes the weights'.
        width: Channels of the first stage; None takes the weights', if they say it, or
            the network's own.
        pooled_head: Leave out the hidden layers of a VGG's classifier.
        seed: Fixes newly initialised values.

    Raises:
        InputError: An unknown name, an unreadable file, or tensors that do not fit.
    """
    tune_cpu()
    wanted = ModelConfig(name=name, width=width, pooled_head=pooled_head)
    prepared = open_for(wanted, weights, image_size=image_size)
    if num_classes is not None:
        return prepared.build(num_classes, seed=seed)
    built = prepared.build(prepared.num_classes, seed=seed)
    if prepared.opened and built.report.reinitialised:
        raise InputError(
            f"{weights} has no head for this network: say num_classes to get a new one"
        )
    return built


@dataclass(frozen=True)
class WeightsFor:
    """Weights and the network that they are about to go into.

    Attributes:
        spec: The network.
        opened: The weights; None for random ones.
        preprocess: How pixels become its input.
    """

    spec: ModelSpec
    opened: Opened | None
    preprocess: Preprocess

    @property
    def num_classes(self) -> int:
        """Classes of the weights' head, or the network's usual number."""
        tensors = self.opened.tensors if self.opened else {}
        return head_classes(tensors, self.spec) or self.spec.num_classes

    def build(
        self,
        num_classes: int,
        *,
        class_names: tuple[str, ...] = (),
        seed: int = 0,
    ) -> Pretrained:
        """Build the network around the weights.

        Args:
            num_classes: Outputs of the head.
            class_names: What they mean. If the weights' head is for other classes, it
                is newly initialised, as one of another size is.
            seed: Fixes newly initialised values.
        """
        model = self.spec.build(num_classes)
        theirs = self.opened.class_names if self.opened else ()
        other = bool(class_names and theirs) and class_names != theirs
        variables, report = _fill(model, self, seed, other)
        known = class_names or (() if report.reinitialised else theirs)
        return Pretrained(
            spec=self.spec,
            model=model,
            variables=variables,
            preprocess=self.preprocess,
            report=report,
            class_names=known,
            about=self.opened.about if self.opened else {},
        )


def open_for(
    wanted: ModelConfig,
    weights: str | os.PathLike[str],
    *,
    image_size: int | None = None,
) -> WeightsFor:
    """Read weights by path or name for a network.

    Args:
        wanted: The network; what it leaves open, the weights decide.
        weights: As `load_pretrained` takes them.
        image_size: Side of the network's input in pixels; None takes the weights'.

    Raises:
        InputError: An unknown name, an unreadable file, or weights that say that they
            are another network's.
    """
    opened = open_weights(weights)
    known = opened.model if opened else None
    if known and wanted.name not in (None, known.name):
        raise InputError(other_network(str(weights), known.name, str(wanted.name)))
    spec = configured(known.changed(wanted) if known else wanted)
    preprocess = spec.preprocess
    if opened:
        preprocess = opened.preprocess or usual_preprocess(opened.tensors, spec)
    if image_size is not None:
        preprocess = dataclasses.replace(preprocess, size=image_size)
    spec.check_size(preprocess.size)
    names = opened.class_names if opened else ()
    outputs = head_classes(opened.tensors, spec) if opened and names else None
    if outputs not in (None, len(names)):
        raise InputError(
            f"{weights} names {len(names)} classes, but its head has {outputs}"
        )
    return WeightsFor(spec, opened, preprocess)


def _fill(
    model: Network, prepared: WeightsFor, seed: int, fresh_head: bool
) -> tuple[FrozenDict[str, Any], LoadReport]:
    """Return all variables: the checkpoint's, and initial values for the others."""
    size, opened = prepared.preprocess.size, prepared.opened
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    shapes = tree.flatten(jax.eval_shape(model.init, jax.random.key(seed), image))
    placed: dict[str, np.ndarray] = {}
    ignored: tuple[str, ...] = ()
    if opened:
        placed, ignored = place(
            shapes,
            opened.tensors,
            opened.source,
            prepared.spec,
            fresh_head=fresh_head,
        )
    fresh = sorted(set(shapes) - set(placed))
    report = LoadReport(
        source=opened.source if opened else RANDOM,
        sha256=opened.sha256 if opened else "",
        loaded=tuple(sorted(placed)),
        reinitialised=tuple(fresh),
        ignored=ignored,
    )
    values = jax.device_put(placed) | _initial(model, image, fresh, seed)
    flat = {name: values[name] for name in shapes}
    return FrozenDict(tree.unflatten(flat)), report


def _initial(
    model: Network, image: Any, wanted: Iterable[str], seed: int
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
