"""The random changes of single images, in their order."""

import jax

from jft.augment.crop import centre, random_crop, random_flip
from jft.augment.erase import random_erase
from jft.augment.geometry import random_rotation
from jft.augment.jitter import random_hue, random_jitter
from jft.augment.picture import Picture
from jft.augment.policy import apply_policy
from jft.augment.resized import random_resized_crop
from jft.config import AugmentConfig

# Folded into an example's key, whose children 0 and 1 are what `split` returns.
POLICY, ERASE, RESIZED_CROP, VERTICAL_FLIP, ROTATE, JITTER, HUE = range(2, 9)


def augment(
    image: jax.Array,
    example: jax.Array,
    key: jax.Array,
    epoch: jax.Array,
    config: AugmentConfig,
    *,
    size: int,
    mask: jax.Array | None = None,
) -> Picture:
    """Return each image changed at random, the same way whatever batch it is in.

    The order is resized crop, crop, mirror images, rotation, policy, jitter, hue,
    erasing. A mask goes wherever its image goes: it takes nearest pixels, and VOID
    where the image is filled with black. Changes of colour, and erasing, do not change
    it.

    Args:
        image: [B, R, R, 3] uint8, from which resized crops are taken. Without these,
            the central square is used.
        example: [B] int32, which example of the source each image is.
        key: The run's key.
        epoch: int32 scalar, counted from 0.
        config: Which changes are made.
        size: Side S of the result, in pixels, at most R.
        mask: [B, R, R] uint8, or None.

    Returns:
        image [B, S, S, 3] uint8; mask [B, S, S] uint8, or None.
    """
    picture = Picture(image, mask)
    if not config.resized_crop:
        picture = picture.moved(lambda array, _: centre(array, size))
    if not _changes(config):
        return picture
    epoch_key = jax.random.fold_in(key, epoch)

    def one(picture: Picture, example: jax.Array) -> Picture:
        own = jax.random.fold_in(epoch_key, example)
        picture = _moved(picture, own, config, size)
        if config.policy != "none":
            picture = apply_policy(picture, jax.random.fold_in(own, POLICY), config)
        return picture._replace(image=_coloured(picture.image, own, config))

    return jax.vmap(one)(picture, example)


def _changes(config: AugmentConfig) -> bool:
    """Return whether single images are changed at all."""
    moved = config.resized_crop or config.crop_padding or config.rotate
    mirrored = config.flip or config.vertical_flip
    coloured = config.jitter or config.hue or config.erase
    return bool(moved or mirrored or coloured or config.policy != "none")


def _moved(
    picture: Picture, own: jax.Array, config: AugmentConfig, size: int
) -> Picture:
    flip_key, crop_key = jax.random.split(own)
    if config.resized_crop:
        resized_key = jax.random.fold_in(own, RESIZED_CROP)
        picture = random_resized_crop(picture, resized_key, config.resized_crop, size)
    if config.crop_padding:
        picture = random_crop(picture, crop_key, config.crop_padding)
    if config.flip:
        picture = random_flip(picture, flip_key, axis=1)
    if config.vertical_flip:
        picture = random_flip(picture, jax.random.fold_in(own, VERTICAL_FLIP), axis=0)
    if config.rotate:
        rotate_key = jax.random.fold_in(own, ROTATE)
        picture = random_rotation(picture, rotate_key, config.rotate)
    return picture


def _coloured(image: jax.Array, own: jax.Array, config: AugmentConfig) -> jax.Array:
    if config.jitter:
        image = random_jitter(image, jax.random.fold_in(own, JITTER), config.jitter)
    if config.hue:
        image = random_hue(image, jax.random.fold_in(own, HUE), config.hue)
    if config.erase:
        image = random_erase(image, jax.random.fold_in(own, ERASE), config.erase)
    return image
