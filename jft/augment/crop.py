"""Random crops and mirror images."""

import jax
import jax.numpy as jnp


def random_crop(image: jax.Array, key: jax.Array, padding: int) -> jax.Array:
    """Return a random H x W window of `image` [H, W, C] padded with black.

    Args:
        image: [H, W, C] uint8.
        key: Random key of this image.
        padding: Pixels added on every side.
    """
    padded = jnp.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    top, left = jax.random.randint(key, (2,), 0, 2 * padding + 1)
    return jax.lax.dynamic_slice(padded, (top, left, 0), image.shape)


def random_flip(image: jax.Array, key: jax.Array) -> jax.Array:
    """Return `image` [H, W, C], mirrored left-right with probability 1/2."""
    return jnp.where(jax.random.bernoulli(key), image[:, ::-1], image)
