"""Colour jitter: brightness, contrast, saturation and hue by random amounts."""

import itertools

import jax
import jax.numpy as jnp

from jft.augment import colour

BASES = (colour.black, colour.mean_grey, colour.grey)
ORDERS = tuple(itertools.permutations(range(len(BASES))))


def random_jitter(image: jax.Array, key: jax.Array, jitter: float) -> jax.Array:
    """Return `image` with other brightness, contrast and saturation.

    Each is changed by a factor of its own, uniform in 1 - jitter to 1 + jitter, in a
    random order: torchvision's ColorJitter on Pillow images.

    Args:
        image: [H, W, 3] uint8.
        key: Random key of this image.
        jitter: In [0, 1].
    """
    factors, order = draw(key, jitter)

    def apply(image: jax.Array, which: jax.Array) -> tuple[jax.Array, None]:
        base = jax.lax.switch(which, BASES, image)
        return colour.blend(base, image, factors[which]), None

    return jax.lax.scan(apply, image, order)[0]


def draw(key: jax.Array, jitter: float) -> tuple[jax.Array, jax.Array]:
    """Return one image's factors, and the order they are applied in.

    Args:
        key: Random key of this image.
        jitter: In [0, 1].

    Returns:
        Factors [3] float32 of brightness, contrast and saturation; order [3] int32 of
        indices of these.
    """
    # One draw for both: each that a program makes takes a while to compile.
    drawn = jax.random.uniform(key, (len(BASES) + 1,))
    factors = 1 + jitter * (2 * drawn[:-1] - 1)
    orders = jnp.array(ORDERS, jnp.int32)
    return factors, orders[(drawn[-1] * len(ORDERS)).astype(jnp.int32)]


def random_hue(image: jax.Array, key: jax.Array, largest: float) -> jax.Array:
    """Return `image` with its hues shifted by up to `largest` turns either way.

    torchvision's ColorJitter shifts the hue before, between or after the other three;
    here it is always after them, so that it is computed once.

    Args:
        image: [H, W, 3] uint8.
        key: Random key of this image.
        largest: In [0, 0.5].
    """
    turns = jax.random.uniform(key, (), minval=-largest, maxval=largest)
    return colour.shift_hue(image, turns)
