"""Random resized crops: a box of any size and shape becomes the network's square."""

import math

import jax
import jax.numpy as jnp

from jft.augment.boxes import random_box
from jft.augment.picture import Picture
from jft.preprocess import bilinear

RATIO = (3 / 4, 4 / 3)  # height to width


def random_resized_crop(
    picture: Picture, key: jax.Array, smallest: float, size: int
) -> Picture:
    """Return a random box of the picture, resized to `size` x `size` pixels.

    The image is resampled, the mask takes nearest pixels. `smallest` is the least area
    of the box as a fraction of the image's, in (0, 1].
    """
    height, width, _ = picture.image.shape
    box = crop_box(key, height, width, smallest)
    mask = None if picture.mask is None else pick(picture.mask, box, size)
    return Picture(resample(picture.image, box, size), mask)


def shrink(image: jax.Array, mask: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """Return whole images [B, R, R, 3] and their masks [B, R, R] at a smaller size.

    That is [B, size, size, 3] uint8 and [B, size, size]; `size` is at most R.
    """
    side = image.shape[1]
    if side == size:
        return image, mask
    box = jnp.array([0, 0, side, side], jnp.int32)
    smaller = jax.vmap(lambda one: resample(one, box, size))
    return smaller(image), jax.vmap(lambda one: pick(one, box, size))(mask)


def crop_box(key: jax.Array, height: int, width: int, smallest: float) -> jax.Array:
    """Return a random box as torchvision's RandomResizedCrop draws it.

    Szegedy et al. 2014 (arXiv 1409.4842): area uniform in `smallest` to 1, the
    logarithm of the ratio in that of RATIO; the first of ten that fits, else all of the
    image, which is torchvision's choice for squares.

    Returns:
        [4] int32: top, left, height, width.
    """
    size = height, width
    box = random_box(key, size, size, (smallest, 1.0), RATIO)
    box = jnp.where(jnp.all(box[2:] > 0), box, jnp.array([0, 0, *size], jnp.int32))
    # Sorted by index, which changes nothing, but ends a fusion: XLA would work
    # the box out again for every pixel, which doubles the time on CPU. Its CPU backend
    # drops optimization barriers.
    return jax.lax.sort((jnp.arange(4, dtype=jnp.int32), box), num_keys=1)[1]


def resample(image: jax.Array, box: jax.Array, size: int) -> jax.Array:
    """Return a box of the image, resized with a bilinear filter and antialiasing.

    Pillow's `resize(box=..., resample=BILINEAR)` to a level: it rounds between rows and
    columns. Like Pillow's, the filter reaches beyond the box where the image does.

    Args:
        image: [H, W, 3] uint8.
        box: [4] int32, top, left, height, width.
        size: Side of the result [size, size, 3] uint8.
    """
    height, width, channels = image.shape
    rows, weights = _neighbours(box[0], box[2], height, size)
    flat = jnp.asarray(image, jnp.float32).reshape(height, width * channels)
    parts = (flat[rows[k]] * weights[k, :, None] for k in range(len(rows)))
    cut = sum(parts, jnp.float32(0)).reshape(size, width, channels)
    columns, weights = _neighbours(box[1], box[3], width, size)
    parts = (cut[:, columns[k]] * weights[k, :, None] for k in range(len(columns)))
    return jnp.round(sum(parts, jnp.float32(0))).astype(jnp.uint8)


def _neighbours(
    start: jax.Array, length: jax.Array, total: int, size: int
) -> tuple[jax.Array, jax.Array]:
    """Return the pixels of a side that each pixel of a resized part is the mean of.

    Only a few have a weight: a product with a whole matrix of weights takes nine times
    as long on CPU. The part begins at `start` and has `length` of the `total` pixels;
    `size` pixels are made of it.

    Returns:
        Indices int32 [K, size] and weights float32 [K, size], which add up to 1.
    """
    scale = length.astype(jnp.float32) / size
    reach = jnp.maximum(scale, 1.0)
    centre = (
        start.astype(jnp.float32)
        + (jnp.arange(size, dtype=jnp.float32) + 0.5) * scale
        - 0.5
    )
    count = math.ceil(2 * max(1.0, total / size))
    first = jnp.floor(centre - reach).astype(jnp.int32) + 1
    pixels = first[None] + jnp.arange(count, dtype=jnp.int32)[:, None]
    weights = bilinear(centre[None], pixels.astype(jnp.float32), total, reach)
    return jnp.clip(pixels, 0, total - 1), weights


def pick(mask: jax.Array, box: jax.Array, size: int) -> jax.Array:
    """Return a box of a mask [H, W], resized by taking the values at pixel centres.

    Args:
        mask: [H, W], integers.
        box: [4] int32, top, left, height, width; sides below 10,000 pixels, for which
            int32 has room.
        size: Side of the result [size, size].
    """
    middle = 2 * jnp.arange(size, dtype=jnp.int32) + 1  # in halves of a pixel
    rows = box[0] + middle * box[2] // (2 * size)
    columns = box[1] + middle * box[3] // (2 * size)
    return mask[rows[:, None], columns]
