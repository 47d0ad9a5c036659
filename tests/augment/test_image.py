import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pillow_operations
import pytest

from jft.augment import augment
from jft.augment.crop import random_crop
from jft.augment.erase import rectangle
from jft.augment.picture import Picture
from jft.augment.policy import OPERATIONS, draw, magnitudes
from jft.config import AugmentConfig
from jft.models.pixels import normalise
from jft.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess

SIZE, PADDING = 4, 2
OFFSETS = 2 * PADDING + 1
# No pixel is black and no two are equal: every window and mirror image is a different
# array, and swapped axes would show.
IMAGE = np.arange(1, SIZE * SIZE * 3 + 1, dtype=np.uint8).reshape(SIZE, SIZE, 3)
MANY = 2000

FLIP = AugmentConfig(flip=True, crop_padding=0)
CROP = AugmentConfig(crop_padding=PADDING)
BOTH = AugmentConfig(flip=True, crop_padding=PADDING)
ALL = AugmentConfig(flip=True, crop_padding=PADDING, policy="rand", erase=0.5)

PICTURES = np.random.default_rng(0).integers(
    0, 256, (16, SIZE, SIZE, 3), dtype=np.uint8
)


@functools.partial(jax.jit, static_argnums=4)
def compiled(*arguments: Any) -> jax.Array:
    return augment(*arguments, size=SIZE).image


def windows(image: np.ndarray, padding: int) -> list[np.ndarray]:
    height, width, _ = image.shape
    large = np.zeros((height + 2 * padding, width + 2 * padding, 3), np.uint8)
    large[padding : padding + height, padding : padding + width] = image
    return [
        large[top : top + height, left : left + width]
        for top in range(2 * padding + 1)
        for left in range(2 * padding + 1)
    ]


def outcomes(config: AugmentConfig) -> list[bytes]:
    """Return all images that may come out, each once."""
    found = windows(IMAGE, config.crop_padding)
    if config.flip:
        found += [window[:, ::-1] for window in found]
    return [image.tobytes() for image in found]


def changed(
    ids: np.ndarray,
    config: AugmentConfig = BOTH,
    *,
    seed: int = 0,
    epoch: int = 0,
    image: np.ndarray = IMAGE,
) -> np.ndarray:
    images = np.broadcast_to(image, (len(ids), *image.shape[-3:]))
    key, number = jax.random.key(seed), np.int32(epoch)
    out = np.asarray(compiled(images, ids.astype(np.int32), key, number, config))
    assert out.dtype == np.uint8
    return out


@pytest.mark.parametrize(
    ("mean", "std"),
    [(IMAGENET_MEAN, IMAGENET_STD), ((0.0, 0.5, 1.0), (1.0, 0.5, 0.25))],
)
def test_normalise_is_the_formula_for_every_level_and_channel(mean, std):
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    image = np.concatenate([levels, levels[:, ::-1], levels[:, :, ::-1]], axis=-1)
    out = normalise(image, Preprocess(size=16, mean=mean, std=std))
    expected = (image.astype(np.float64) / 255 - np.array(mean)) / np.array(std)
    assert out.dtype == np.float32
    # float32 rounds terms of up to 1 to 6e-8, twice, then divides by a std >= 0.22.
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-6)


def test_normalise_takes_fractions_of_levels():
    levels = np.linspace(0, 255, 48, dtype=np.float32).reshape(1, 4, 4, 3)
    out = normalise(levels, Preprocess(size=4, mean=IMAGENET_MEAN, std=IMAGENET_STD))
    scaled = levels.astype(np.float64) / 255
    expected = (scaled - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
    assert out.dtype == np.float32
    # As above.
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-6)


def test_without_changes_the_image_is_the_one_given():
    images = np.stack([IMAGE, IMAGE[::-1]])
    key = jax.random.key(0)
    ids, epoch = np.arange(2, dtype=np.int32), np.int32(0)
    off = AugmentConfig(crop_padding=0)
    image, mask = augment(images, ids, key, epoch, off, size=SIZE)
    assert np.array_equal(image, images)
    assert mask is None


@pytest.mark.parametrize(
    ("config", "number"),
    [(FLIP, 2), (CROP, OFFSETS**2), (BOTH, 2 * OFFSETS**2)],
    ids=["flip", "crop", "both"],
)
def test_all_windows_and_mirrors_come_out_equally_often_and_nothing_else(
    config: AugmentConfig, number: int
):
    expected = outcomes(config)
    assert len(set(expected)) == number
    counts = dict.fromkeys(expected, 0)
    for image in changed(np.arange(MANY), config):
        counts[image.tobytes()] += 1  # KeyError: not one of the enumerated images
    assert min(counts.values()) > 0
    # Chi-square of uniform draws has mean `number - 1` and variance twice that; five
    # standard deviations, and the draw is fixed by the seed.
    mean = MANY / number
    chi_square = sum((count - mean) ** 2 / mean for count in counts.values())
    freedom = number - 1
    assert chi_square < freedom + 5 * (2 * freedom) ** 0.5


@pytest.mark.parametrize("padding", [1, 7])
def test_a_crop_is_a_window_of_the_padded_image(padding: int):
    valid = {window.tobytes() for window in windows(IMAGE, padding)}
    picture, keys = Picture(IMAGE, None), jax.random.split(jax.random.key(1), 50)
    crop = jax.jit(jax.vmap(lambda key: random_crop(picture, key, padding)))
    found = {np.asarray(image).tobytes() for image in crop(keys).image}
    assert found <= valid
    # 50 draws of 9 or more windows give one and the same with probability 1e-47.
    assert len(found) > 1


@pytest.mark.parametrize("config", [BOTH, ALL], ids=["both", "all"])
def test_an_example_is_changed_the_same_way_in_any_place_and_company(
    config: AugmentConfig,
):
    ids = np.arange(1000, 1000 + len(PICTURES))
    whole = changed(ids, config, image=PICTURES, epoch=2)
    assert not np.array_equal(whole, PICTURES)
    order = np.random.default_rng(1).permutation(len(ids))
    turned = changed(ids[order], config, image=PICTURES[order], epoch=2)
    assert np.array_equal(turned, whole[order])


def test_eight_devices_with_small_batches_change_an_example_as_one_does():
    ids = np.arange(len(PICTURES), dtype=np.int32)
    key, epoch = jax.random.key(0), jnp.int32(2)
    mapped = jax.pmap(lambda image, ids: compiled(image, ids, key, epoch, ALL))
    parts = mapped(PICTURES.reshape(8, 2, *IMAGE.shape), ids.reshape(8, 2))
    whole = changed(ids, ALL, image=PICTURES, epoch=2)
    assert np.array_equal(np.asarray(parts).reshape(PICTURES.shape), whole)


@jax.jit
@jax.vmap
def draws(example: jax.Array) -> dict[str, Any]:
    """Return what an example draws in epoch 3, written out."""
    own = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), 3), example)
    flip_key, crop_key = jax.random.split(own)
    whether_key, place_key, _ = jax.random.split(jax.random.fold_in(own, 3), 3)
    return {
        "corner": jax.random.randint(crop_key, (2,), 0, OFFSETS),
        "flip": jax.random.bernoulli(flip_key),
        "policy": draw(jax.random.fold_in(own, 2), ALL),
        "erase": jax.random.bernoulli(whether_key, ALL.erase),
        "box": rectangle(place_key, SIZE, SIZE),
    }


def one_by_one(ids: np.ndarray) -> Iterator[dict[str, Any]]:
    drawn = jax.tree.map(np.asarray, draws(ids.astype(np.int32)))
    for i in range(len(ids)):
        yield jax.tree.map(lambda leaf, i=i: leaf[i], drawn)


def moved(image: np.ndarray, drawn: dict[str, Any]) -> np.ndarray:
    top, left = drawn["corner"]
    window = windows(image, PADDING)[top * OFFSETS + left]
    return window[:, ::-1] if drawn["flip"] else window


def test_crops_and_mirror_images_are_those_of_runs_before_there_were_policies():
    ids = np.arange(50, 50 + len(PICTURES))
    found = changed(ids, image=PICTURES, epoch=3)
    for image, drawn, out in zip(PICTURES, one_by_one(ids), found, strict=True):
        assert np.array_equal(out, moved(image, drawn))


def test_the_order_is_crop_mirror_policy_erasing_each_by_a_key_of_its_own():
    ids = np.arange(50, 50 + len(PICTURES))
    found = changed(ids, ALL, image=PICTURES, epoch=3)
    strength = magnitudes("rand", SIZE, SIZE)
    erased = 0
    for image, drawn, out in zip(PICTURES, one_by_one(ids), found, strict=True):
        expected = moved(image, drawn)
        for drawn_one in zip(*drawn["policy"], strict=True):
            name, magnitude = OPERATIONS[drawn_one[0]], strength[drawn_one].item()
            expected = pillow_operations.change(expected, name, magnitude)
        if drawn["erase"]:
            top, left, tall, wide = drawn["box"]
            box = np.s_[top : top + tall, left : left + wide]
            erased += not np.array_equal(out[box], expected[box])
            expected = expected.copy()
            expected[box] = out[box]
        assert np.array_equal(out, expected)
    assert erased > 2  # of about 8, where a rectangle may round to nothing


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("crop_padding", [0, PADDING])
@pytest.mark.parametrize("policy", ["none", "trivial", "rand"])
@pytest.mark.parametrize("erase", [0.0, 0.25])
def test_all_changes_go_together_and_give_bytes(
    flip: bool, crop_padding: int, policy: Any, erase: float
):
    config = AugmentConfig(
        flip=flip, crop_padding=crop_padding, policy=policy, erase=erase
    )
    ids, epoch = np.arange(16, dtype=np.int32), np.int32(0)
    out = jax.eval_shape(
        lambda image: compiled(image, ids, jax.random.key(0), epoch, config), PICTURES
    )
    assert (out.shape, out.dtype) == (PICTURES.shape, np.uint8)


@pytest.mark.parametrize(
    ("config", "computed"), [(BOTH, (False, False)), (ALL, (True, True))]
)
def test_what_is_off_is_not_computed(config: AugmentConfig, computed: tuple[bool, ...]):
    ids, epoch = np.arange(2, dtype=np.int32), np.int32(0)
    traced = jax.make_jaxpr(compiled, static_argnums=4)
    text = str(traced(PICTURES[:2], ids, jax.random.key(0), epoch, config))
    # The loop over a policy's operations, and a random word for each pixel.
    assert ("scan[" in text, f"u32[2,{SIZE},{SIZE},1]" in text) == computed


@pytest.mark.parametrize(
    "other",
    [{"epoch": 1}, {"seed": 1}, {"shift": 1}, {"epoch": 7, "seed": 7}],
    ids=["epoch", "seed", "id", "both"],
)
def test_another_epoch_seed_or_id_draws_independently(other: dict[str, int]):
    ids = np.arange(MANY)
    shift = other.get("shift", 0)
    keys = {k: v for k, v in other.items() if k != "shift"}
    before, after = changed(ids), changed(ids + shift, **keys)
    same = np.all(before == after, axis=(1, 2, 3)).sum()
    # Independent draws of 50 outcomes agree 40 times in 2000, deviation 6.3.
    assert 0 < same < 40 + 5 * 6.3
