"""mixup and cutmix: mix pairs of images and their labels."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jft.augment.boxes import inside
from jft.config import AugmentConfig

# Folded into an epoch's key, whose other children are the examples', int32.
MIX = 2**32 - 1


class Lam(NamedTuple):
    """The weight lambda of an image; its partner has 1 - lambda.

    Attributes:
        label: float32, lambda of the label.
        pixel: [..., H, W] float32, lambda of each pixel.
    """

    label: jax.Array
    pixel: jax.Array


def mix(
    image: jax.Array,
    target: jax.Array,
    weight: jax.Array,
    example: jax.Array,
    key: jax.Array,
    epoch: jax.Array,
    config: AugmentConfig,
) -> tuple[jax.Array, jax.Array]:
    """Return images mixed in pairs, and their labels with the same weights.

    A mask is pasted with its pixels.

    Image i makes a pair with image i XOR 1. Both have the same lambda, so the weight of
    a pair in the loss is unchanged. A pair with padding is not mixed.

    Args:
        image: [B, H, W, C] uint8, B even.
        target: [B, K] float32, of which NaN, unknown, makes a mixture with it unknown;
            or masks [B, H, W] of integers, without mixup.
        weight: [B] float32, 0 on padding.
        example: [B] int32, which example of the source each image is.
        key: The run's key.
        epoch: int32 scalar, counted from 0.
        config: Its mixup and cutmix are used.

    Returns:
        Images, float32 in [0, 255] with mixup and else uint8; and targets as given.
    """
    if not (config.mixup or config.cutmix):
        return image, target
    masks = jnp.issubdtype(target.dtype, jnp.integer)
    assert not (masks and config.mixup), "masks are never blended"
    lam = lams(weight, example, key, epoch, config, image.shape[1:3])
    pixel, label = lam.pixel[..., None], lam.label[:, None]
    if masks:
        target = jnp.where(lam.pixel > 0, target, _partner(target))
    else:
        target = _blend(target, label)
    if not config.mixup:
        return jnp.where(pixel > 0, image, _partner(image)), target
    return _blend(image.astype(jnp.float32), pixel), target


def _partner(values: jax.Array) -> jax.Array:
    """Return `values` [B, ...] with each two neighbours exchanged."""
    pairs = values.reshape(-1, 2, *values.shape[1:])
    return pairs[:, ::-1].reshape(values.shape)


def _blend(values: jax.Array, lam: jax.Array) -> jax.Array:
    partner = _partner(values)
    blend = lam * values + (1 - lam) * partner
    # Where the weight is 0, the other value may be NaN.
    return jnp.where(lam <= 0, partner, jnp.where(lam >= 1, values, blend))


def lams(
    weight: jax.Array,
    example: jax.Array,
    key: jax.Array,
    epoch: jax.Array,
    config: AugmentConfig,
    size: tuple[int, ...],
) -> Lam:
    """Return lambda for a batch, a function of the run, the epoch and the two ids.

    The arguments are those of `mix`, and the height and width of the images.

    Returns:
        Label [B]; pixel [B, H, W].
    """
    assert len(example) % 2 == 0, f"a batch of {len(example)} is not made of pairs"
    mix_key = jax.random.fold_in(jax.random.fold_in(key, epoch), MIX)

    def pair(ids: jax.Array, weights: jax.Array) -> Lam:
        low_key = jax.random.fold_in(mix_key, jnp.min(ids))
        lam = draw_lam(jax.random.fold_in(low_key, jnp.max(ids)), config, size)
        real = jnp.all(weights > 0)
        return jax.tree.map(lambda s: jnp.where(real, s, jnp.ones_like(s)), lam)

    found = jax.vmap(pair)(example.reshape(-1, 2), weight.reshape(-1, 2))
    return jax.tree.map(lambda s: jnp.repeat(s, 2, axis=0), found)


def draw_lam(key: jax.Array, config: AugmentConfig, size: tuple[int, ...]) -> Lam:
    """Return lambda of one pair: by mixup, cutmix, or one of the two at random.

    mixup (Zhang et al. 2017, arXiv 1710.09412) has one lambda for all pixels, cutmix
    (Yun et al. 2019, arXiv 1905.04899) 0 or 1 for each pixel.
    """
    which_key, mixup_key, cutmix_key = jax.random.split(key, 3)
    if not config.cutmix:
        return _mixup(mixup_key, config.mixup, size)
    if not config.mixup:
        return _cutmix(cutmix_key, config.cutmix, size)
    cut = jax.random.bernoulli(which_key)
    return jax.tree.map(
        lambda a, b: jnp.where(cut, a, b),
        _cutmix(cutmix_key, config.cutmix, size),
        _mixup(mixup_key, config.mixup, size),
    )


def _mixup(key: jax.Array, alpha: float, size: tuple[int, ...]) -> Lam:
    lam = symmetric_beta(key, alpha)
    return Lam(label=lam, pixel=jnp.full(size, lam))


def _cutmix(key: jax.Array, alpha: float, size: tuple[int, ...]) -> Lam:
    height, width = size
    lam_key, centre_key = jax.random.split(key)
    side = jnp.sqrt(1 - symmetric_beta(lam_key, alpha))
    centre = jax.random.uniform(centre_key, (2,))
    rows, columns = _span(centre[0], side, height), _span(centre[1], side, width)
    box = jnp.stack([rows[0], columns[0], rows[1], columns[1]])
    cut = (rows[1] * columns[1]).astype(jnp.float32)
    # From the pixels that the image's edge has left of the box.
    label = 1 - cut / (height * width)
    return Lam(label, 1 - inside(box, height, width).astype(jnp.float32))


def _span(centre: jax.Array, side: jax.Array, length: int) -> tuple[jax.Array, ...]:
    """Return start and length of a box's side, clipped to the image's `length` pixels.

    Its centre and its side are fractions of that.
    """
    middle = (centre * length).astype(jnp.int32)
    half = (side * length / 2).astype(jnp.int32)
    start = jnp.maximum(middle - half, 0)
    return start, jnp.minimum(middle + half, length) - start


def symmetric_beta(key: jax.Array, alpha: float) -> jax.Array:
    """Return a draw from Beta(alpha, alpha), float32 scalar.

    `(1 + t / sqrt(2 alpha + t^2)) / 2` of a Student t with 2 alpha degrees of freedom,
    which Bailey's polar method draws without rejection (Devroye 1996, "Random variate
    generation in one line of code"). jax.random.beta takes five times as long to
    compile.
    """
    radius, angle = jax.random.uniform(key, (2,))
    cosine = jnp.cos(2 * jnp.pi * angle)
    exponent = jnp.log(radius) / alpha
    # 2 alpha / t^2. Underflow and overflow lead to 0, 1 or 1/2, as they should.
    inverse = jnp.exp(exponent) / (-jnp.expm1(exponent) * cosine**2)
    return (1 + jnp.sign(cosine) / jnp.sqrt(1 + inverse)) / 2
