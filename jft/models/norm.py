"""Normalisation as torch computes it: of batches over all devices, and of groups.

Moments, scale and shift are float32 for features of any dtype, which is the result's.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jft.errors import InputError
from jft.models.training import TrainBatch


def moments(
    x: jax.Array, weight: jax.Array | None, axis_name: str | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return mean [C], biased variance [C] and the count of values of each.

    All three are 0 where every example is left out. Sums and counts are added up over
    `axis_name`, so devices that hold different numbers of examples agree on the
    statistics of the whole batch.

    Args:
        x: Features [B, H, W, C] float32.
        weight: [B], 0 for examples to leave out; None includes every one.
        axis_name: Mapped axis to add up over, if any.
    """
    use = jnp.ones(x.shape[:1], x.dtype) if weight is None else weight > 0
    use = use.astype(x.dtype)[:, None, None, None]

    def total(values: jax.Array) -> jax.Array:
        return values if axis_name is None else jax.lax.psum(values, axis_name)

    count = total(jnp.sum(use)) * (x.shape[1] * x.shape[2])
    divisor = jnp.maximum(count, 1)
    mean = total(jnp.sum(x * use, axis=(0, 1, 2))) / divisor
    # A second pass, since E[x^2] - E[x]^2 cancels when the mean is large.
    centred = jnp.square(x - mean[None, None, None]) * use
    return mean, total(jnp.sum(centred, axis=(0, 1, 2))) / divisor, count


class BatchNorm(nn.Module):
    """Normalise channels by the batch's statistics or by stored ones.

    As `torch.nn.BatchNorm2d`: the batch is normalised by its biased variance, while
    the unbiased one is stored, and `momentum` is the weight of the new value. Where
    torch raises an error, because a channel has fewer than two values in the batch of
    all devices, this step uses the stored statistics and does not update them.

    Attributes:
        stored: Names of the layers that use their stored statistics in training too,
            and never update them.
        adapt: Names of those that use their stored statistics and update them.
        axis_name: Mapped axis over which batch statistics are computed.
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
            # One value has no variance: normalised by itself it would be 0.
            enough = count > 1
            if name not in self.adapt:
                used_mean = jnp.where(enough, new_mean, used_mean)
                used_var = jnp.where(enough, new_var, used_var)
            if not self.is_initializing():
                unbiased = new_var * (count / jnp.maximum(count - 1, 1))
                momentum = jnp.where(enough, self.momentum, 0.0)
                mean.value += momentum * (new_mean - mean.value)
                var.value += momentum * (unbiased - var.value)
        factor = scale * jax.lax.rsqrt(used_var + self.epsilon)
        shift = bias - used_mean * factor
        return (x * factor[None, None, None] + shift[None, None, None]).astype(dtype)


def require_two_values(model: nn.Module, size: int, images: int) -> None:
    """Check that each layer with batch statistics gets two values per channel.

    Args:
        model: The network with its mode in training.
        size: Side of the images, in pixels.
        images: The largest number in a step, or in one of its accumulated parts.

    Raises:
        InputError: A channel of some layer never has two values.
    """
    if images > 1:
        return
    single: list[str] = []

    def record(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        layer, name = context.module, "/".join(context.module.path)
        ours = isinstance(layer, BatchNorm) and name not in layer.stored
        stored = kwargs.get("use_running_average") or getattr(
            layer, "use_running_average", None
        )
        flax = isinstance(layer, nn.BatchNorm) and not stored
        if (ours or flax) and math.prod(args[0].shape[:-1]) == 1:
            single.append(name)
        return call(*args, **kwargs)

    def train(key: jax.Array, image: jax.Array) -> Any:
        # The mapped axis exists only inside the compiled step.
        alone: Any = model.clone(axis_name=None)
        return alone.init(key, image, train=True, keys=jax.random.split(key, 1))

    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    with nn.intercept_methods(record):
        jax.eval_shape(train, jax.random.key(0), image)
    if single:
        stages = dict.fromkeys(f"{name.partition('/')[0]}=stored" for name in single)
        more = f" and {len(single) - 1} more layers" if len(single) > 1 else ""
        raise InputError(
            f"batch normalisation has one value per channel in every step, and so no "
            f"variance, in {single[0]}{more}: train at least 2 images at a time "
            f"(--batch-size divided by --optim.accumulate), or use --norm "
            f"{','.join(stages)}"
        )


class GroupNorm(nn.Module):
    """Normalise groups of channels of each image by their own mean and variance.

    As `torch.nn.GroupNorm`; images do not affect each other, and nothing is stored.
    Source: Wu and He 2018, https://arxiv.org/abs/1803.08494.

    Attributes:
        groups: Number of groups of channels.
        epsilon: Added to the variance.
    """

    groups: int = 32
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array, batch: TrainBatch | None) -> jax.Array:
        """Return `x` [B, H, W, C] normalised, scaled and shifted per channel."""
        del batch  # training and the weights of images change nothing
        channels, dtype, x = x.shape[-1], x.dtype, x.astype(jnp.float32)
        scale = self.param("scale", nn.initializers.ones, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        grouped = x.reshape(*x.shape[:3], self.groups, channels // self.groups)
        mean = jnp.mean(grouped, axis=(1, 2, 4), keepdims=True)
        centred = grouped - mean
        var = jnp.mean(jnp.square(centred), axis=(1, 2, 4), keepdims=True)
        normal = centred * jax.lax.rsqrt(var + self.epsilon)
        scale, bias = scale[None, None, None], bias[None, None, None]
        return (normal.reshape(x.shape) * scale + bias).astype(dtype)
