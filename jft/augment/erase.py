"""Random erasing: a rectangle of noise over part of an image."""

import jax
import jax.numpy as jnp

from jft.augment.boxes import inside, random_box

AREA = (0.02, 0.33)  # of the image's
RATIO = (0.3, 3.3)  # height to width


def rectangle(key: jax.Array, height: int, width: int) -> jax.Array:
    """Return the `random_box` of torchvision's RandomErasing for an image of this size.

    It is smaller than the image in both directions.
    """
    return random_box(key, (height, width), (height - 1, width - 1), AREA, RATIO)


def random_erase(image: jax.Array, key: jax.Array, probability: float) -> jax.Array:
    """Return `image` with a random rectangle of noise in it, or unchanged.

        Random erasing (Zhong et al. 2017, arXiv 1708.04896) of an image [H, W, C]
    uint8, each pixel uniform in 0...255 (timm's mode "pixel", before normalisation
    instead of after it).
    """
    height, width, channels = image.shape
    whether_key, box_key, noise_key = jax.random.split(key, 3)
    erased = inside(rectangle(box_key, height, width), height, width)
    erased &= jax.random.bernoulli(whether_key, probability)
    # One random word has room for four bytes of a pixel.
    shape = height, width, -(-channels // 4)
    words = jax.random.bits(noise_key, shape, jnp.uint32)[..., None]
    shifts = jnp.array([0, 8, 16, 24], jnp.uint32)[None, None, None]
    noise = (words >> shifts).astype(jnp.uint8).reshape(height, width, -1)
    noise = noise[..., :channels]
    return jnp.where(erased[..., None], noise, image)
