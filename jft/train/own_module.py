"""Whether a Flax module of your own does what training relies on."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jft.errors import InputError
from jft.freeze.norms import with_statistics
from jft.models.training import TrainMode

# Settings that reach a module through its `mode` alone.
SETTINGS = ("dropout", "drop_path", "dtype", "remat")
PLAIN = TrainMode()


def check_module(
    module: Any, variables: Mapping[str, Any], size: int, *, dense: bool
) -> None:
    """Check the outputs of a module, its batch statistics, and that it uses settings.

    Two images are enough: one counts, the other is padding.

    Args:
        module: The module as a phase trains it, which follows
            `jft.models.protocol.StagedModule`.
        variables: Its variables.
        size: Side of the images in pixels.
        dense: Whether it has to predict a class for every pixel.

    Raises:
        InputError: The logits have another shape, a setting has no effect, batch
            statistics include padding, or layers in `mode.stored` do not use their
            stored statistics.
    """
    # The mapped axis exists only inside the compiled step.
    module = module.clone(axis_name=None)
    _check_logits(module, variables, size, dense=dense)
    _check_settings(module, variables, size)
    if variables.get("batch_stats"):
        mode = replace(PLAIN, stored=module.mode.stored, adapt=module.mode.adapt)
        images = np.random.default_rng(0).normal(size=(3, 2, size, size, 3))
        images = images.astype(np.float32)
        _check_padding(module.clone(mode=mode), variables, images)
        if mode.stored:
            _check_stored(module, variables, images[0])


def _train(module: Any) -> Callable[..., Any]:
    """Return a function of (variables, images): logits and new batch statistics."""

    def train(variables: Any, images: Any) -> Any:
        logits, changed = module.apply(
            variables,
            images,
            train=True,
            weight=jnp.array([1.0, 0.0], jnp.float32),
            keys=jax.random.split(jax.random.key(0), 2),
            mutable=["batch_stats"],
        )
        return logits, changed.get("batch_stats", {})

    return train


def _check_logits(module: Any, variables: Any, size: int, *, dense: bool) -> None:
    image = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    logits, _ = jax.eval_shape(_train(module), variables, image)
    wanted = (2, *((size, size) if dense else ()), module.num_classes)
    if logits.shape != wanted or logits.dtype != jnp.float32:
        raise InputError(
            f"{type(module).__name__} must return float32 logits of shape {wanted} for "
            f"2 images, got {logits.dtype} {logits.shape}"
        )


def _check_settings(module: Any, variables: Any, size: int) -> None:
    image = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)

    def traced(**settings: Any) -> str:
        mode = replace(PLAIN, **settings)
        return str(jax.make_jaxpr(_train(module.clone(mode=mode)))(variables, image))

    for name in SETTINGS:
        value = getattr(module.mode, name)
        if value != getattr(PLAIN, name) and traced(**{name: value}) == traced():
            raise InputError(
                f"{name} {value}: {type(module).__name__} does not use its "
                f"mode.{name}, so the setting would change nothing"
            )


def _check_padding(module: Any, variables: Any, images: np.ndarray) -> None:
    train, counts = jax.jit(_train(module)), images[0, :1]
    first, second = (
        train(variables, np.concatenate([counts, padding[1:]]))
        for padding in images[1:]
    )
    if not _close((first[0][:1], first[1]), (second[0][:1], second[1])):
        raise InputError(
            f"{type(module).__name__}: batch statistics must leave out the images of "
            "weight 0, which pad the last batch of an epoch. "
            "jft.models.norm.BatchNorm does; flax.linen.BatchNorm has mask="
        )


def _check_stored(module: Any, variables: Any, images: np.ndarray) -> None:
    layers = frozenset(with_statistics(variables["batch_stats"]))
    stored = module.clone(mode=replace(PLAIN, stored=layers))
    logits, stats = jax.jit(_train(stored))(variables, images)
    expected = jax.jit(stored.apply)(variables, images)
    if not _close((logits, stats), (expected, variables["batch_stats"])):
        raise InputError(
            f"{type(module).__name__}: layers whose names are in mode.stored must use "
            "their stored statistics in training and not change them, as "
            "jft.models.norm.BatchNorm does: otherwise frozen parts change"
        )


def _close(first: Any, second: Any) -> bool:
    """Return whether two pairs of logits and statistics agree up to rounding."""
    pairs = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    return all(np.allclose(a, b, rtol=1e-4, atol=1e-4) for a, b in pairs)
