import colorsys
from itertools import permutations

import jax
import numpy as np
import pillow_operations
import pytest
from cpu_torchvision import import_torchvision

from jft.augment.colour import shift_hue
from jft.augment.jitter import draw, random_hue, random_jitter

MANY, JITTER = 3000, 0.4
# In the order that `draw` returns their factors in.
NAMES = ("brightness", "contrast", "color")
IMAGE = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
KEYS = jax.random.split(jax.random.key(0), MANY)
drawn = jax.jit(jax.vmap(draw, (0, None)))


def test_factors_are_uniform_and_every_order_is_as_frequent():
    factors, orders = map(np.asarray, drawn(KEYS, JITTER))
    values = np.linspace(1 - JITTER, 1 + JITTER, 101)
    for sample in factors.T:
        below = np.searchsorted(np.sort(sample), values, side="right") / MANY
        apart = np.abs(below - np.linspace(0, 1, 101))
        # A sample of n is further from its distribution once in a thousand.
        assert np.max(apart) < 1.95 / MANY**0.5
    # Independent: of n pairs, correlations deviate by 1 / sqrt(n).
    assert np.all(np.abs(np.corrcoef(factors.T) - np.eye(3)) < 5 / MANY**0.5)
    counts = [np.sum(np.all(orders == o, axis=1)) for o in permutations(range(3))]
    # Chi-square of 5 degrees of freedom, within five deviations.
    mean = MANY / 6
    assert sum((count - mean) ** 2 / mean for count in counts) < 5 + 5 * 10**0.5


@pytest.mark.parametrize("jitter", [0.1, JITTER, 1.0])
def test_jitter_is_pillows_enhancers_in_the_order_drawn(jitter: float):
    apply = jax.jit(jax.vmap(lambda key: random_jitter(IMAGE, key, jitter)))
    factors, orders = drawn(KEYS[:60], jitter)
    found = np.asarray(apply(KEYS[:60]))
    for out, factor, order in zip(
        found, np.asarray(factors).tolist(), np.asarray(orders).tolist(), strict=True
    ):
        expected = IMAGE
        for index in order:
            strength = factor[index] - 1
            expected = pillow_operations.change(expected, NAMES[index], strength)
        assert np.array_equal(out, expected)
    assert len(np.unique(found, axis=0)) == 60


def by_colorsys(image: np.ndarray, turns: float) -> np.ndarray:
    out = np.zeros(image.shape)
    for pixel in np.ndindex(image.shape[:2]):
        hue, saturation, value = colorsys.rgb_to_hsv(*(image[pixel] / 255))
        out[pixel] = colorsys.hsv_to_rgb((hue + turns) % 1, saturation, value)
    return 255 * out


@pytest.mark.parametrize("turns", [0.0, 0.05, 1 / 3, 0.5, -0.2, -0.5])
def test_a_hue_is_shifted_as_colorsys_does_it(turns: float):
    # Greys, and colours of two and of one channel among the others.
    image = IMAGE.copy()
    image[0] = image[0, :, :1]
    image[1, :, 0] = image[1, :, 1]
    image[2, :, 1:] = 0
    found = np.asarray(jax.jit(shift_hue)(image, np.float32(turns)))
    expected = by_colorsys(image, turns)
    # Half a level of rounding, and of float32 some 1e-6 of 255.
    assert np.max(np.abs(found - expected)) < 0.501
    if turns == 0:
        assert np.array_equal(found, image)


def test_hues_are_shifted_by_an_amount_uniform_either_way():
    red = np.zeros((1, 1, 3), np.uint8)
    red[..., 0] = 240
    shift = jax.jit(jax.vmap(lambda key: random_hue(red, key, 0.1)))
    pixels = np.asarray(shift(KEYS))[:, 0, 0].astype(float)
    # Near red, green grows with the hue by 240 a sixth of a turn, or else blue does.
    turns = (pixels[:, 1] - pixels[:, 2]) / 240 / 6
    values = np.linspace(-0.1, 0.1, 41)
    below = np.searchsorted(np.sort(turns), values, side="right") / MANY
    # As above, and half a level, which is 1/288 of all there are.
    apart = np.abs(below - np.linspace(0, 1, 41))
    assert np.max(apart) < 1.95 / MANY**0.5 + 1 / 288


@pytest.mark.oracle
@pytest.mark.parametrize("turns", [-0.5, -0.13, 0.0, 0.02, 0.4])
def test_a_hue_is_shifted_as_torchvision_does_it_for_tensors(turns: float):
    import_torchvision()
    import torch
    from torchvision.transforms import functional

    image = torch.from_numpy(IMAGE.astype(np.float32) / 255).permute(2, 0, 1)
    theirs = functional.adjust_hue(image, turns).permute(1, 2, 0).numpy() * 255
    found = np.asarray(shift_hue(IMAGE, np.float32(turns)))
    # Half a level of rounding; they round hues of float32 a few times more.
    assert np.max(np.abs(found - theirs)) < 0.51
