"""TrivialAugment and RandAugment: operations drawn per image."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jft.augment import colour, geometry
from jft.augment.picture import Picture
from jft.config import AugmentConfig

OPERATIONS = ("identity", *geometry.GEOMETRIC, *colour.BLENDS, *colour.TABLES)
BINS = 31
# The magnitudes of bins 0 and 30; a translation's is in widths or heights under rand.
TRIVIAL = {
    "shear_x": (0.0, 0.99),
    "shear_y": (0.0, 0.99),
    "translate_x": (0.0, 32.0),
    "translate_y": (0.0, 32.0),
    "rotate": (0.0, 135.0),
    **dict.fromkeys(colour.BLENDS, (0.0, 0.99)),
    "posterize": (8.0, 2.0),
    "solarize": (255.0, 0.0),
}
RAND = {
    **TRIVIAL,
    "shear_x": (0.0, 0.3),
    "shear_y": (0.0, 0.3),
    "translate_x": (0.0, 150 / 331),
    "translate_y": (0.0, 150 / 331),
    "rotate": (0.0, 30.0),
    **dict.fromkeys(colour.BLENDS, (0.0, 0.9)),
    "posterize": (8.0, 4.0),
}
SIGNED = (*geometry.GEOMETRIC, *colour.BLENDS)


def magnitudes(policy: str, height: int, width: int) -> np.ndarray:
    """Return the strength of every operation at every level, [14, 62] float32.

    Rows are in the order of OPERATIONS; level `BINS + i` is the negative of level i
    where an operation has a direction, and else the same. The policy is trivial or
    rand, the size that of the image in pixels.
    """
    ranges = TRIVIAL if policy == "trivial" else RAND
    table = np.zeros((len(OPERATIONS), 2 * BINS), np.float32)
    for row, operation in zip(table, OPERATIONS, strict=True):
        values = np.linspace(*ranges.get(operation, (0.0, 0.0)), BINS)
        if policy == "rand" and operation.startswith("translate"):
            values = values * (width if operation.endswith("x") else height)
        if operation == "posterize":
            values = np.round(values)
        row[:] = np.concatenate([values, -values if operation in SIGNED else values])
    return table


def matrices(table: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the warp of every operation at every level, [14, 62, 6] int32."""
    rows = zip(OPERATIONS, table.tolist(), strict=True)
    warps = [
        [geometry.inverse_matrix(operation, value, height, width) for value in row]
        for operation, row in rows
    ]
    return geometry.fixed_point(np.array(warps))


def draw(key: jax.Array, config: AugmentConfig) -> tuple[jax.Array, jax.Array]:
    """Return one image's operations and their levels, [N] int32 each."""
    trivial = config.policy == "trivial"
    choices = 2 * BINS if trivial else 2  # any level, or one with either sign
    number = 1 if trivial else config.rand_operations
    # One draw for both: each that a program makes takes a while to compile.
    both = jax.random.randint(key, (number,), 0, len(OPERATIONS) * choices)
    operations, choice = jnp.divmod(both, choices)
    return operations, choice if trivial else config.rand_magnitude + BINS * choice


def apply_policy(picture: Picture, key: jax.Array, config: AugmentConfig) -> Picture:
    """Return the picture after the operations of TrivialAugment or RandAugment.

    TrivialAugment (Müller and Hutter 2021, arXiv 2103.10158) makes one operation at a
    random level, RandAugment (Cubuk et al. 2019, arXiv 1909.13719) several at a given
    one. Operations and ranges are those of torchvision's TrivialAugmentWide and
    RandAugment, with nearest neighbours, and black and void outside.

    The image has at most 8 million pixels, which int32 can add up. Of the
    configuration policy, rand_operations and rand_magnitude are used.
    """
    height, width, _ = picture.image.shape
    strengths = magnitudes(config.policy, height, width)
    warps = jnp.asarray(matrices(strengths, height, width))

    def apply(picture: Picture, drawn: tuple[jax.Array, jax.Array]) -> Any:
        magnitude = jnp.asarray(strengths)[drawn]
        return apply_operation(picture, drawn[0], magnitude, warps[drawn]), None

    return jax.lax.scan(apply, picture, draw(key, config))[0]


def apply_operation(
    picture: Picture, operation: jax.Array, magnitude: jax.Array, matrix: jax.Array
) -> Picture:
    """Return the picture warped, blended and looked up; at most one changes it.

    A switch over all operations would compute each of them for each image of a batch;
    so it is one warp, one blend and one table. The mask is warped alone.

    Args:
        picture: The picture.
        operation: int32 scalar, an index of OPERATIONS.
        magnitude: float32 scalar, its strength.
        matrix: [6] int32, its warp.
    """
    image, mask = picture.moved(lambda a, fill: geometry.warp(a, matrix, fill))
    bases = (*colour.BLENDS.values(), lambda image: image)
    base = jax.lax.switch(_index(operation, colour.BLENDS), bases, image)
    image = colour.blend(base, image, 1 + magnitude)
    tables = (*colour.TABLES.values(), colour.unchanged)
    index, counts = _index(operation, colour.TABLES), colour.histogram(image)
    table = jax.lax.switch(index, tables, counts, magnitude)
    return Picture(colour.look_up(image, table), mask)


def _index(operation: jax.Array, names: Iterable[str]) -> jax.Array:
    """Return where an operation is in `names`, or how many there are if it is not."""
    indices = {name: index for index, name in enumerate(names)}
    table = [indices.get(name, len(indices)) for name in OPERATIONS]
    return jnp.asarray(table)[operation]
