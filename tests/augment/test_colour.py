import jax
import numpy as np
import pillow_operations
import pytest
from PIL import Image, ImageOps

from jft.augment import colour
from jft.augment.policy import BINS, OPERATIONS, magnitudes

RNG = np.random.default_rng(0)


def noise(height: int, width: int, low: int = 0, high: int = 256) -> np.ndarray:
    return RNG.integers(low, high, (height, width, 3), dtype=np.uint8)


def bell(height: int, width: int) -> np.ndarray:
    """Return an image of few levels, as photographs have: each channel its own."""
    levels = RNG.normal((60, 128, 200), (5, 20, 30), (height, width, 3))
    return levels.clip(0, 255).astype(np.uint8)


# All levels, some, two, one; and images too small for a 3 x 3 kernel.
IMAGES = {
    "noise": noise(24, 21),
    "middle": noise(24, 21, 40, 200),
    "bell": bell(24, 21),
    "two levels": noise(24, 21, 254, 256),
    "one level": np.full((24, 21, 3), 77, np.uint8),
    "one row": noise(1, 9),
    "narrow": noise(9, 2),
    "pixel": noise(1, 1),
}
LEVELS = np.arange(256)


@jax.jit
@jax.vmap
def every_blend(image: jax.Array, magnitude: jax.Array) -> dict[str, jax.Array]:
    return {
        name: colour.blend(base(image), image, 1 + magnitude)
        for name, base in colour.BLENDS.items()
    }


@jax.jit
def every_table(image: jax.Array, magnitude: jax.Array) -> dict[str, jax.Array]:
    counts = colour.histogram(image)
    tables = {**colour.TABLES, "identity": colour.unchanged}
    found = {
        name: colour.look_up(image, table(counts, magnitude))
        for name, table in tables.items()
    }
    return {**found, "counts": counts}


@pytest.mark.parametrize("picture", IMAGES)
def test_every_blend_is_pillows_level_for_level(picture: str):
    image = IMAGES[picture]
    levels = np.concatenate([magnitudes(p, 1, 1)[6] for p in ("trivial", "rand")])
    images = np.broadcast_to(image, (len(levels), *image.shape))
    for name, found in every_blend(images, levels).items():
        for out, magnitude in zip(np.asarray(found), levels.tolist(), strict=True):
            expected = pillow_operations.change(image, name, magnitude)
            assert np.array_equal(out, expected), (name, magnitude)


def test_a_blend_of_any_two_levels_is_pillows():
    base, image = np.meshgrid(LEVELS.astype(np.uint8), LEVELS.astype(np.uint8))
    blend = jax.jit(colour.blend)
    # 0.03 and 0.033 times a bin, both ways: what the policies draw.
    for factor in np.float32(1) + magnitudes("rand", 1, 1)[6, ::4]:
        found = blend(base, image, factor)
        # Pillow's images have their own copies: these views may be read only.
        pair = Image.fromarray(base.copy()), Image.fromarray(image.copy())
        assert np.array_equal(found, np.array(Image.blend(*pair, float(factor))))


@pytest.mark.parametrize("picture", IMAGES)
@pytest.mark.parametrize("name", ["posterize", "solarize"])
def test_tables_of_a_strength_are_pillows_at_every_level(name: str, picture: str):
    image = IMAGES[picture]
    for policy in ("trivial", "rand"):
        for magnitude in magnitudes(policy, 1, 1)[OPERATIONS.index(name), :BINS]:
            found = every_table(image, magnitude)[name]
            expected = pillow_operations.change(image, name, magnitude.item())
            assert np.array_equal(found, expected), magnitude


@pytest.mark.parametrize("picture", IMAGES)
def test_equalize_is_pillows(picture: str):
    image = IMAGES[picture]
    found = every_table(image, np.float32(0))["equalize"]
    assert np.array_equal(found, pillow_operations.change(image, "equalize", 0.0))


def test_equalize_is_pillows_for_any_histogram():
    left_alone = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        # From very uneven to even. Of 1600 pixels, all, half or a ninth are below the
        # highest level: a step is 6 pixels, 3, or none, which changes nothing.
        weight = rng.gamma(10.0 ** rng.uniform(-2, 1), size=256) + 1e-9
        weight[255] += (0, 1, 8)[seed % 3] * weight.sum()
        image = rng.choice(256, size=(40, 40, 3), p=weight / weight.sum())
        image = image.astype(np.uint8)
        found = np.asarray(every_table(image, np.float32(0))["equalize"])
        assert np.array_equal(found, pillow_operations.change(image, "equalize", 0.0))
        left_alone += np.array_equal(found, image)
    assert 0 < left_alone <= 20


@jax.jit
@jax.vmap
def stretch(counts: jax.Array) -> jax.Array:
    return colour.autocontrast(counts, np.float32(0))


def test_autocontrast_is_exact_and_pillows_but_for_its_rounding():
    low, high = np.triu_indices(256)
    counts = np.zeros((len(low), 256), np.int32)
    counts[np.arange(len(low)), low] = 1
    counts[np.arange(len(low)), high] = 1
    channels = np.stack([counts, counts[::-1], counts], axis=1)
    found = np.asarray(stretch(channels))[:, 0].astype(int)
    low, high = low[:, None], high[:, None]
    span = np.maximum(high - low, 1)
    exact = np.where(high > low, 255 * (LEVELS - low) // span, LEVELS)
    assert np.array_equal(found, exact.clip(0, 255))
    # ImageOps.autocontrast writes its table so, in float64.
    scale = 255.0 / span
    theirs = (LEVELS * scale + -low * scale).astype(int).clip(0, 255)
    present = (low <= LEVELS) & (high >= LEVELS) & (high > low)
    apart = (found != theirs) & present
    assert np.array_equal(found[apart], theirs[apart] + 1)
    assert not np.any(
        255 * (LEVELS - low)[apart] % np.broadcast_to(span, apart.shape)[apart]
    )
    assert 0 < apart.sum() < 0.005 * present.sum()


@pytest.mark.parametrize("picture", IMAGES)
def test_autocontrast_is_pillows_to_a_level(picture: str):
    image = IMAGES[picture]
    found = np.asarray(every_table(image, np.float32(0))["autocontrast"])
    theirs = np.array(ImageOps.autocontrast(Image.fromarray(image)))
    # The test before this one shows where they are one apart.
    assert set((found.astype(int) - theirs).ravel().tolist()) <= {0, 1}
    expected = pillow_operations.change(image, "autocontrast", 0.0)
    assert np.array_equal(found, expected)


def test_the_table_of_other_operations_changes_nothing():
    image = IMAGES["noise"]
    assert np.array_equal(every_table(image, np.float32(4))["identity"], image)


def test_the_histogram_counts_each_channel():
    image = IMAGES["bell"]
    expected = [np.bincount(image[..., c].ravel(), minlength=256) for c in range(3)]
    assert np.array_equal(every_table(image, np.float32(4))["counts"], expected)
