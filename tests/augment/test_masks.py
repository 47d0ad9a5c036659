"""Image and mask stay in register, whatever happens to them."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pillow_operations
import pytest
from PIL import Image

from jft.augment import augment, centre
from jft.augment.crop import random_crop, random_flip
from jft.augment.erase import random_erase
from jft.augment.geometry import GEOMETRIC, random_rotation
from jft.augment.jitter import random_hue, random_jitter
from jft.augment.picture import Picture
from jft.augment.policy import OPERATIONS, apply_policy, draw, magnitudes
from jft.augment.resized import random_resized_crop
from jft.config import AugmentConfig

pytestmark = pytest.mark.thorough

VOID = 255
CANVAS, SIZE, STEP = 20, 14, 12
KEY, EPOCH = jax.random.key(0), np.int32(4)
IDS = np.arange(100, 140, dtype=np.int32)
# An image and a mask have at each pixel 12 times its row or its column, so
# that a level too many is no pixel too many.
ROW, COLUMN = STEP * np.mgrid[:CANVAS, :CANVAS].astype(np.uint8)
# Red is the column, green the row, and blue marks pixels of the image.
POSITIONS = np.stack([COLUMN, ROW, np.full_like(ROW, 255)], axis=-1)

STILL = AugmentConfig(crop_padding=0)
NEAREST: dict[str, dict[str, Any]] = {
    "flip": {"flip": True},
    "vertical_flip": {"vertical_flip": True},
    "crop_padding": {"crop_padding": 3},
    "rotate": {"rotate": 40.0},
}
ALL = {name: value for option in NEAREST.values() for name, value in option.items()}


@functools.partial(jax.jit, static_argnums=0)
def changed(config: AugmentConfig, image: np.ndarray, *masks: np.ndarray) -> Any:
    """Return image and masks, [B, SIZE, SIZE, ...], each mask along the same way."""

    def batch(array: np.ndarray) -> Any:
        return jnp.broadcast_to(array, (len(IDS), *array.shape))

    found = [
        augment(batch(image), IDS, KEY, EPOCH, config, size=SIZE, mask=batch(mask))
        for mask in masks
    ]
    return found[0].image, *(picture.mask for picture in found)


def register(config: AugmentConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what is void [B, S, S], and positions in image and masks [B, S, S, 2]."""
    image, column, row = map(np.asarray, changed(config, POSITIONS, COLUMN, ROW))
    assert {array.dtype for array in (image, column, row)} == {np.dtype(np.uint8)}
    void = image[..., 2] == 0
    assert np.all((image[..., 2] == 255) | void)
    assert np.array_equal(column == VOID, void)
    assert np.array_equal(row == VOID, void)
    assert not np.any(image[void])
    return void, image[..., :2], np.stack([column, row], axis=-1)


@pytest.mark.parametrize("options", [*NEAREST, "all"])
def test_what_takes_nearest_pixels_moves_both_pixel_for_pixel(options: str):
    config = dataclasses.replace(STILL, **NEAREST.get(options, ALL))
    void, image, mask = register(config)
    assert np.array_equal(image[~void], mask[~void])
    # It moves something: few come out as the centre is.
    still = np.all(mask == mask_at_rest(), axis=(1, 2, 3))
    assert np.mean(still) < 0.8
    assert np.any(void) == (options not in ("flip", "vertical_flip"))


def mask_at_rest() -> np.ndarray:
    margin = (CANVAS - SIZE) // 2
    inner = slice(margin, margin + SIZE)
    return np.stack([COLUMN, ROW], axis=-1)[inner, inner]


@pytest.mark.parametrize("options", [{}, ALL], ids=["alone", "with all"])
def test_a_resized_crop_moves_both_to_within_a_pixel(options: dict[str, Any]):
    config = dataclasses.replace(STILL, resized_crop=0.2, **options)
    void, image, mask = register(config)
    apart = np.abs(image[~void].astype(int) - mask[~void])
    # Nearest pixels are half a pixel off, and the blend half a level; an antialiasing
    # filter that the image's edge cuts adds less than another half pixel.
    assert np.max(apart) <= STEP
    assert np.mean(apart) < STEP / 3
    # Boxes reach out of the central square, and are larger and smaller than it.
    assert len(np.unique(mask[~void])) == CANVAS
    assert np.any(void) == bool(options)


def test_what_changes_colours_leaves_the_mask_and_its_way():
    coloured = AugmentConfig(**ALL, jitter=0.4, hue=0.1, erase=1.0)
    image, mask, _ = changed(coloured, POSITIONS, COLUMN, ROW)
    plain, expected, _ = changed(AugmentConfig(**ALL), POSITIONS, COLUMN, ROW)
    assert np.array_equal(mask, expected)
    assert not np.array_equal(image, plain)


EVERYTHING = AugmentConfig(
    **ALL, resized_crop=0.3, policy="trivial", jitter=0.4, hue=0.1, erase=0.7
)


@jax.jit
@jax.vmap
def one_after_the_other(example: jax.Array) -> Picture:
    """Return what becomes of an example, its keys and their order written out."""
    own = jax.random.fold_in(jax.random.fold_in(KEY, EPOCH), example)
    flip_key, crop_key = jax.random.split(own)
    policy, erase, resized, upside_down, rotate, jitter, hue = (
        jax.random.fold_in(own, number) for number in range(2, 9)
    )
    picture = Picture(jnp.asarray(POSITIONS), jnp.asarray(ROW))
    picture = random_resized_crop(picture, resized, 0.3, SIZE)
    picture = random_crop(picture, crop_key, 3)
    picture = random_flip(random_flip(picture, flip_key, 1), upside_down, 0)
    picture = random_rotation(picture, rotate, 40.0)
    picture = apply_policy(picture, policy, EVERYTHING)
    image = random_hue(random_jitter(picture.image, jitter, 0.4), hue, 0.1)
    return Picture(random_erase(image, erase, 0.7), picture.mask)


def test_every_change_has_its_place_and_a_key_of_its_own():
    image, mask = changed(EVERYTHING, POSITIONS, ROW)
    expected = one_after_the_other(IDS)
    assert np.array_equal(mask, expected.mask)
    # Compiled apart, a blend in float32 may be rounded to another level.
    apart = np.abs(np.asarray(image).astype(int) - np.asarray(expected.image))
    assert np.mean(apart > 0) < 1e-3


@jax.jit
@jax.vmap
def operations(example: jax.Array) -> Any:
    """Return the operations and levels that an example draws, [2] each."""
    own = jax.random.fold_in(jax.random.fold_in(KEY, EPOCH), example)
    return draw(jax.random.fold_in(own, 2), RAND)


RAND = AugmentConfig(crop_padding=0, policy="rand", rand_magnitude=20)


def test_a_policy_warps_the_mask_as_pillow_does_and_only_the_mask():
    rng = np.random.default_rng(0)
    mask = rng.integers(0, 9, (SIZE, SIZE), dtype=np.uint8)
    image = rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    found = np.asarray(changed(RAND, image, mask)[1])
    table, warped = magnitudes("rand", SIZE, SIZE), 0
    drawn = np.stack(operations(IDS), axis=-1)  # [B, 2, (operation, level)]
    for out, steps in zip(found, drawn.tolist(), strict=True):
        expected = mask
        for operation, level in steps:
            name, strength = OPERATIONS[operation], table[operation, level].item()
            if name in GEOMETRIC:
                expected = pillow_operations.change(expected, name, strength, VOID)
                warped += 1
        assert np.array_equal(out, expected)
    assert warped > 10


@pytest.mark.parametrize("size", [4, 5, 7, 8])
def test_the_centre_is_that_of_a_window_rounded_to_even(size: int):
    image = np.arange(8 * 9 * 3, dtype=np.uint8).reshape(1, 8, 9, 3)
    top, left = {4: (2, 2), 5: (2, 2), 7: (0, 1), 8: (0, 0)}[size]
    expected = image[:, top : top + size, left : left + size]
    assert np.array_equal(centre(image, size), expected)
    assert np.array_equal(centre(image[..., 0], size), expected[..., 0])


def test_nothing_is_cut_from_an_image_that_is_too_small():
    with pytest.raises(AssertionError, match="no 9 pixels in 8 x 9"):
        centre(np.zeros((1, 8, 9, 3), np.uint8), 9)


def test_without_changes_image_and_mask_are_the_centre():
    picture = augment(
        POSITIONS[None], IDS[:1], KEY, EPOCH, STILL, size=SIZE, mask=ROW[None]
    )
    box = Image.fromarray(POSITIONS).crop((3, 3, 3 + SIZE, 3 + SIZE))
    assert np.array_equal(picture.image[0], np.array(box))
    assert picture.mask is not None
    assert np.array_equal(picture.mask[0], np.array(box)[..., 1])
