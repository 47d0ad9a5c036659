"""Changes of colour: blends with a plainer image, tables of the 256 levels, hue.

The blends and the posterise, solarise and equalise tables are Pillow's (ImageEnhance,
ImageOps) level for level.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def black(image: jax.Array) -> jax.Array:
    """Return a black image; blends with it change the brightness."""
    return jnp.zeros_like(image)


def _luma(image: jax.Array) -> jax.Array:
    """Return ITU-R 601 luma, [H, W] int32, in Pillow's 16-bit weights."""
    red, green, blue = jnp.moveaxis(image.astype(jnp.int32), -1, 0)
    return (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16


def grey(image: jax.Array) -> jax.Array:
    """Return `image` [H, W, 3] in grey; blends with it change the saturation."""
    return jnp.broadcast_to(_luma(image)[..., None], image.shape).astype(jnp.uint8)


def mean_grey(image: jax.Array) -> jax.Array:
    """Return the mean grey everywhere; blends with it change the contrast."""
    luma = _luma(image)
    mean = (jnp.sum(luma) + luma.size // 2) // luma.size
    return jnp.full_like(image, mean.astype(jnp.uint8))


def smooth(image: jax.Array) -> jax.Array:
    """Return `image` [H, W, 3] smoothed, except its outermost pixels.

    The 3 x 3 kernel is 5/13 in the middle and 1/13 around it (Pillow's
    ImageFilter.SMOOTH). Blends with it change the sharpness.
    """
    levels = image.astype(jnp.int32)
    rows = levels[:-2] + levels[1:-1] + levels[2:]
    total = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] + 4 * levels[1:-1, 1:-1]
    return image.at[1:-1, 1:-1].set(((total + 6) // 13).astype(jnp.uint8))


def blend(base: jax.Array, image: jax.Array, factor: jax.Array) -> jax.Array:
    """Return `base + factor * (image - base)`, its fraction dropped, in [0, 255].

    Args:
        base: [H, W, 3] uint8, what factor 0 gives.
        image: [H, W, 3] uint8, what factor 1 gives.
        factor: float32 scalar in [0, 2].
    """
    start = base.astype(jnp.float32)
    difference = image.astype(jnp.float32) - start
    # Pillow rounds the product and then the sum, where XLA may round once for both, and
    # whole levels hang on it. Both products here are exact, so that cannot matter.
    coarse = jnp.round(factor * 4096) / 4096
    product = coarse * difference + (factor - coarse) * difference
    return jnp.clip(start + product, 0, 255).astype(jnp.uint8)


def shift_hue(image: jax.Array, turns: jax.Array) -> jax.Array:
    """Return `image` with its hues shifted, saturation and value unchanged.

    By way of HSV in float32 and rounded once, as torchvision does for tensors; on
    Pillow images it rounds hue and saturation to 8 bits in between.

    Args:
        image: [H, W, 3] uint8.
        turns: float32 scalar in [-1, 1]; 1/3 turns red into green.
    """
    red, green, blue = levels = jnp.moveaxis(image.astype(jnp.float32), -1, 0)
    value = jnp.max(levels, axis=0)
    chroma = value - jnp.min(levels, axis=0)
    safe = jnp.maximum(chroma, 1)
    hue = jnp.where(
        value == red,
        (green - blue) / safe,
        jnp.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    # In sixths of a turn, how far each channel is from where it begins to fall.
    start = jnp.array([5, 3, 1], jnp.float32)
    sixth = (start[None, None] + (hue + 6 * turns)[..., None]) % 6
    less = chroma[..., None] * jnp.clip(jnp.minimum(sixth, 4 - sixth), 0, 1)
    return jnp.round(value[..., None] - less).astype(jnp.uint8)


def histogram(image: jax.Array) -> jax.Array:
    """Return how often each channel has each level, [3, 256] int32."""
    # One index per value: XLA's CPU backend adds up eight times as fast as with two.
    channel = 256 * jnp.arange(3, dtype=jnp.int32)[None, None]
    index = image.astype(jnp.int32) + channel
    return jnp.zeros(3 * 256, jnp.int32).at[index].add(1).reshape(3, 256)


def _levels() -> jax.Array:
    return jnp.arange(256, dtype=jnp.int32)[None]


def _each_channel(table: jax.Array) -> jax.Array:
    return jnp.broadcast_to(jnp.clip(table, 0, 255), (3, 256)).astype(jnp.uint8)


def unchanged(counts: jax.Array, magnitude: jax.Array) -> jax.Array:
    """Return the table that changes no level, [3, 256] uint8."""
    del counts, magnitude
    return _each_channel(_levels())


def posterize(counts: jax.Array, magnitude: jax.Array) -> jax.Array:
    """Return the table that keeps the `magnitude` highest bits, [3, 256] uint8."""
    del counts
    low = 8 - magnitude.astype(jnp.int32)
    return _each_channel((_levels() >> low) << low)


def solarize(counts: jax.Array, magnitude: jax.Array) -> jax.Array:
    """Return the table that inverts levels from `magnitude` up, [3, 256] uint8."""
    del counts
    levels = _levels()
    darker = levels.astype(jnp.float32) < magnitude
    return _each_channel(jnp.where(darker, levels, 255 - levels))


def autocontrast(counts: jax.Array, magnitude: jax.Array) -> jax.Array:
    """Return the table that stretches each channel to 0...255, [3, 256] uint8.

    Exactly `255 * (level - lowest) // (highest - lowest)`. Where that quotient is
    whole, Pillow's float64 may give one less: for 0.4 % of (lowest, highest, level).
    """
    del magnitude
    lowest = jnp.argmax(counts > 0, axis=1)[:, None]
    highest = 255 - jnp.argmax(counts[:, ::-1] > 0, axis=1)[:, None]
    span = highest - lowest
    stretched = 255 * (_levels() - lowest) // jnp.maximum(span, 1)
    return _each_channel(jnp.where(span > 0, stretched, _levels()))


def equalize(counts: jax.Array, magnitude: jax.Array) -> jax.Array:
    """Return the table that spreads each channel's levels evenly, [3, 256] uint8."""
    del magnitude
    total = jnp.cumsum(counts, axis=1)
    # All but the pixels of the highest level: the sum before it first reaches them all.
    lower = jnp.max(jnp.where(total < total[:, -1:], total, 0), axis=1, keepdims=True)
    step = lower // 255
    spread = (step // 2 + total - counts) // jnp.maximum(step, 1)
    return _each_channel(jnp.where(step > 0, spread, _levels()))


def look_up(image: jax.Array, table: jax.Array) -> jax.Array:
    """Return `table[channel, level]` for each level of `image` [H, W, 3] uint8."""
    return table[jnp.arange(3)[None, None], image.astype(jnp.int32)]


# What each operation blends with, and the table it looks levels up in, of a histogram.
BLENDS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "brightness": black,
    "color": grey,
    "contrast": mean_grey,
    "sharpness": smooth,
}
TABLES: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "posterize": posterize,
    "solarize": solarize,
    "autocontrast": autocontrast,
    "equalize": equalize,
}
