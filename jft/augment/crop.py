"""Central and random crops, and mirror images."""

import jax
import jax.numpy as jnp

from jft.augment.picture import Picture


def centre(image: jax.Array, size: int) -> jax.Array:
    """Return the central `size` x `size` of images, or of masks.

    Args:
        image: [B, H, W, 3] or [B, H, W]. Where a side has an odd number of pixels too
            many, the position is that of torchvision's CenterCrop.
        size: In pixels, at most H and W.
    """
    height, width = image.shape[1:3]
    assert size <= min(height, width), f"no {size} pixels in {height} x {width}"
    top, left = round((height - size) / 2), round((width - size) / 2)
    return image[:, top : top + size, left : left + size]


def random_crop(picture: Picture, key: jax.Array, padding: int) -> Picture:
    """Return a random H x W window of the picture, after `padding` pixels on each side.

    The padding is black, and void in the mask.
    """
    top, left = jax.random.randint(key, (2,), 0, 2 * padding + 1)

    def window(array: jax.Array, fill: int) -> jax.Array:
        inner = ((0, 0),) * (array.ndim - 2)
        edges = ((padding, padding), (padding, padding), *inner)
        padded = jnp.pad(array, edges, constant_values=fill)
        corner = (top, left, *(0 for _ in inner))
        return jax.lax.dynamic_slice(padded, corner, array.shape)

    return picture.moved(window)


def random_flip(picture: Picture, key: jax.Array, axis: int) -> Picture:
    """Return the picture mirrored with probability 1/2.

    Axis 1 mirrors left-right, axis 0 upside down.
    """
    mirrored = jax.random.bernoulli(key)

    def move(array: jax.Array, _: int) -> jax.Array:
        # Not a choice of two arrays: XLA would work out both, with all that came
        # before, in the loop that chooses.
        indices = jnp.arange(array.shape[axis], dtype=jnp.int32)
        indices = jnp.where(mirrored, indices[::-1], indices)
        return jnp.take(array, indices, axis)

    return picture.moved(move)
