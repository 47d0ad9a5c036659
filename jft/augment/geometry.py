"""Shear, translation and rotation as one nearest-neighbour warp.

Pixel for pixel that of Pillow's Image.transform, which counts in 1/65536 of a pixel.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from jft.augment.picture import Picture

GEOMETRIC = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")

# (a, b, c, d, e, f): the result shows at (x, y) what is at (ax + by + c, dx + ey + f).
Matrix = tuple[float, float, float, float, float, float]


def inverse_matrix(operation: str, magnitude: float, height: int, width: int) -> Matrix:
    """Return the matrix from positions in the result to positions in the source.

    Args:
        operation: One of GEOMETRIC; any other leaves the image where it is.
        magnitude: Pixels per pixel for shears, pixels (their fraction is dropped) for
            translations, degrees counter-clockwise for rotations.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
    """
    match operation:
        case "shear_x":
            return 1.0, magnitude, 0.0, 0.0, 1.0, 0.0
        case "shear_y":
            return 1.0, 0.0, 0.0, magnitude, 1.0, 0.0
        case "translate_x":
            return 1.0, 0.0, -math.trunc(magnitude), 0.0, 1.0, 0.0
        case "translate_y":
            return 1.0, 0.0, 0.0, 0.0, 1.0, -math.trunc(magnitude)
        case "rotate":
            return _rotation(magnitude, height / 2, width / 2)
        case _:
            return 1.0, 0.0, 0.0, 0.0, 1.0, 0.0


def _rotation(degrees: float, y: float, x: float) -> Matrix:
    # Pillow rounds to 15 decimals too: 90 degrees would else miss a pixel's edge.
    cos = round(math.cos(math.radians(degrees)), 15)
    sin = round(math.sin(math.radians(degrees)), 15)
    return cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y


def fixed_point(matrix: np.ndarray) -> np.ndarray:
    """Return matrices [..., 6] in 1/65536 of a pixel, from pixel centres, int32."""
    a, b, c, d, e, f = np.moveaxis(matrix, -1, 0)
    centred = np.stack([a, b, c + a / 2 + b / 2, d, e, f + d / 2 + e / 2], axis=-1)
    return np.floor(centred * 65536 + 0.5).astype(np.int32)


def warp(image: jax.Array, matrix: jax.Array, fill: int = 0) -> jax.Array:
    """Return what `image` shows where the matrix points to.

    Args:
        image: [H, W, C] uint8 or a mask [H, W], of sides below 10,000, which int32 has
            room for.
        matrix: [6] int32 from `fixed_point`.
        fill: The value outside.
    """
    height, width = image.shape[:2]
    a, b, c, d, e, f = matrix
    x = jnp.arange(width, dtype=jnp.int32)[None]
    y = jnp.arange(height, dtype=jnp.int32)[:, None]
    column = (a * x + b * y + c) >> 16
    row = (d * x + e * y + f) >> 16
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    found = image[jnp.clip(row, 0, height - 1), jnp.clip(column, 0, width - 1)]
    return jnp.where(jnp.expand_dims(inside, tuple(range(2, image.ndim))), found, fill)


def random_rotation(picture: Picture, key: jax.Array, largest: float) -> Picture:
    """Return the picture turned about its centre; black and void come from outside.

    The angle is uniform in `-largest` to `largest` degrees. Nearest neighbours for the
    image too, as in torchvision's RandomRotation, so that each pixel keeps its label.
    """
    degrees = jax.random.uniform(key, (), minval=-largest, maxval=largest)
    matrix = rotation(degrees, *picture.image.shape[:2])
    return picture.moved(lambda array, fill: warp(array, matrix, fill))


def rotation(degrees: jax.Array, height: int, width: int) -> jax.Array:
    """Return the matrix for `warp` of a rotation drawn on the device, [6] int32.

    It is `fixed_point(inverse_matrix("rotate", ...))`, except for rounding in float32,
    which may change an entry by 1/65536: by 1/1000 of a pixel at 32 pixels a side.
    """
    cos, sin = jnp.cos(jnp.radians(degrees)), jnp.sin(jnp.radians(degrees))
    # From the first pixel's centre to the image's.
    x, y = (width - 1) / 2, (height - 1) / 2
    shift = width / 2 - cos * x + sin * y, height / 2 - sin * x - cos * y
    matrix = jnp.stack([cos, -sin, shift[0], sin, cos, shift[1]])
    return jnp.round(matrix * 65536).astype(jnp.int32)
