"""Colour jitter: brightness, contrast, saturation and hue by random amounts."""

import itertools

import jax
import jax.numpy as jnp

from jft.augment import colour

BASES = (colour.black, colour.mean_grey, colour.grey)
ORDERS = tuple(itertools.permutations(range(len(BASES))))


def random_jitter(image: jax.Array, key: jax.Array, jitter: float) -> jax.Array:
    """Return `image` [H, W, 3] uint8 with other brightness, contrast and saturation.

    Each is multiplied by its own factor, uniform in 1 - jitter to 1 + jitter, in a
    random order: torchvision's ColorJitter on Pillow images.
    """
    factors, order = draw(key, jitter)

    def apply(image: jax.Array, which: jax.Array) -> tuple[jax.Array, None]:
        base = jax.lax.switch(which, BASES, image)
        return colour.blend(base, image, factors[which]), None

    return jax.lax.scan(apply, image, order)[0]


def draw(key: jax.Array, jitter: float) -> tuple[jax.Array, jax.Array]:
    """Return one image's factors [3] float32, and their order [3] int32.

    The factors are those of brightness, contrast and saturation.
    """
    # One draw for both: each that a program makes takes a while to compile.
    drawn = jax.random.uniform(key, (len(BASES) + 1,))
    factors = 1 + jitter * (2 * drawn[:-1] - 1)
    orders = jnp.array(ORDERS, jnp.int32)
    return factors, orders[(drawn[-1] * len(ORDERS)).astype(jnp.int32)]


def random_hue(image: jax.Array, key: jax.Array, largest: float) -> jax.Array:
    """Return `image` [H, W, 3] uint8 with its hues shifted by up to `largest` turns.

    torchvision's ColorJitter shifts the hue before, between or after the other three;
    here it is always after them, so that it is computed once.
    """
    turns = jax.random.uniform(key, (), minval=-largest, maxval=largest)
    return colour.shift_hue(image, turns)
