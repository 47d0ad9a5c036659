"""Batch normalisation as torch computes it, over all devices and without padding."""

import flax.linen as nn
import jax
import jax.numpy as jnp


def moments(
    x: jax.Array, weight: jax.Array | None, axis_name: str | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return mean [C], biased variance [C] and the count of pixels they are over.

    Sums and counts are added up over `axis_name`, so devices that hold different
    numbers of examples still agree on the statistics of the whole batch.

    Args:
        x: Features [B, H, W, C].
        weight: [B], 0 for examples to leave out; None counts every one.
        axis_name: Mapped axis to add up over, if any.
    """
    use = jnp.ones(x.shape[:1], x.dtype) if weight is None else weight > 0
    use = use.astype(x.dtype)[:, None, None, None]  # [B, 1, 1, 1]

    def total(values: jax.Array) -> jax.Array:
        return values if axis_name is None else jax.lax.psum(values, axis_name)

    count = total(jnp.sum(use)) * (x.shape[1] * x.shape[2])
    mean = total(jnp.sum(x * use, axis=(0, 1, 2))) / count
    # A second pass, since E[x^2] - E[x]^2 cancels when the mean is large.
    centred = jnp.square(x - mean) * use
    return mean, total(jnp.sum(centred, axis=(0, 1, 2))) / count, count


class BatchNorm(nn.Module):
    """Normalise channels by the batch's statistics or by stored ones.

    As `torch.nn.BatchNorm2d`: the batch is normalised by its biased variance, while
    the unbiased one is stored, and `momentum` is the weight of the new value.

    Attributes:
        stored: Names of the layers that use stored statistics in training too.
        axis_name: Mapped axis over which batch statistics are shared.
        momentum: Weight of the batch's statistics in the stored ones, per step.
        epsilon: Added to the variance.
    """

    stored: frozenset[str] = frozenset()
    axis_name: str | None = None
    momentum: float = 0.1
    epsilon: float = 1e-5

    @nn.compact
    def __call__(
        self, x: jax.Array, *, train: bool, weight: jax.Array | None
    ) -> jax.Array:
        """Return `x` [B, H, W, C] normalised, scaled and shifted per channel."""
        shape = x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        var = self.variable("batch_stats", "var", jnp.ones, shape)
        if train and "/".join(self.path) not in self.stored:
            used_mean, used_var, count = moments(x, weight, self.axis_name)
            if not self.is_initializing():
                unbiased = used_var * (count / jnp.maximum(count - 1, 1))
                mean.value += self.momentum * (used_mean - mean.value)
                var.value += self.momentum * (unbiased - var.value)
        else:
            used_mean, used_var = mean.value, var.value
        factor = scale * jax.lax.rsqrt(used_var + self.epsilon)
        return x * factor + (bias - used_mean * factor)
