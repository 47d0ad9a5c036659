"""A network before its first step, and the values that no weights give it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from flax.core import FrozenDict

from jft import tree
from jft.models import ModelSpec
from jft.models.own import OwnModel
from jft.preprocess import Preprocess
from jft.weights.report import LoadReport


@dataclass(frozen=True, repr=False)
class Initialised:
    """A network with its first variables: what training starts from.

    Attributes:
        spec: The network.
        model: Its Flax module, a `jft.models.protocol.StagedModule`.
        variables: Immutable {"params": ...}, float32, and "batch_stats" where batches
            are normalised.
        preprocess: How pixels become its input.
        report: Which variables were loaded and which are newly initialised.
        about: Where the weights are from: url, revision, licence, labels, if known.
    """

    spec: ModelSpec | OwnModel
    model: Any
    variables: FrozenDict[str, Any]
    preprocess: Preprocess
    report: LoadReport
    about: Mapping[str, str] = field(default_factory=dict[str, str])


def initial_values(
    model: Any, shape: tuple[int, ...], wanted: Iterable[str], seed: int
) -> dict[str, jax.Array]:
    """Return the initial values of some variables.

    Only these are computed: compiling the initialisation of a whole ResNet-50 takes
    as long as compiling its training step.

    Args:
        model: The Flax module.
        shape: Of a batch of images, (1, S, S, C).
        wanted: Names of the variables.
        seed: Fixes the values.
    """
    wanted = list(wanted)

    def init(key: jax.Array) -> dict[str, jax.Array]:
        flat = tree.flatten(model.init(key, jnp.zeros(shape, jnp.float32)))
        return {name: flat[name] for name in wanted}

    # On CPU, XLA compiles rbg much faster than the default generator.
    return jax.jit(init)(jax.random.key(seed, impl="rbg")) if wanted else {}
