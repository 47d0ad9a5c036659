"""The random changes of single images, in their order."""

from collections.abc import Callable, Iterator

import jax

from jft.augment.crop import centre, random_crop, random_flip
from jft.augment.erase import random_erase
from jft.augment.geometry import random_rotation
from jft.augment.jitter import random_hue, random_jitter
from jft.augment.picture import Picture
from jft.augment.policy import apply_policy
from jft.augment.resized import random_resized_crop
from jft.config import AugmentConfig

Change = Callable[[Picture, jax.Array], Picture]


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
    changes = list(_changes(config, size))
    if not changes:
        return picture
    epoch_key = jax.random.fold_in(key, epoch)

    def one(picture: Picture, example: jax.Array) -> Picture:
        own = jax.random.fold_in(epoch_key, example)
        for number, change in changes:
            picture = change(picture, jax.random.fold_in(own, number))
        return picture

    return jax.vmap(one)(picture, example)


def _changes(config: AugmentConfig, size: int) -> Iterator[tuple[int, Change]]:
    """Yield the changes in order, each with the number that is folded into its key.

    Another number would be another random draw in every run.
    """
    if config.resized_crop:
        yield 4, lambda p, k: random_resized_crop(p, k, config.resized_crop, size)
    if config.crop_padding:
        yield 1, lambda p, k: random_crop(p, k, config.crop_padding)
    if config.flip:
        yield 0, lambda p, k: random_flip(p, k, axis=1)
    if config.vertical_flip:
        yield 5, lambda p, k: random_flip(p, k, axis=0)
    if config.rotate:
        yield 6, lambda p, k: random_rotation(p, k, config.rotate)
    if config.policy != "none":
        yield 2, lambda p, k: apply_policy(p, k, config)
    if config.jitter:
        yield 7, _coloured(random_jitter, config.jitter)
    if config.hue:
        yield 8, _coloured(random_hue, config.hue)
    if config.erase:
        yield 3, _coloured(random_erase, config.erase)


def _coloured(
    change: Callable[[jax.Array, jax.Array, float], jax.Array], strength: float
) -> Change:
    return lambda p, k: p._replace(image=change(p.image, k, strength))
