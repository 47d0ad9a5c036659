"""Normalisation as torch computes it: of batches over all devices, and of groups.

Moments, scale and shift are float32 for features of any dtype, which is the result's.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jft.models.training import TrainBatch


def moments(
    x: jax.Array, weight: jax.Array | None, axis_name: str | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return mean [C], biased variance [C] and the count of pixels they are over.

    Where nothing counts, all three are 0.

    Sums and counts are added up over `axis_name`, so devices that hold different
    numbers of examples still agree on the statistics of the whole batch.

    Args:
        x: Features [B, H, W, C] float32.
        weight: [B], 0 for examples to leave out; None counts every one.
        axis_name: Mapped axis to add up over, if any.
    """
    use = jnp.ones(x.shape[:1], x.dtype) if weight is None else weight > 0
    use = use.astype(x.dtype)[:, None, None, None]  # [B, 1, 1, 1]

    def total(values: jax.Array) -> jax.Array:
        return values if axis_name is None else jax.lax.psum(values, axis_name)

    count = total(jnp.sum(use)) * (x.shape[1] * x.shape[2])
    some = jnp.maximum(count, 1)
    mean = total(jnp.sum(x * use, axis=(0, 1, 2))) / some
    # A second pass, since E[x^2] - E[x]^2 cancels when the mean is large.
    centred = jnp.square(x - mean) * use
    return mean, total(jnp.sum(centred, axis=(0, 1, 2))) / some, count


class BatchNorm(nn.Module):
    """Normalise channels by the batch's statistics or by stored ones.

    As `torch.nn.BatchNorm2d`: the batch is normalised by its biased variance, while
    the unbiased one is stored, and `momentum` is the weight of the new value.

    Attributes:
        stored: Names of the layers that use stored statistics in training too, and
            leave them as they are.
        adapt: Names of those that use stored statistics while these move as ever.
        axis_name: Mapped axis over which batch statistics are shared.
        momentum: Weight of the batch's statistics in the stored ones, per step.
        epsilon: Added to the variance.
    """

    stored: frozenset[str] = frozenset()
    adapt: frozenset[str] = frozenset()
    axis_name: str | None = None
    momentum: float = 0.1
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array, batch: TrainBatch | None) -> jax.Array:
        """Return `x` [B, H, W, C] normalised, scaled and shifted per channel."""
        shape, dtype, x = x.shape[-1:], x.dtype, x.astype(jnp.float32)
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        var = self.variable("batch_stats", "var", jnp.ones, shape)
        used_mean, used_var = mean.value, var.value
        name = "/".join(self.path)
        if batch is not None and name not in self.stored:
            new_mean, new_var, count = moments(x, batch.weight, self.axis_name)
            if name not in self.adapt:
                # Padding alone has no variance to divide by.
                used_mean = jnp.where(count > 0, new_mean, used_mean)
                used_var = jnp.where(count > 0, new_var, used_var)
            if not self.is_initializing():
                unbiased = new_var * (count / jnp.maximum(count - 1, 1))
                share = jnp.where(count > 0, self.momentum, 0.0)
                mean.value += share * (new_mean - mean.value)
                var.value += share * (unbiased - var.value)
        factor = scale * jax.lax.rsqrt(used_var + self.epsilon)
        return (x * factor + (bias - used_mean * factor)).astype(dtype)


class GroupNorm(nn.Module):
    """Normalise groups of channels of each image by their own mean and variance.

    As `torch.nn.GroupNorm`; images do not affect each other, and nothing is stored.
    Source: Wu and He 2018, https://arxiv.org/abs/1803.08494.

    Attributes:
        groups: Into how many groups the channels are divided.
        epsilon: Added to the variance.
    """

    groups: int = 32
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array, batch: TrainBatch | None) -> jax.Array:
        """Return `x` [B, H, W, C] normalised, scaled and shifted per channel."""
        del batch  # the same in training, and for images of any weight
        channels, dtype, x = x.shape[-1], x.dtype, x.astype(jnp.float32)
        scale = self.param("scale", nn.initializers.ones, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        grouped = x.reshape(*x.shape[:3], self.groups, channels // self.groups)
        mean = jnp.mean(grouped, axis=(1, 2, 4), keepdims=True)
        centred = grouped - mean
        var = jnp.mean(jnp.square(centred), axis=(1, 2, 4), keepdims=True)
        normal = centred * jax.lax.rsqrt(var + self.epsilon)
        return (normal.reshape(x.shape) * scale + bias).astype(dtype)
