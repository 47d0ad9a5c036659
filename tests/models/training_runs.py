"""The small networks run in training, with all that comes out of it."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from networks import variables_of

from jft import tree
from jft.models import ModelSpec, TrainMode

CLASSES = 3
PLAIN = TrainMode()
# Blocks 0, 1 and 2 of the small networks.
BLOCKS = ("stage1/block0", "stage1/block1", "stage2/block0")


def images(batch: int, size: int = 16) -> np.ndarray:
    """Return [batch, size, size, 3] float32, normal numbers."""
    rng = np.random.default_rng(1)
    return rng.normal(size=(batch, size, size, 3)).astype(np.float32)


def keys(*ids: int) -> jax.Array:
    """Return the key of each example, by its id."""
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(7), jnp.array(ids))


def norms_of(spec: ModelSpec) -> frozenset[str]:
    """Return the names of all layers of batch normalisation."""
    stats = tree.flatten(variables_of(spec.build(CLASSES))["batch_stats"])
    return frozenset(name.rpartition("/")[0] for name in stats)


def train(
    spec: ModelSpec,
    mode: TrainMode,
    x: Any,
    *,
    variables: Any = None,
    classes: int = CLASSES,
    inner: bool = False,
    start: str | None = None,
    **options: Any,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return logits, and by name statistics and, if `inner`, what each module returns.

    `start` begins with a later stage, for programs that compile sooner.
    """
    model = spec.build(classes, mode=mode)
    run = functools.partial(
        model.apply,
        train=True,
        start=start,
        mutable=["batch_stats", *(["intermediates"] if inner else ())],
        capture_intermediates=inner,
    )
    y, changed = jax.jit(run)(variables or variables_of(model), x, **options)
    found = tree.flatten(changed.get("batch_stats", {}))
    outputs = tree.flatten(changed.get("intermediates", {})).items()
    found |= {name.removesuffix("/__call__"): values[0] for name, values in outputs}
    return np.asarray(y), {name: np.asarray(value) for name, value in found.items()}
