"""Random boxes of a given area and shape, for crops and for erasing."""

import math

import jax
import jax.numpy as jnp

ATTEMPTS = 10


def random_box(
    key: jax.Array,
    size: tuple[int, int],
    largest: tuple[int, int],
    area: tuple[float, float],
    ratio: tuple[float, float],
) -> jax.Array:
    """Return a random box, the first of ten that fits, as torchvision draws it.

    Area is uniform, the logarithm of the ratio too. All ten are drawn at once: a
    program has no loop that stops at the first.

    Args:
        key: Random key.
        size: Height and width of the image, in pixels.
        largest: The largest height and width that fit.
        area: Smallest and largest area, as fractions of the image's.
        ratio: Least and largest height to width.

    Returns:
        [4] int32: top, left, height, width; the latter two are 0 where none fits.
    """
    areas, ratios, position = jax.random.uniform(key, (3, ATTEMPTS))
    pixels = (area[0] + (area[1] - area[0]) * areas) * (size[0] * size[1])
    low, high = math.log(ratio[0]), math.log(ratio[1])
    ratios = jnp.exp(low + (high - low) * ratios)
    sides = jnp.round(jnp.sqrt(jnp.stack([pixels * ratios, pixels / ratios], axis=1)))
    fits = jnp.all(sides <= jnp.array([largest], jnp.float32), axis=1)
    first = jnp.argmax(fits)
    chosen = jnp.where(fits[first], sides[first], 0)
    corner = jnp.floor(position[:2] * (jnp.array(size, jnp.float32) - chosen + 1))
    return jnp.concatenate([corner, chosen]).astype(jnp.int32)


def inside(box: jax.Array, height: int, width: int) -> jax.Array:
    """Return which pixels of [height, width] are in a box, bool.

    The box is [4] int32: top, left, height, width.
    """
    top, left, tall, wide = box
    row = jnp.arange(height, dtype=jnp.int32)[:, None]
    column = jnp.arange(width, dtype=jnp.int32)[None]
    rows = (row >= top) & (row < top + tall)
    return rows & (column >= left) & (column < left + wide)
