"""Random resized crops: a box of any size and shape becomes the network's square."""

import jax
import jax.numpy as jnp

from jft.augment.boxes import random_box
from jft.augment.picture import Picture

RATIO = (3 / 4, 4 / 3)  # height to width


def random_resized_crop(
    picture: Picture, key: jax.Array, smallest: float, size: int
) -> Picture:
    """Return a random box of the picture, resized to `size` x `size`.

    The image is resampled, the mask takes nearest pixels.

    Args:
        picture: image [R, R, 3], mask [R, R] or None.
        key: Random key of this picture.
        smallest: Share of the image's area that the box has at least, in (0, 1].
        size: Side of the result, in pixels.

    Returns:
        image [size, size, 3], mask [size, size] or None.
    """
    height, width, _ = picture.image.shape
    box = crop_box(key, height, width, smallest)
    mask = None if picture.mask is None else pick(picture.mask, box, size)
    return Picture(resample(picture.image, box, size), mask)


def crop_box(key: jax.Array, height: int, width: int, smallest: float) -> jax.Array:
    """Return a random box as torchvision's RandomResizedCrop draws it.

    Szegedy et al. 2014 (arXiv 1409.4842): area uniform in `smallest` to 1, the
    logarithm of the ratio in that of RATIO; the first of ten that fits, else all of the
    image, which is torchvision's choice for squares.

    Args:
        key: Random key.
        height: Of the image, in pixels.
        width: Of the image, in pixels.
        smallest: In (0, 1].

    Returns:
        [4] int32: top, left, height, width.
    """
    size = height, width
    box = random_box(key, size, size, (smallest, 1.0), RATIO)
    return jnp.where(jnp.all(box[2:] > 0), box, jnp.array([0, 0, *size], jnp.int32))


def resample(image: jax.Array, box: jax.Array, size: int) -> jax.Array:
    """Return a box of the image, resized with a bilinear filter and antialiasing.

    Pillow's `resize(box=..., resample=BILINEAR)` to a level: it rounds between rows and
    columns. Like Pillow's, the filter reaches beyond the box where the image does.

    Args:
        image: [H, W, 3] uint8.
        box: [4] int32, top, left, height, width.
        size: Side of the result, in pixels.

    Returns:
        [size, size, 3] uint8.
    """
    place, sides = box[:2].astype(jnp.float32), box[2:].astype(jnp.float32)
    scale = size / sides
    levels = jax.image.scale_and_translate(
        image.astype(jnp.float32),
        (size, size, image.shape[2]),
        (0, 1),
        scale,
        -place * scale,
        method="linear",
    )
    return jnp.round(levels).astype(jnp.uint8)


def pick(mask: jax.Array, box: jax.Array, size: int) -> jax.Array:
    """Return a box of a mask [H, W], resized by taking what lies at pixel centres.

    Args:
        mask: [H, W], integers.
        box: [4] int32, top, left, height, width; sides below 10,000 pixels, for which
            int32 has room.
        size: Side of the result, in pixels.

    Returns:
        [size, size], of the mask's own values.
    """
    middle = 2 * jnp.arange(size, dtype=jnp.int32) + 1  # in halves of a pixel
    rows = box[0] + middle * box[2] // (2 * size)
    columns = box[1] + middle * box[3] // (2 * size)
    return mask[rows[:, None], columns]
