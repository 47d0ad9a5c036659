import functools

import jax
import numpy as np
import pytest
from distributions import distance

from jft.augment.boxes import inside
from jft.augment.erase import random_erase, rectangle

MANY = 2000
IMAGE = np.random.default_rng(0).integers(0, 256, (20, 45, 3), dtype=np.uint8)
KEYS = jax.random.split(jax.random.key(0), MANY)


@functools.partial(jax.jit, static_argnums=(1, 2))
def rectangles(keys: jax.Array, height: int, width: int) -> jax.Array:
    """Return a rectangle for each key: top, left, height, width."""
    return jax.vmap(lambda key: rectangle(key, height, width))(keys)


def reference(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return rectangles as torchvision's RandomErasing.get_params draws them."""
    rng = np.random.default_rng(seed)
    found = np.zeros((MANY, 4), int)
    for row in found:
        for _ in range(10):
            area = height * width * rng.uniform(0.02, 0.33)
            ratio = np.exp(rng.uniform(np.log(0.3), np.log(3.3)))
            tall = round(float(np.sqrt(area * ratio)))
            wide = round(float(np.sqrt(area / ratio)))
            if tall < height and wide < width:
                top = rng.integers(0, height - tall + 1)
                row[:] = top, rng.integers(0, width - wide + 1), tall, wide
                break
    return found


# The second is so flat that most rectangles do not fit, and often none of ten.
@pytest.mark.parametrize("size", [IMAGE.shape[:2], (3, 200)])
def test_rectangles_are_distributed_as_torchvisions(size: tuple[int, int]):
    both = np.asarray(rectangles(KEYS, *size)), reference(*size)
    empty = [np.mean(rows[:, 2] * rows[:, 3] == 0) for rows in both]
    # Fractions of 2000 deviate by at most 0.0112, their difference by sqrt(2) of that.
    assert abs(empty[0] - empty[1]) < 5 * 0.0112 * 2**0.5
    both = [rows[rows[:, 2] * rows[:, 3] > 0] for rows in both]
    # Two samples of n and m are further apart than this once in a thousand.
    bound = 1.95 * sum(1 / len(rows) for rows in both) ** 0.5
    for one, other in zip(both[0].T, both[1].T, strict=True):
        assert distance(one, other) < bound
    for values in (lambda t, w: t * w, lambda t, w: t / w):  # area, ratio
        assert distance(*(values(rows[:, 2], rows[:, 3]) for rows in both)) < bound


def test_rectangles_lie_inside_and_touch_every_edge():
    height, width = IMAGE.shape[:2]
    top, left, tall, wide = np.asarray(rectangles(KEYS, height, width)).T
    assert np.all((top >= 0) & (left >= 0) & (tall < height) & (wide < width))
    assert np.max(top + tall) == height
    assert np.max(left + wide) == width
    assert np.min(top) == np.min(left) == 0


@pytest.mark.parametrize(
    "box", [(0, 0, 5, 7), (1, 2, 3, 4), (4, 6, 1, 1), (2, 2, 0, 0)]
)
def test_inside_is_the_slice(box: tuple[int, ...]):
    top, left, tall, wide = box
    expected = np.zeros((5, 7), bool)
    expected[top : top + tall, left : left + wide] = True
    assert np.array_equal(inside(np.array(box, np.int32), 5, 7), expected)


@jax.jit
def erased(keys: jax.Array, probability: float) -> jax.Array:
    """Return IMAGE after erasing by each key."""
    return jax.vmap(lambda key: random_erase(IMAGE, key, probability))(keys)


def test_images_are_erased_with_the_probability_given():
    changed = np.any(np.asarray(erased(KEYS, 0.3)) != IMAGE, axis=(1, 2, 3))
    deviation = (0.3 * 0.7 / MANY) ** 0.5
    assert abs(changed.mean() - 0.3) < 5 * deviation
    assert not np.any(np.asarray(erased(KEYS, 0.0)) != IMAGE)


def test_noise_is_uniform_in_the_rectangle_and_nowhere_else():
    found = np.asarray(erased(KEYS, 1.0))
    box_keys = jax.vmap(lambda key: jax.random.split(key, 3)[1])(KEYS)
    mask = np.zeros(found.shape[:3], bool)
    boxes = np.asarray(rectangles(box_keys, *IMAGE.shape[:2]))
    for row, (top, left, tall, wide) in zip(mask, boxes, strict=True):
        row[top : top + tall, left : left + wide] = True
    assert np.array_equal(found[~mask], np.broadcast_to(IMAGE, found.shape)[~mask])
    noise = found[mask]  # [pixels, 3]
    for channel in noise.T:
        counts = np.bincount(channel, minlength=256)
        mean = len(channel) / 256
        # Chi-square of 255 degrees of freedom, within five deviations.
        assert np.sum((counts - mean) ** 2 / mean) < 255 + 5 * 510**0.5
    # Channels and neighbours are independent: of n pairs, correlations deviate by
    # 1 / sqrt(n).
    limit = 5 / len(noise) ** 0.5
    assert np.all(np.abs(np.corrcoef(noise.T) - np.eye(3)) < limit)
    assert abs(np.corrcoef(noise[:-1, 0], noise[1:, 0])[0, 1]) < limit
