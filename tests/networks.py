"""Networks of every family that compile in a second, for tests."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jft import tree
from jft.models import MODELS, ModelSpec
from jft.models.network import Network


def small(name: str, width: int = 4, **variant: Any) -> ModelSpec:
    """Return a network of two stages with what is special about a published one."""
    spec = MODELS[name]
    return dataclasses.replace(
        spec,
        stage_sizes=(2, 1),
        width=width,
        variant=dataclasses.replace(spec.variant, **variant),
    )


# Every kind of layer.
SMALL = {
    "basic": small("resnet18"),
    "bottleneck": small("resnet50"),
    "cifar": small("resnet20"),
    "deep": small("resnet26d"),
    "grouped": small("resnext50_32x4d", 16),
    "vgg": small("vgg11", hidden=6),
    "vgg_bn": small("vgg11_bn", hidden=6),
    "bit": small("resnetv2_50x1_bit", 32),
    "keras": small("keras_resnet50"),
    "keras_v2": small("keras_resnet50v2"),
}


@functools.cache
def shapes_of(model: Network, size: int = 32) -> dict[str, Any]:
    """Return shape and dtype of each variable by name."""
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    return tree.flatten(jax.eval_shape(model.init, jax.random.key(0), image))


def variables_of(model: Network) -> dict[str, Any]:
    """Return variables at random, statistics included; features keep their size."""
    draw, flat = np.random.default_rng(0), dict[str, np.ndarray]()
    for name, leaf in shapes_of(model).items():
        if name.endswith("/kernel"):
            values = draw.normal(size=leaf.shape) * np.sqrt(
                2 / np.prod(leaf.shape[:-1])
            )
        elif name.endswith(("/scale", "/var")):
            values = draw.uniform(0.5, 1.5, leaf.shape)
        else:
            values = draw.normal(size=leaf.shape) / 10
        flat[name] = values.astype(np.float32)
    return tree.unflatten(flat)


def numbered(spec: ModelSpec, classes: int = 5) -> dict[str, np.ndarray]:
    """Return variables by name, each of whose elements is another number."""
    start, values = 1, dict[str, np.ndarray]()
    for name, leaf in shapes_of(spec.build(classes)).items():
        stop = start + int(np.prod(leaf.shape))
        array = np.arange(start, stop, dtype=np.float32).reshape(leaf.shape)
        values[name], start = array / 4096, stop
    return values
