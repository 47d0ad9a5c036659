"""Normalisation, and the random changes of single images in their order."""

import jax
import jax.numpy as jnp

from jft.augment.crop import random_crop, random_flip
from jft.augment.erase import random_erase
from jft.augment.policy import apply_policy
from jft.config import AugmentConfig
from jft.preprocess import Preprocess

# Folded into an example's key, whose children 0 and 1 are what `split` returns.
POLICY, ERASE = 2, 3


def normalise(image: jax.Array, preprocess: Preprocess) -> jax.Array:
    """Return `(image * pixel_max / 255 - mean) / std`, float32.

    Args:
        image: [B, H, W, 3] RGB, uint8 or float32 in [0, 255].
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

    The order is crop, mirror image, policy, erasing.

    Args:
        image: [B, H, W, 3] uint8.
        example: [B] int32, which example of the source each image is.
        key: The run's key.
        epoch: int32 scalar, counted from 0.
        config: Which changes are made.

    Returns:
        [B, H, W, 3] uint8.
    """
    single = config.flip or config.crop_padding or config.erase
    if not single and config.policy == "none":
        return image
    epoch_key = jax.random.fold_in(key, epoch)

    def one(image: jax.Array, example: jax.Array) -> jax.Array:
        own = jax.random.fold_in(epoch_key, example)
        flip_key, crop_key = jax.random.split(own)
        if config.crop_padding:
            image = random_crop(image, crop_key, config.crop_padding)
        if config.flip:
            image = random_flip(image, flip_key)
        if config.policy != "none":
            image = apply_policy(image, jax.random.fold_in(own, POLICY), config)
        if config.erase:
            image = random_erase(image, jax.random.fold_in(own, ERASE), config.erase)
        return image

    return jax.vmap(one)(image, example)
