import jax
import numpy as np
import pytest

from jft.augment import augment, normalise, random_crop
from jft.config import AugmentConfig
from jft.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess

HEIGHT, WIDTH, PADDING = 3, 4, 2
OFFSETS = 2 * PADDING + 1
# No pixel is black and no two are equal, and the image is not square: every window
# and mirror image is a different array, and swapped axes would show.
IMAGE = np.arange(1, HEIGHT * WIDTH * 3 + 1, dtype=np.uint8).reshape(HEIGHT, WIDTH, 3)
MANY = 2000

FLIP = AugmentConfig(flip=True, crop_padding=0)
CROP = AugmentConfig(crop_padding=PADDING)
BOTH = AugmentConfig(flip=True, crop_padding=PADDING)

compiled = jax.jit(augment, static_argnums=4)


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


def test_without_changes_the_image_is_the_one_given():
    images = np.stack([IMAGE, IMAGE[::-1]])
    key = jax.random.key(0)
    ids, epoch = np.arange(2, dtype=np.int32), np.int32(0)
    assert augment(images, ids, key, epoch, AugmentConfig(crop_padding=0)) is images


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
    crop = jax.jit(jax.vmap(random_crop, (None, 0, None)), static_argnums=2)
    found = {
        np.asarray(image).tobytes()
        for image in crop(IMAGE, jax.random.split(jax.random.key(1), 50), padding)
    }
    assert found <= valid
    # 50 draws of 9 or more windows give one and the same with probability 1e-47.
    assert len(found) > 1


def test_an_example_is_changed_the_same_way_in_any_batch_and_place():
    n = 24
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (n, HEIGHT, WIDTH, 3), dtype=np.uint8)
    ids = np.arange(1000, 1000 + n)
    whole = changed(ids, image=image, epoch=2)
    assert not np.array_equal(whole, image)
    order = rng.permutation(n)
    turned = changed(ids[order], image=image[order], epoch=2)
    assert np.array_equal(turned, whole[order])
    for low, high in [(5, 6), (1, 9), (16, 24)]:
        part = changed(ids[low:high], image=image[low:high], epoch=2)
        assert np.array_equal(part, whole[low:high])


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
