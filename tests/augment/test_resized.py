import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from distributions import distance
from PIL import Image

from jft.augment.picture import Picture
from jft.augment.resized import (
    crop_box,
    pick,
    random_resized_crop,
    resample,
    shrink,
)

MANY = 3000
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (40, 40, 3), dtype=np.uint8)
MASK = RNG.integers(0, 256, (40, 40), dtype=np.uint8)
# Top, left, height, width: all of it, smaller, larger and as large as the result; flat
# and tall, at every edge, and one pixel.
BOXES = np.array(
    [
        *([0, 0, 40, 40], [3, 5, 30, 28], [10, 11, 7, 9], [8, 2, 16, 16]),
        *([0, 3, 12, 37], [28, 0, 12, 40], [5, 36, 35, 4], [39, 39, 1, 1]),
    ],
    np.int32,
)
SIZES = pytest.mark.parametrize("size", [16, 7, 1, 61])


@SIZES
def test_resampling_a_box_is_pillows_to_a_level(size: int):
    picture = Image.fromarray(IMAGE)
    found = jax.vmap(lambda box: resample(IMAGE, box, size))(BOXES)
    assert found.dtype == np.uint8
    for out, (top, left, tall, wide) in zip(
        np.asarray(found), BOXES.tolist(), strict=True
    ):
        box = left, top, left + wide, top + tall
        bilinear = Image.Resampling.BILINEAR
        expected = np.array(picture.resize((size, size), bilinear, box=box))
        # Pillow rounds between the rows and the columns, by up to half a level.
        apart = np.abs(out.astype(int) - expected)
        assert np.max(apart) <= 1
        # A level too low everywhere would be within a level too.
        assert size == 1 or np.mean(apart) < 0.25


def test_resampling_all_of_an_image_to_its_size_changes_nothing():
    assert np.array_equal(resample(IMAGE, BOXES[0], 40), IMAGE)


@pytest.mark.parametrize("size", [40, 17])
def test_whole_images_and_masks_are_brought_to_a_size(size: int):
    image, mask = shrink(IMAGE[None], MASK[None], size)
    assert np.array_equal(image[0], resample(IMAGE, BOXES[0], size))
    assert np.array_equal(mask[0], pick(jnp.asarray(MASK), BOXES[0], size))


@SIZES
def test_a_mask_takes_the_pixels_at_the_centres_of_the_new_ones(size: int):
    found = np.asarray(jax.vmap(lambda box: pick(jnp.asarray(MASK), box, size))(BOXES))
    assert found.dtype == np.uint8
    for out, (top, left, tall, wide) in zip(found, BOXES.tolist(), strict=True):
        for row in range(size):
            for column in range(size):
                y = top + ((2 * row + 1) * tall) // (2 * size)
                x = left + ((2 * column + 1) * wide) // (2 * size)
                assert out[row, column] == MASK[y, x]


@functools.partial(jax.jit, static_argnums=1)
def boxes(keys: jax.Array, smallest: float) -> jax.Array:
    """Return a box in 40 x 40 for each key."""
    return jax.vmap(lambda key: crop_box(key, 40, 40, smallest))(keys)


def reference(smallest: float) -> np.ndarray:
    """Return boxes as torchvision's RandomResizedCrop.get_params draws them."""
    rng = np.random.default_rng(0)
    found = np.tile(np.array([0, 0, 40, 40]), (MANY, 1))
    for row in found:
        for _ in range(10):
            area = 1600 * rng.uniform(smallest, 1)
            ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
            wide = round(float(np.sqrt(area * ratio)))
            tall = round(float(np.sqrt(area / ratio)))
            if 0 < wide <= 40 and 0 < tall <= 40:
                top = rng.integers(0, 40 - tall + 1)
                row[:] = top, rng.integers(0, 40 - wide + 1), tall, wide
                break
    return found


# Of boxes of almost all of the area few fit: often none of ten does.
@pytest.mark.parametrize("smallest", [0.08, 0.5, 0.97])
def test_boxes_are_distributed_as_torchvisions(smallest: float):
    keys = jax.random.split(jax.random.key(0), MANY)
    found, expected = np.asarray(boxes(keys, smallest)), reference(smallest)
    # Two samples of n are further apart than this once in a thousand.
    bound = 1.95 * (2 / MANY) ** 0.5
    for one, other in zip(found.T, expected.T, strict=True):
        assert distance(one, other) < bound
    for values in (lambda t, w: t * w, lambda t, w: t / w):  # area, ratio
        sides = found[:, 2:].T, expected[:, 2:].T
        assert distance(*(values(*pair) for pair in sides)) < bound
    top, left, tall, wide = found.T
    assert np.all((top >= 0) & (left >= 0) & (tall > 0) & (wide > 0))
    assert np.max(top + tall) == np.max(left + wide) == 40


def test_image_and_mask_come_from_the_same_box():
    key = jax.random.key(4)
    both = Picture(jnp.asarray(IMAGE), jnp.asarray(MASK))
    image, mask = jax.jit(lambda: random_resized_crop(both, key, 0.1, 12))()
    box = boxes(key[None], 0.1)[0]
    assert np.array_equal(image, resample(IMAGE, box, 12))
    assert mask is not None
    assert np.array_equal(mask, pick(both.mask, box, 12))
