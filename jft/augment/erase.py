"""Random erasing: a rectangle of noise over part of an image."""

import math

import jax
import jax.numpy as jnp

AREA = (0.02, 0.33)  # of the image's
RATIO = (0.3, 3.3)  # height to width
ATTEMPTS = 10


def rectangle(key: jax.Array, height: int, width: int) -> jax.Array:
    """Return a random rectangle that is smaller than the image both ways.

    Area is uniform in AREA, the logarithm of the ratio in that of RATIO. The first of
    ten that fits is taken, as in torchvision's RandomErasing.

    Args:
        key: Random key.
        height: Of the image, in pixels.
        width: Of the image, in pixels.

    Returns:
        [4] int32: top, left, height, width; the latter two are 0 where none fits.
    """
    area, ratio, place = jax.random.uniform(key, (3, ATTEMPTS))
    pixels = (AREA[0] + (AREA[1] - AREA[0]) * area) * (height * width)
    low, high = math.log(RATIO[0]), math.log(RATIO[1])
    ratio = jnp.exp(low + (high - low) * ratio)
    sides = jnp.round(jnp.sqrt(jnp.stack([pixels * ratio, pixels / ratio], axis=1)))
    size = jnp.array([height, width], jnp.float32)
    fits = jnp.all(sides < size, axis=1)
    first = jnp.argmax(fits)
    chosen = jnp.where(fits[first], sides[first], 0)
    corner = jnp.floor(place[:2] * (size - chosen + 1))
    return jnp.concatenate([corner, chosen]).astype(jnp.int32)


def inside(box: jax.Array, height: int, width: int) -> jax.Array:
    """Return which pixels are in a box [4] int32 of top, left, height, width.

    Returns:
        [height, width] bool.
    """
    top, left, tall, wide = box
    row = jnp.arange(height, dtype=jnp.int32)[:, None]
    column = jnp.arange(width, dtype=jnp.int32)
    rows = (row >= top) & (row < top + tall)
    return rows & (column >= left) & (column < left + wide)


def random_erase(image: jax.Array, key: jax.Array, probability: float) -> jax.Array:
    """Return `image` with a random rectangle of noise in it, or as it is.

    Random erasing (Zhong et al. 2017, arXiv 1708.04896), each pixel uniform in 0...255
    (timm's mode "pixel", before normalisation instead of after it).

    Args:
        image: [H, W, 3] uint8.
        key: Random key of this image.
        probability: Of erasing, in [0, 1].
    """
    height, width, _ = image.shape
    whether_key, place_key, noise_key = jax.random.split(key, 3)
    erased = inside(rectangle(place_key, height, width), height, width)
    erased &= jax.random.bernoulli(whether_key, probability)
    # One random word has room for the three bytes of a pixel.
    words = jax.random.bits(noise_key, (height, width, 1), jnp.uint32)
    noise = (words >> jnp.array([0, 8, 16], jnp.uint32)).astype(jnp.uint8)
    return jnp.where(erased[..., None], noise, image)
