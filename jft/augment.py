"""Images on the device: normalisation, and random changes keyed by example."""

import jax
import jax.numpy as jnp

from jft.config import AugmentConfig
from jft.preprocess import Preprocess


def normalise(image: jax.Array, preprocess: Preprocess) -> jax.Array:
    """Return `(image * pixel_max / 255 - mean) / std`, float32.

    Args:
        image: [B, H, W, 3] uint8 RGB.
        preprocess: Its pixel_max, channels, mean and std are used.

    Returns:
        [B, H, W, 3], the colours in the preprocessing's order.
    """
    if preprocess.channels == "bgr":
        image = image[..., ::-1]
    mean = jnp.asarray(preprocess.mean, jnp.float32)
    std = jnp.asarray(preprocess.std, jnp.float32)
    scaled = image.astype(jnp.float32) / (255.0 / preprocess.pixel_max)
    return (scaled - mean) / std


def augment(
    image: jax.Array,
    example: jax.Array,
    key: jax.Array,
    epoch: jax.Array,
    config: AugmentConfig,
) -> jax.Array:
    """Return each image changed at random, the same way whatever batch it is in.

    Args:
        image: [B, H, W, 3] uint8.
        example: [B] int32, which example of the source each image is.
        key: The run's key.
        epoch: int32 scalar, counted from 0.
        config: Which changes are made.

    Returns:
        [B, H, W, 3] uint8.
    """
    if not (config.flip or config.crop_padding):
        return image
    epoch_key = jax.random.fold_in(key, epoch)

    def one(image: jax.Array, example: jax.Array) -> jax.Array:
        flip_key, crop_key = jax.random.split(jax.random.fold_in(epoch_key, example))
        if config.crop_padding:
            image = random_crop(image, crop_key, config.crop_padding)
        if config.flip:
            image = jnp.where(jax.random.bernoulli(flip_key), image[:, ::-1], image)
        return image

    return jax.vmap(one)(image, example)


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
