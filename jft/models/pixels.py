"""From pixels to the input of a network."""

import jax
import jax.numpy as jnp

from jft.preprocess import Preprocess


def normalise(image: jax.Array, preprocess: Preprocess) -> jax.Array:
    """Return `(image * pixel_max / 255 - mean) / std`, float32.

    Args:
        image: [B, H, W, C], mostly RGB, uint8 or float32 in [0, 255].
        preprocess: Its pixel_max, channels, mean and std are used.

    Returns:
        [B, H, W, C], the colours in the preprocessing's order.
    """
    if preprocess.channels == "bgr":
        image = image[..., ::-1]
    mean, std = (
        jnp.asarray(values, jnp.float32).reshape(1, 1, 1, -1)
        for values in (preprocess.mean, preprocess.std)
    )
    scaled = image.astype(jnp.float32) / (255.0 / preprocess.pixel_max)
    return (scaled - mean) / std
