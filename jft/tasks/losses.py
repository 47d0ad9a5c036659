"""Losses of softmax and sigmoid outputs, per example, pixel or label."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax


def softmax_loss(
    logits: jax.Array,
    target: jax.Array,
    class_weights: Sequence[float] | None = None,
    focal_gamma: float = 0.0,
) -> jax.Array:
    """Return `-sum_k w_k t_k (1 - p_k)^gamma log p_k`, p the softmax of the logits.

    With gamma 0 it is the cross-entropy. It is linear in the target, which may be a
    blend of classes. It is not divided by the class weights of the batch, as torch's
    `weight` for class indices is: `balanced_weights` are 1 on average over the data.

    Source: Lin et al. 2017, https://arxiv.org/abs/1708.02002, equations 4 and 5.

    Args:
        logits: [..., K] float32.
        target: [..., K] float32, probabilities.
        class_weights: w, K numbers; alpha in the paper.
        focal_gamma: At least 0; 2 in the paper.

    Returns:
        [...] float32.
    """
    if focal_gamma:
        # Away from 0, where a power below 1 has no gradient.
        rest = jnp.maximum(-jnp.expm1(jax.nn.log_softmax(logits)), 1e-12)
        target = target * rest**focal_gamma
    if class_weights is not None:
        weights = jnp.asarray(class_weights, jnp.float32)
        target = target * jnp.expand_dims(weights, tuple(range(target.ndim - 1)))
    return optax.softmax_cross_entropy(logits, target)


def sigmoid_loss(
    logits: jax.Array,
    target: jax.Array,
    positive_weights: Sequence[float] | None = None,
    focal_gamma: float = 0.0,
) -> jax.Array:
    """Return `-w t (1 - p)^gamma log p - (1 - t) p^gamma log(1 - p)` of every label.

    p is the sigmoid of the logit. With gamma 0 it is the binary cross-entropy, and w
    is `pos_weight` of torch's `BCEWithLogitsLoss`.

    Source: Lin et al. 2017, https://arxiv.org/abs/1708.02002, equation 4.

    Args:
        logits: [..., K] float32.
        target: [..., K] float32 in [0, 1].
        positive_weights: w, K numbers.
        focal_gamma: At least 0.

    Returns:
        [..., K] float32.
    """
    yes, no = -jax.nn.log_sigmoid(logits), -jax.nn.log_sigmoid(-logits)
    if focal_gamma:
        # Powers of p and 1 - p by their logarithms, which do not underflow.
        yes, no = yes * jnp.exp(-focal_gamma * no), no * jnp.exp(-focal_gamma * yes)
    if positive_weights is not None:
        yes = yes * jnp.asarray(positive_weights, jnp.float32)[None]
    return target * yes + (1 - target) * no


def mean_over(
    each: jax.Array, counts: jax.Array, axis: int | tuple[int, ...]
) -> jax.Array:
    """Return the mean of `each` over axes where `counts` is true; 0 where none is."""
    number = jnp.sum(counts.astype(jnp.float32), axis=axis)
    total = jnp.sum(jnp.where(counts, each, 0.0), axis=axis)
    return total / jnp.maximum(number, 1.0)


def dice_loss(
    logits: jax.Array, member: jax.Array, class_weights: Sequence[float] | None = None
) -> jax.Array:
    """Return 1 minus the mean soft Dice coefficient of the classes in each image.

    The coefficient of class k is `2 sum p_k t_k / (sum p_k + sum t_k)` over the pixels
    that count. Only classes that occur in the image's mask are averaged: the
    coefficient of an absent class is 0 for any prediction. Pixels wrongly predicted as
    absent classes are missing from the others.

    Source: Drozdzal et al. 2016, https://arxiv.org/abs/1608.04117, equation 3, and
    Sudre et al. 2017, https://arxiv.org/abs/1707.03237; without the squares of V-Net.

    Args:
        logits: [B, H, W, K] float32.
        member: [B, H, W, K] float32, 1 for the class of the pixel, all 0 on void.
        class_weights: K weights of the mean.

    Returns:
        [B] float32 in [0, 1]; 0 where no class counts.
    """
    counts = jnp.any(member > 0, axis=-1, keepdims=True)
    probability = jnp.where(counts, jax.nn.softmax(logits), 0.0)
    common = jnp.sum(probability * member, axis=(1, 2))
    truth = jnp.sum(member, axis=(1, 2))
    both = jnp.sum(probability, axis=(1, 2)) + truth
    weight = (truth > 0).astype(jnp.float32)
    if class_weights is not None:
        weight = weight * jnp.asarray(class_weights, jnp.float32)[None]
    missed = 1 - 2 * common / jnp.where(truth > 0, both, 1.0)
    whole = jnp.sum(weight, axis=1)
    return jnp.sum(weight * missed, axis=1) / jnp.where(whole > 0, whole, 1.0)
