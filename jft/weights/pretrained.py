"""A network by name with its weights: built, initialised, loaded, ready to call."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.core import FrozenDict

from jft import tree
from jft.config import ModelConfig
from jft.config.schema import StemInit
from jft.devices import tune_cpu
from jft.errors import InputError, content, unknown
from jft.models import ModelSpec, configured
from jft.models.network import Network
from jft.models.pixels import normalise
from jft.preprocess import Preprocess
from jft.tasks import Regression, Task, from_dict
from jft.weights.find import DEFAULT, find_weights
from jft.weights.heads import Rows, converted, picked, rows_by_name, with_outputs
from jft.weights.images import batch_of
from jft.weights.initial import Initialised, initial_values
from jft.weights.load import assign
from jft.weights.names import head_names
from jft.weights.opened import Opened, check_decoder, open_weights
from jft.weights.prefix import Part
from jft.weights.published import other_network
from jft.weights.report import LoadReport
from jft.weights.stem import adaptation


@dataclass(frozen=True, repr=False)
class Pretrained(Initialised):
    """One of jft's networks and what travels with its weights.

    Attributes:
        spec: The network.
        model: Its Flax module.
        class_names: What the head's outputs are called; empty if unknown.
        task: What the head is for; None if unknown.
    """

    spec: ModelSpec
    model: Network
    class_names: tuple[str, ...] = ()
    task: Task | None = None

    def __repr__(self) -> str:
        """Return the network, its input and its output in one line."""
        size = self.preprocess.size
        return (
            f"Pretrained({self.spec.name}, weights={self.report.source!r}, "
            f"{size} x {size} pixels, {self.model.num_classes} outputs)"
        )

    def __call__(self, images: Any) -> jax.Array:
        """Return logits [B, K] float32; with a decoder [B, H, W, K].

        Args:
            images: uint8 [B, H, W, 3] RGB of the size that the network is to see; or
                an image of any size, or a list of them, each a path, a PIL image, or
                an array uint8 [H, W] or [H, W, C], which `preprocess` then resizes.

        Raises:
            InputError: An image cannot be read, is not uint8, or is too small.
        """
        return self._run(images, "head")

    def features(self, images: Any, stop: str) -> jax.Array:
        """Return the features [B, H', W', C'] float32 after a stage.

        Args:
            images: As for `__call__`.
            stop: The last stage to run, one of `spec.stages` before the head.

        Raises:
            InputError: There is no such stage, or the images cannot be used.
        """
        stages = self.spec.stages[:-1]
        if stop not in stages:
            raise unknown("stage", stop, stages)
        return self._run(images, stop)

    def _run(self, images: Any, stop: str) -> jax.Array:
        preprocess = self.preprocess
        if self.spec.decoder != "none":
            preprocess = preprocess.with_crop("letterbox")
        batch = batch_of(images, preprocess)
        self.spec.check_size(min(batch.shape[1:3]))
        return self._apply(self.variables, batch, stop=stop)

    @cached_property
    def _apply(self) -> Any:
        def apply(variables: Any, images: jax.Array, stop: str) -> jax.Array:
            normal = normalise(images, self.preprocess)
            return jnp.asarray(self.model.apply(variables, normal, stop=stop))

        return jax.jit(apply, static_argnames="stop")


def load_pretrained(
    name: str | None = None,
    weights: str | os.PathLike[str] = DEFAULT,
    num_classes: int | None = None,
    *,
    image_size: int | None = None,
    width: int | None = None,
    pooled_head: bool = False,
    decoder: str = "auto",
    seed: int = 0,
) -> Pretrained:
    """Build a network and load its weights.

    Args:
        name: One of `jft.models.MODELS`; None takes the network that the weights state.
        weights: A checkpoint file or folder, a run, or a name such as
            "torchvision:resnet50" or "hf:OWNER/REPO"; "default" for the network's own
            published weights, "none" for random ones.
        num_classes: Outputs of the head; None takes the checkpoint's. A head of
            another size than the checkpoint's is newly initialised.
        image_size: Side of the network's input in pixels; None takes the weights'.
        width: Channels of the first stage; None takes the weights', if they state it,
            or the network's own.
        pooled_head: Leave out the hidden layers of a VGG's classifier.
        decoder: What makes a map of classes: fcn, deeplabv3, unet, or none. auto is the
            weights' or the network's own.
        seed: Fixes newly initialised values.

    Raises:
        InputError: An unknown name, an unreadable file, or tensors that do not fit.
    """
    tune_cpu()
    opened = open_weights(find_weights(weights, name))
    wanted = ModelConfig(
        name=name, width=width, pooled_head=pooled_head, decoder=check_decoder(decoder)
    )
    spec = configured(opened.network(wanted))
    preprocess = opened.preprocess_for(spec, image_size)
    count = num_classes or opened.head_classes(spec) or spec.num_classes
    built = build(opened, spec, preprocess, count, seed=seed)
    if num_classes is None and opened.tensors and built.report.reinitialised:
        raise InputError(
            f"{opened.source} has no head for {spec.name}: give num_classes for a new "
            "one"
        )
    return built


@content()
def build(
    opened: Opened,
    spec: ModelSpec,
    preprocess: Preprocess,
    num_classes: int,
    *,
    class_names: tuple[str, ...] = (),
    task: Task | None = None,
    new_head: bool = False,
    stem_init: StemInit = "auto",
    seed: int = 0,
) -> Pretrained:
    """Build a network around open weights.

    Args:
        opened: The weights.
        spec: The network.
        preprocess: How pixels become its input, as `Opened.preprocess_for` returns it.
        num_classes: Outputs of the head.
        class_names: What they mean. Outputs of the weights' head are kept by name,
            whatever their order; those of other names are new.
        task: What the outputs are for. A head that has learned another task is newly
            initialised; one for numbers is converted to this task's standardisation.
        new_head: Initialise the head's last layer again in any case.
        stem_init: How the first convolution is adapted to images that are not RGB.
        seed: Fixes newly initialised values.
    """
    model = spec.build(num_classes)
    headless = opened.head_classes(spec) is None
    theirs = opened.class_names
    before = from_dict(opened.task) if opened.task else None
    new_head |= before is not None and task is not None and before.name != task.name
    rows = None if new_head or headless else rows_by_name(theirs, class_names)
    # Numbers that are new would need a scale of their own.
    least = len(rows or ()) if isinstance(task, Regression) else 1
    if rows and sum(row is not None for row in rows) < least:
        new_head, rows = True, None
    variables, report = _fill(
        model, opened, spec, preprocess, seed, new_head, rows, stem_init
    )
    kept = not report.reinitialised
    if isinstance(task, Regression) and "params/head/kernel" in report.loaded:
        scale = before if isinstance(before, Regression) else None
        variables = converted(variables, task, scale, rows)
    return Pretrained(
        spec=spec,
        model=model,
        variables=variables,
        preprocess=preprocess,
        report=report,
        class_names=class_names or (theirs if kept else ()),
        task=task or (before if kept else None),
        about=opened.about,
    )


def _fill(
    model: Network,
    opened: Opened,
    spec: ModelSpec,
    preprocess: Preprocess,
    seed: int,
    new_head: bool,
    rows: Rows | None,
    stem_init: StemInit,
) -> tuple[FrozenDict[str, Any], LoadReport]:
    """Return all variables: the checkpoint's, and initial values for the others."""
    size, channels = preprocess.size, len(preprocess.mean)
    image = jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32)
    shapes = tree.flatten(jax.eval_shape(model.init, jax.random.key(seed), image))
    wanted = with_outputs(shapes, spec, len(opened.class_names)) if rows else shapes
    part = opened.part(spec)
    loaded, ignored = _assigned(wanted, part, opened, spec, new_head, stem_init)
    new = set(shapes) - set(loaded)
    if rows and None in rows:
        new |= set(head_names(spec))
    report = LoadReport(
        source=opened.source,
        sha256=opened.sha256,
        loaded=tuple(sorted(set(loaded) - new)),
        reinitialised=tuple(sorted(new)),
        ignored=(*ignored, *part.outside),
        entry=opened.entry,
        prefix=part.prefix,
        stem=adaptation(opened.preprocess, channels, stem_init),
        rows=rows or (),
    )
    initial = initial_values(model, image.shape, sorted(new), seed)
    if rows:
        loaded |= picked(loaded, initial, spec, rows)
    values = initial | jax.device_put(loaded)
    flat = {name: values[name] for name in shapes}
    return FrozenDict(tree.unflatten(flat)), report


def _assigned(
    wanted: Mapping[str, Any],
    part: Part,
    opened: Opened,
    spec: ModelSpec,
    new: bool,
    stem: StemInit,
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Return what `assign` does; an error also states another network's name."""
    if not opened.tensors:
        return {}, ()
    try:
        return assign(wanted, part, opened.source, spec, new_head=new, stem_init=stem)
    except InputError as error:
        stated = opened.model.name if opened.model else spec.name
        if stated == spec.name:
            raise
        message = other_network(opened.source, stated, spec.name)
        raise InputError(f"{message}\n{error}") from None
