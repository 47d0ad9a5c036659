import jax
import jax.numpy as jnp
import numpy as np
import pillow_operations
import pytest

from jft.augment.geometry import (
    GEOMETRIC,
    fixed_point,
    inverse_matrix,
    random_rotation,
    rotation,
    warp,
)
from jft.augment.picture import Picture
from jft.augment.policy import BINS, OPERATIONS, magnitudes, matrices

warps = jax.jit(jax.vmap(warp, (None, 0)))


def picture(height: int, width: int) -> np.ndarray:
    """Return an image without a black pixel, which is what comes from outside."""
    rng = np.random.default_rng(height)
    return rng.integers(1, 256, (height, width, 3), dtype=np.uint8)


# Odd and even sides, wide and tall, a single pixel; 90 degrees, which Pillow makes by
# other means for squares, is level 20 of trivial.
@pytest.mark.parametrize("size", [(32, 32), (9, 9), (5, 12), (31, 8), (1, 1)])
@pytest.mark.parametrize("policy", ["trivial", "rand"])
def test_every_level_is_pillows_pixel_for_pixel(policy: str, size: tuple[int, int]):
    image = picture(*size)
    table = magnitudes(policy, *size)
    rows = [OPERATIONS.index(name) for name in GEOMETRIC]
    found = np.asarray(warps(image, matrices(table, *size)[rows].reshape(-1, 6)))
    for out, (name, level) in zip(
        found, [(n, i) for n in GEOMETRIC for i in range(2 * BINS)], strict=True
    ):
        strength = float(table[OPERATIONS.index(name), level])
        expected = pillow_operations.change(image, name, strength)
        assert np.array_equal(out, expected), (name, level)


@pytest.mark.parametrize("degrees", [0.0, 90.0, 180.0, -90.0, 270.0, 360.0])
def test_quarter_turns_move_every_pixel_and_lose_none(degrees: float):
    image = picture(6, 6)
    matrix = fixed_point(np.array(inverse_matrix("rotate", degrees, 6, 6)))
    turned = np.rot90(image, round(degrees / 90))
    assert np.array_equal(warp(image, matrix), turned)


def test_a_translation_drops_the_fraction_of_a_pixel_both_ways():
    image = picture(4, 5)
    right = fixed_point(np.array(inverse_matrix("translate_x", 2.9, 4, 5)))
    up = fixed_point(np.array(inverse_matrix("translate_y", -2.9, 4, 5)))
    expected = np.zeros_like(image)
    expected[:, 2:] = image[:, :3]
    assert np.array_equal(warp(image, right), expected)
    expected = np.zeros_like(image)
    expected[:2] = image[2:]
    assert np.array_equal(warp(image, up), expected)


@pytest.mark.parametrize("operation", ["identity", "equalize"])
def test_other_operations_move_nothing(operation: str):
    image = picture(7, 3)
    matrix = fixed_point(np.array(inverse_matrix(operation, 30.0, 7, 3)))
    assert np.array_equal(warp(image, matrix), image)


@pytest.mark.parametrize("size", [(32, 32), (9, 12), (224, 500)])
def test_a_rotation_drawn_on_the_device_finds_the_places_of_float64(
    size: tuple[int, int],
):
    height, width = size
    row, column = np.mgrid[:height, :width]
    point = np.stack([column, row, np.ones_like(row)]).reshape(3, -1)
    degrees = np.random.default_rng(0).uniform(-180, 180, 50).astype(np.float32)
    found = jax.vmap(lambda angle: rotation(angle, *size))(degrees)
    for matrix, angle in zip(np.asarray(found), degrees.tolist(), strict=True):
        # Of pixel centres, written out.
        a, b, c, d, e, f = inverse_matrix("rotate", angle, *size)
        rows = [[a, b, c + a / 2 + b / 2], [d, e, f + d / 2 + e / 2]]
        apart = matrix.reshape(2, 3) @ point / 65536 - np.array(rows) @ point
        # Three roundings to 1/65536, two of them times a side, and those of float32.
        assert np.max(np.abs(apart)) < 1.5e-3 * max(1, max(size) / 128)


def test_random_rotations_are_pillows_of_angles_drawn_uniformly():
    image, largest, many = picture(24, 31), 25.0, 400
    keys = jax.random.split(jax.random.key(0), many)
    still = Picture(jnp.asarray(image), None)
    turned = jax.jit(jax.vmap(lambda key: random_rotation(still, key, largest)))
    # The same draw, in the unit interval.
    drawn = np.asarray(jax.vmap(lambda key: jax.random.uniform(key, ()))(keys))
    degrees = largest * (2 * drawn.astype(np.float64) - 1)
    apart = 0
    for out, angle in zip(
        np.asarray(turned(keys).image), degrees.tolist(), strict=True
    ):
        expected = pillow_operations.change(image, "rotate", angle)
        apart += np.sum(np.any(out != expected, axis=-1))
    # A point that is 1/1000 off finds another pixel for one in 500 at worst; most are
    # off by less.
    assert apart < many * image[..., 0].size / 2000
    assert degrees.min() < -0.95 * largest
    assert degrees.max() > 0.95 * largest
