import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import betainc

from jft.augment import mix, mixing
from jft.augment.mixing import Lam, draw_lam, lams, symmetric_beta
from jft.config import AugmentConfig

HEIGHT, WIDTH, CLASSES, BATCH = 6, 10, 4, 16
SIZE = HEIGHT, WIDTH
MIXUP = AugmentConfig(mixup=0.4)
CUTMIX = AugmentConfig(cutmix=1.0)
EITHER = AugmentConfig(mixup=0.4, cutmix=1.0)
ALL = pytest.mark.parametrize(
    "config", [MIXUP, CUTMIX, EITHER], ids=["mixup", "cutmix", "either"]
)
MANY = 8000

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (BATCH, *SIZE, 3), dtype=np.uint8)
TARGET = RNG.dirichlet(np.ones(CLASSES), BATCH).astype(np.float32)
EXAMPLE = RNG.permutation(1000)[:BATCH].astype(np.int32)
WEIGHT = np.ones(BATCH, np.float32)
PARTNER = np.arange(BATCH) ^ 1
KEY, EPOCH = jax.random.key(5), np.int32(3)


class Mixed(NamedTuple):
    image: np.ndarray
    target: np.ndarray
    lam: Lam


@functools.partial(jax.jit, static_argnums=4)
def computed(weight, example, key, epoch, config) -> Mixed:
    image, target = mix(IMAGE, TARGET, weight, example, key, epoch, config)
    lam = lams(weight, example, key, epoch, config, SIZE)
    return Mixed(image, target, lam)


def mixed(
    config: AugmentConfig,
    *,
    example: np.ndarray = EXAMPLE,
    weight: np.ndarray = WEIGHT,
    seed: int = 5,
    epoch: int = 3,
) -> Mixed:
    """Return the mixed batch and its lambdas."""
    key, number = jax.random.key(seed), np.int32(epoch)
    found = computed(weight, example, key, number, config)
    return jax.tree.map(np.asarray, found)


def mixed_by_hand(values: np.ndarray, lam: np.ndarray) -> np.ndarray:
    lam = lam.reshape(lam.shape + (1,) * (values.ndim - lam.ndim))
    own, other = values.astype(np.float64), values[PARTNER].astype(np.float64)
    return lam.astype(np.float64) * own + (1 - lam.astype(np.float64)) * other


@ALL
def test_images_and_targets_are_mixed_in_the_shares_that_are_drawn(config):
    image, target, lam = mixed(config)
    assert image.dtype == (np.float32 if config.mixup else np.uint8)
    assert target.dtype == np.float32
    # Two products and a sum in float32: of levels to 255, of probabilities to 1.
    expected = mixed_by_hand(IMAGE, lam.pixel)
    np.testing.assert_allclose(image, expected, rtol=0, atol=255 * 2e-7)
    expected = mixed_by_hand(TARGET, lam.label)
    np.testing.assert_allclose(target, expected, rtol=0, atol=2e-7)
    assert np.any(lam.label < 0.9)
    assert np.all((lam.label >= 0) & (lam.label <= 1))


@ALL
def test_a_pair_weighs_what_it_weighed_before(config):
    image, target, _ = mixed(config)
    np.testing.assert_allclose(target.sum(axis=1), 1, rtol=0, atol=4e-7)
    for after, before in ((target, TARGET), (image, IMAGE)):
        after, before = after.astype(np.float64), before.astype(np.float64)
        sums = before + before[PARTNER]
        # Twice the rounding above, relative to values of up to 1 or 255.
        limit = 4e-7 * before.max().round()
        np.testing.assert_allclose(after + after[PARTNER], sums, rtol=0, atol=limit)


@ALL
def test_partners_share_alike_whichever_comes_first(config):
    lam = mixed(config).lam
    turned = mixed(config, example=EXAMPLE[PARTNER]).lam
    for one, other in zip(lam, turned, strict=True):
        assert np.array_equal(one, one[PARTNER])
        assert np.array_equal(one, other)


@ALL
def test_a_pair_with_padding_stays_as_it_is(config):
    weight = WEIGHT.copy()
    weight[[3, 8, 14, 15]] = 0
    found, whole = mixed(config, weight=weight), mixed(config)
    still = np.isin(np.arange(BATCH) // 2, [1, 4, 7])
    assert np.array_equal(found.image[still], IMAGE[still].astype(found.image.dtype))
    assert np.array_equal(found.target[still], TARGET[still])
    assert np.array_equal(found.image[~still], whole.image[~still])
    assert np.array_equal(found.target[~still], whole.target[~still])


def test_without_mixing_the_images_and_targets_are_those_given():
    off = AugmentConfig()
    image, target = mix(IMAGE, TARGET, WEIGHT, EXAMPLE, KEY, EPOCH, off)
    assert image is IMAGE
    assert target is TARGET


@ALL
def test_a_pair_draws_the_same_in_any_place(config):
    order = np.array([5, 2, 7, 0, 1, 6, 3, 4])
    indices = (2 * order[:, None] + np.arange(2)).ravel()
    lam, turned = mixed(config).lam, mixed(config, example=EXAMPLE[indices]).lam
    for one, other in zip(lam, turned, strict=True):
        assert np.array_equal(other, one[indices])


def test_eight_devices_with_a_pair_each_mix_as_one_does():
    def step(*parts: jax.Array) -> tuple[jax.Array, jax.Array]:
        return mix(*parts, KEY, jnp.int32(EPOCH), EITHER)

    whole = (IMAGE, TARGET, WEIGHT, EXAMPLE)
    found = jax.pmap(step)(*(a.reshape(8, 2, *a.shape[1:]) for a in whole))
    for one, other in zip(found, mixed(EITHER)[:2], strict=True):
        # Compiled for another size, a product and a sum may be rounded together.
        limit = 2e-7 * other.max()
        one = np.asarray(one).reshape(other.shape)
        np.testing.assert_allclose(one, other, rtol=0, atol=limit)


def test_every_pair_epoch_and_seed_draws_anew():
    first = mixed(MIXUP).lam.label[::2]
    assert len(np.unique(first)) == len(first)
    for other in ({"epoch": 4}, {"seed": 6}, {"example": EXAMPLE + 1}):
        assert not np.any(mixed(MIXUP, **other).lam.label[::2] == first)
    # Pairs that have one member in common.
    some = np.array([7, 8, 7, 9, 6, 7, *range(20, 30)], np.int32)
    assert len(np.unique(mixed(MIXUP, example=some).lam.label[:6])) == 3


def test_mixup_blends_all_pixels_alike():
    lam = mixed(MIXUP).lam
    assert np.array_equal(lam.pixel, np.tile(lam.label[:, None, None], (1, *SIZE)))


def test_a_pair_draws_by_a_key_that_no_example_has():
    low, high = np.sort(EXAMPLE.reshape(-1, 2)).T

    @jax.jit
    @jax.vmap
    def by_hand(low: jax.Array, high: jax.Array) -> Lam:
        epoch_key = jax.random.fold_in(KEY, EPOCH)
        mix_key = jax.random.fold_in(epoch_key, np.uint32(2**32 - 1))
        pair_key = jax.random.fold_in(jax.random.fold_in(mix_key, low), high)
        return draw_lam(pair_key, MIXUP, SIZE)

    expected = by_hand(low, high).label
    assert np.array_equal(mixed(MIXUP).lam.label[::2], expected)


def test_cutmix_pastes_a_mask_with_its_pixels():
    masks = RNG.integers(0, 9, (BATCH, *SIZE), dtype=np.int32)
    weight = np.where(np.arange(BATCH) == 3, np.float32(0), WEIGHT)
    paste = jax.jit(lambda m: mix(IMAGE, m, weight, EXAMPLE, KEY, EPOCH, CUTMIX))
    image, found = map(np.asarray, paste(masks))
    pasted = mixed(CUTMIX, weight=weight).lam.pixel == 0
    assert found.dtype == np.int32
    assert np.array_equal(found, np.where(pasted, masks[PARTNER], masks))
    expected = np.where(pasted[..., None], IMAGE[PARTNER], IMAGE)
    assert np.array_equal(image, expected)
    assert np.array_equal(found[2:4], masks[2:4])
    assert 0.05 < pasted.mean() < 0.95


@ALL
def test_what_is_unknown_makes_a_mixture_unknown_and_padding_makes_nothing_so(config):
    target, weight = TARGET.copy(), WEIGHT.copy()
    target[0, 1] = target[6] = np.nan
    weight[6] = 0
    mixes = jax.jit(lambda t: mix(IMAGE, t, weight, EXAMPLE, KEY, EPOCH, config)[1])
    found = np.asarray(mixes(target))
    whole = mixed(config, weight=weight).target
    unknown = np.zeros_like(target, bool)
    unknown[:2, 1] = unknown[6] = True
    assert mixed(config).lam.label[0] < 1
    assert np.array_equal(np.isnan(found), unknown)
    # Not compiled together, a product and a sum may be rounded apart.
    apart = found[~unknown] - whole[~unknown]
    assert np.max(np.abs(apart)) <= 2e-7


def test_an_image_with_no_share_in_its_label_wants_nothing_of_it(monkeypatch):
    # By mixup 0.2, one lambda in sixty is 0 in float32.
    lam = np.repeat(np.float32([0, 1, 0.5, 0]), 2)
    pixel = np.broadcast_to(lam[:, None, None], (8, *SIZE))
    monkeypatch.setattr(mixing, "lams", lambda *_: Lam(lam, pixel))
    target = TARGET[:8].copy()
    target[0, 1] = target[2, 3] = target[4, 0] = np.nan
    batch = IMAGE[:8], target, WEIGHT[:8], EXAMPLE[:8]
    image, found = jax.jit(lambda *b: mix(*b, KEY, EPOCH, MIXUP))(*batch)
    expected = target[PARTNER[:8]]
    expected[2:4] = target[2:4]
    expected[4:6] = (target[4] + target[5]) / 2
    # A product and a sum in float32.
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-7)
    assert np.array_equal(image[:2], IMAGE[[1, 0]])


def test_an_odd_batch_is_refused():
    with pytest.raises(AssertionError, match="7 is not made of pairs"):
        mix(IMAGE[:7], TARGET[:7], WEIGHT[:7], EXAMPLE[:7], KEY, EPOCH, MIXUP)


@functools.cache
def many(config: AugmentConfig) -> Lam:
    """Return lambda of many pairs: label [MANY], pixel [MANY, H, W]."""
    keys = jax.random.split(jax.random.key(1), MANY)
    draw = jax.jit(jax.vmap(lambda key: draw_lam(key, config, SIZE)))
    return jax.tree.map(np.asarray, draw(keys))


def boxes_by_hand(alpha: float) -> np.ndarray:
    """Return many boxes [MANY, H, W] of bool, drawn as the paper's code does it."""
    rng = np.random.default_rng(2)
    side = np.sqrt(1 - rng.beta(alpha, alpha, MANY))
    boxes = np.ones((MANY, *SIZE), bool)
    for axis, length in enumerate(SIZE):
        half = (length * side).astype(int) // 2
        centre = rng.integers(0, length, MANY)
        start, stop = (np.clip(centre + h, 0, length) for h in (-half, half))
        index = np.arange(length)
        inside = (index >= start[:, None]) & (index < stop[:, None])
        boxes &= np.expand_dims(inside, 2 - axis)
    return boxes


def test_cutmix_pastes_one_box_and_counts_its_pixels():
    lam = many(CUTMIX)
    assert set(np.unique(lam.pixel)) == {0.0, 1.0}
    pasted = lam.pixel == 0
    cut = pasted.sum(axis=(1, 2))
    # 1 - n / 60 rounds twice in float32.
    label = 1 - cut / (HEIGHT * WIDTH)
    np.testing.assert_allclose(lam.label, label, rtol=0, atol=1.2e-7)
    rows, columns = pasted.any(axis=2), pasted.any(axis=1)
    # One box: as many pixels as its rows times its columns, which have no gaps.
    assert np.array_equal(rows.sum(axis=1) * columns.sum(axis=1), cut)
    for line in (rows, columns):
        ends = np.abs(np.diff(np.pad(line.astype(int), ((0, 0), (1, 1)))))
        assert np.all(ends.sum(axis=1) <= 2)


def test_cutmix_boxes_are_distributed_as_the_papers():
    pasted, expected = many(CUTMIX).pixel == 0, boxes_by_hand(1.0)
    values = np.arange(HEIGHT * WIDTH + 1)
    one, other = (
        np.searchsorted(np.sort(box.sum(axis=(1, 2))), values, side="right") / MANY
        for box in (pasted, expected)
    )
    # Two samples of n are further apart than 1.95 sqrt(2/n) once in a thousand.
    assert np.max(np.abs(one - other)) < 1.95 * (2 / MANY) ** 0.5
    # How often each pixel is pasted, 0.08 to 0.32: fractions of 8000 that deviate by at
    # most 0.0052, their difference by sqrt(2) of that.
    apart = pasted.mean(axis=0) - expected.mean(axis=0)
    assert np.max(np.abs(apart)) < 5 * 0.0052 * 2**0.5


def distance_to_beta(sample: np.ndarray, alpha: float) -> float:
    """Return the largest distance from Beta(alpha, alpha), in units of 1 / sqrt(n).

    It is above 1.95 once in a thousand. The ends are left out, since float32 has no
    values between 1 - 6e-8 and 1, where a small alpha has many.
    """
    values = np.linspace(1e-4, 1 - 1e-4, 2001)
    below = np.searchsorted(np.sort(sample), values, side="right") / len(sample)
    apart = np.abs(below - betainc(alpha, alpha, values))
    return float(np.max(apart)) * len(sample) ** 0.5


def test_with_both_on_half_of_the_pairs_get_either():
    lam = many(EITHER)
    pasted = np.any(lam.pixel != lam.label[:, None, None], axis=(1, 2))
    assert np.array_equal(np.unique(lam.pixel[pasted]), [0.0, 1.0])
    # A box of no pixels, or of all, looks blended.
    expected = 0.5 * np.mean(np.isin(boxes_by_hand(1.0).mean(axis=(1, 2)), [0, 1]))
    assert abs(np.mean(~pasted) - 0.5 - expected) < 5 * 0.5 / MANY**0.5
    blended = lam.label[~pasted & (lam.label > 0) & (lam.label < 1)]
    assert distance_to_beta(blended, 0.4) < 1.95


@functools.partial(jax.jit, static_argnums=0)
def betas(number: int, alpha: jax.Array) -> jax.Array:
    keys = jax.random.split(jax.random.key(2), number)
    return jax.vmap(lambda key: symmetric_beta(key, alpha))(keys)


@pytest.mark.parametrize("alpha", [0.05, 0.2, 1.0, 3.0, 400.0])
def test_symmetric_beta_has_betas_distribution(alpha: float):
    sample = np.asarray(betas(20000, np.float32(alpha)))
    assert np.all((sample >= 0) & (sample <= 1))
    assert distance_to_beta(sample, alpha) < 1.95
