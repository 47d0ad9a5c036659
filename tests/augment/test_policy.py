import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pillow_operations
import pytest
from cpu_torchvision import import_torchvision

from jft.augment.picture import Picture
from jft.augment.policy import (
    BINS,
    OPERATIONS,
    apply_operation,
    apply_policy,
    draw,
    magnitudes,
    matrices,
)
from jft.config import AugmentConfig

pytestmark = pytest.mark.thorough

TRIVIAL = AugmentConfig(policy="trivial")
RAND = AugmentConfig(policy="rand", rand_operations=3, rand_magnitude=12)
MANY = 6000
# torchvision's names, in its order.
THEIRS = (
    *("Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"),
    *("Brightness", "Color", "Contrast", "Sharpness"),
    *("Posterize", "Solarize", "AutoContrast", "Equalize"),
)


@functools.cache
def drawn(config: AugmentConfig, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the operations and levels of many images, [MANY, N] each."""
    keys = jax.random.split(jax.random.key(seed), MANY)
    operations, levels = jax.jit(jax.vmap(lambda key: draw(key, config)))(keys)
    return np.asarray(operations), np.asarray(levels)


def assert_uniform(values: np.ndarray, number: int):
    """Check that integers are uniform in [0, number) by their chi-square.

    Its mean is `number - 1`, its variance twice that: within five deviations.
    """
    counts = np.bincount(values.ravel(), minlength=number)
    assert len(counts) == number
    mean = values.size / number
    freedom = number - 1
    assert np.sum((counts - mean) ** 2 / mean) < freedom + 5 * (2 * freedom) ** 0.5


# Read off torchvision's tables of ranges, at bins 0, 10 (a third) and 30.
@pytest.mark.parametrize(
    ("policy", "operation", "expected"),
    [
        ("trivial", "identity", (0, 0, 0)),
        ("trivial", "shear_x", (0, 0.33, 0.99)),
        ("trivial", "shear_y", (0, 0.33, 0.99)),
        ("trivial", "translate_x", (0, 32 / 3, 32)),
        ("trivial", "translate_y", (0, 32 / 3, 32)),
        ("trivial", "rotate", (0, 45, 135)),
        ("trivial", "brightness", (0, 0.33, 0.99)),
        ("trivial", "color", (0, 0.33, 0.99)),
        ("trivial", "contrast", (0, 0.33, 0.99)),
        ("trivial", "sharpness", (0, 0.33, 0.99)),
        ("trivial", "posterize", (8, 6, 2)),
        ("trivial", "solarize", (255, 170, 0)),
        ("trivial", "equalize", (0, 0, 0)),
        ("rand", "shear_x", (0, 0.1, 0.3)),
        ("rand", "shear_y", (0, 0.1, 0.3)),
        ("rand", "translate_x", (0, 50 * 40 / 331, 150 * 40 / 331)),
        ("rand", "translate_y", (0, 50 * 20 / 331, 150 * 20 / 331)),
        ("rand", "rotate", (0, 10, 30)),
        ("rand", "brightness", (0, 0.3, 0.9)),
        ("rand", "posterize", (8, 7, 4)),
        ("rand", "solarize", (255, 170, 0)),
        ("rand", "autocontrast", (0, 0, 0)),
    ],
)
def test_the_strengths_span_the_published_ranges(policy, operation, expected):
    row = magnitudes(policy, 20, 40)[OPERATIONS.index(operation)]
    values = np.array(expected, np.float32)
    assert np.array_equal(row[[0, 10, 30]], values)
    plain = {"identity", "posterize", "solarize", "autocontrast", "equalize"}
    sign = 1 if operation in plain else -1
    assert np.array_equal(row[[31, 41, 61]], sign * values)


def test_trivial_draws_one_operation_and_level_uniformly_and_independently():
    operations, levels = drawn(TRIVIAL)
    assert operations.shape == levels.shape == (MANY, 1)
    assert_uniform(operations, len(OPERATIONS))
    assert_uniform(levels, 2 * BINS)
    # Fewer cells than 14 x 62, so that each expects 430 draws.
    assert_uniform(operations % 7 * 2 + levels // BINS, 14)


def test_rand_draws_each_operation_anew_and_only_the_sign_of_the_level():
    operations, levels = drawn(RAND)
    assert operations.shape == levels.shape == (MANY, 3)
    for index in range(3):
        assert_uniform(operations[:, index], len(OPERATIONS))
    assert_uniform(operations[:, 0] * len(OPERATIONS) + operations[:, 1], 14**2)
    assert set(levels.ravel().tolist()) == {12, 12 + BINS}
    assert_uniform((levels > 12).astype(int) @ np.array([1, 2, 4]), 8)


def test_other_keys_draw_independently():
    same = np.mean(drawn(TRIVIAL)[0] == drawn(TRIVIAL, seed=1)[0])
    # 1/14 of 6000, deviation sqrt(p (1 - p) / 6000).
    assert abs(same - 1 / 14) < 5 * 0.0034


def test_trivial_applies_the_operation_and_level_it_draws():
    image = np.random.default_rng(0).integers(0, 256, (10, 13, 3), dtype=np.uint8)

    @jax.jit
    @jax.vmap
    def both(key: jax.Array) -> Any:
        return apply_policy(Picture(image, None), key, TRIVIAL).image, jnp.stack(
            draw(key, TRIVIAL)
        )

    keys = jax.random.split(jax.random.key(3), 150)
    found, chosen = jax.tree.map(np.asarray, both(keys))
    chosen = chosen[:, :, 0].tolist()
    table = magnitudes("trivial", 10, 13)
    for out, (operation, level) in zip(found, chosen, strict=True):
        name, magnitude = OPERATIONS[operation], table[operation, level].item()
        expected = pillow_operations.change(image, name, magnitude)
        assert np.array_equal(out, expected), (name, magnitude)
    assert {operation for operation, _ in chosen} == set(range(len(OPERATIONS)))


@pytest.mark.oracle
@pytest.mark.parametrize("policy", ["trivial", "rand"])
def test_every_operation_is_torchvisions(policy: str):
    import_torchvision()
    from PIL import Image
    from torchvision.transforms import InterpolationMode, autoaugment

    size = 24, 33
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    picture = Image.fromarray(image)
    if policy == "trivial":
        space = autoaugment.TrivialAugmentWide()._augmentation_space(BINS)
    else:
        space = autoaugment.RandAugment()._augmentation_space(BINS, size)
    assert tuple(space) == THEIRS
    table = magnitudes(policy, *size)
    warps = matrices(table, *size)

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(None, 0, 0, 0))
    def apply(image: jax.Array, *operation: jax.Array) -> jax.Array:
        return apply_operation(Picture(image, None), *operation).image

    for row, (name, (values, signed)) in enumerate(space.items()):
        values = np.broadcast_to(values.numpy(), BINS)
        both = np.concatenate([values, -values if signed else values])
        # torch's own linspace is off by up to two roundings, by processor.
        np.testing.assert_allclose(table[row], both, rtol=3e-7, atol=0)
        rows = np.full(2 * BINS, row, np.int32)
        found = np.asarray(apply(image, rows, table[row], warps[row]))
        for out, magnitude in zip(found, table[row].tolist(), strict=True):
            theirs = autoaugment._apply_op(
                picture, name, magnitude, InterpolationMode.NEAREST, None
            )
            apart = out.astype(int) - np.array(theirs)
            # test_colour shows where autocontrast is one apart.
            allowed = {0, 1} if name == "AutoContrast" else {0}
            assert set(apart.ravel().tolist()) <= allowed, (name, magnitude)
