"""The layers without statistics, which compute in the dtype of their features."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jft.models.training import BlockMode, TrainBatch

# torchvision's initial values: He normal over the outputs, and torch's default for a
# linear layer, uniform within 1 / sqrt(inputs).
conv_init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
dense_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def standardise(kernel: jax.Array) -> jax.Array:
    """Return a kernel [H, W, I, O] with mean 0 and variance 1 per output channel."""
    mean = jnp.mean(kernel, axis=(0, 1, 2), keepdims=True)
    var = jnp.mean(jnp.square(kernel - mean), axis=(0, 1, 2), keepdims=True)
    # big_transfer's epsilon; what is divided is thus far from zero in trained nets.
    return (kernel - mean) * jax.lax.rsqrt(var + 1e-10)


class Conv(nn.Module):
    """A convolution that pads `size // 2` on every side, times its dilation.

    With stride 2 this is not "SAME", which would pad one side less.

    Attributes:
        features: Channels of the result.
        size: Side of the kernel.
        stride: Step between windows.
        groups: Into how many groups of channels it falls.
        use_bias: Add a bias.
        standardised: Standardise the kernel first, in float32.
        dilation: Pixels from one element of the kernel to the next.
    """

    features: int
    size: int
    stride: int = 1
    groups: int = 1
    use_bias: bool = False
    standardised: bool = False
    dilation: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `x` [B, H, W, C] to [B, H/stride, W/stride, features]."""
        size, pad = (self.size, self.size), self.size // 2 * self.dilation
        inputs = x.shape[-1] // self.groups
        kernel = self.param("kernel", conv_init, (*size, inputs, self.features))
        if self.standardised:
            kernel = standardise(kernel)
        x = jax.lax.conv_general_dilated(
            x,
            kernel.astype(x.dtype),
            (self.stride, self.stride),
            ((pad, pad), (pad, pad)),
            rhs_dilation=(self.dilation, self.dilation),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=self.groups,
        )
        if not self.use_bias:
            return x
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return x + bias.astype(x.dtype)[None, None, None]


class ConvNorm(nn.Module):
    """A convolution and the normalisation of its result, named conv and norm.

    `norm` makes the normalisation, given its name; other fields are those of `Conv`.
    """

    features: int
    size: int
    norm: Any
    stride: int = 1
    use_bias: bool = False
    dilation: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, batch: TrainBatch | None) -> jax.Array:
        """Map `x` [B, H, W, C] to [B, H/stride, W/stride, features]."""
        conv = Conv(
            self.features,
            self.size,
            self.stride,
            use_bias=self.use_bias,
            dilation=self.dilation,
            name="conv",
        )
        return self.norm(name="norm")(conv(x), batch)


def dense(x: jax.Array, features: int, name: str) -> jax.Array:
    """Map `x` [..., C] to [..., features], by a layer of that name."""
    layer = nn.Dense(features, dtype=x.dtype, kernel_init=dense_init, name=name)
    return layer(x)


def resample(x: jax.Array, rows: np.ndarray, columns: np.ndarray) -> jax.Array:
    """Return weighted means of the pixels of `x` [B, h, w, C], computed in float32.

    Args:
        x: Features.
        rows: [H, h], the weights of the rows of `x` in each row of the result.
        columns: [W, w], the same for columns.
    """
    weights = (jnp.asarray(each, jnp.float32) for each in (rows, columns))
    # The highest precision: a TPU would round to bfloat16 what a mean has exactly.
    y = jnp.einsum(
        "ih,jw,bhwc->bijc", *weights, x.astype(jnp.float32), precision="highest"
    )
    return y.astype(x.dtype)


def max_pool(x: jax.Array, size: int, stride: int, padding: int = 0) -> jax.Array:
    """Return the maximum of each `size` x `size` window of `x` [B, H, W, C]."""
    pad: Any = ((padding, padding),) * 2  # flax annotates only the named paddings
    return nn.max_pool(x, (size, size), strides=(stride, stride), padding=pad)


def drop(
    x: jax.Array,
    rate: float,
    batch: TrainBatch | None,
    layer: int,
    *,
    whole: bool = False,
) -> jax.Array:
    """Return `x` with a part set to 0 and the rest divided by `1 - rate`.

    What an example loses depends on its own key alone, whatever batch or device it is
    in. `jax.random`'s "rbg" keys are not for this: under `vmap` they draw together.

    Args:
        x: Features [B, ...].
        rate: Probability of each number to be dropped, in [0, 1).
        batch: Has the keys. None, in evaluation, drops nothing.
        layer: A number that no other layer draws with.
        whole: Drop all of an example's numbers together.

    Raises:
        ValueError: There are no keys.
    """
    if batch is None or rate == 0:
        return x
    if batch.keys is None:
        raise ValueError("training with dropout or drop_path needs keys, got None")
    shape = (1,) * (x.ndim - 1) if whole else x.shape[1:]

    def kept(key: jax.Array) -> jax.Array:
        return jax.random.bernoulli(jax.random.fold_in(key, layer), 1 - rate, shape)

    return jnp.where(jax.vmap(kept)(batch.keys), x / (1 - rate), 0.0)


def rematerialised(
    layer: type[nn.Module], mode: BlockMode, batch: TrainBatch | None
) -> Any:
    """Return the layer, recomputed in the backward pass if its mode has `remat`."""
    return nn.remat(layer) if mode.remat and batch is not None else layer


class Stage(nn.Module):
    """The blocks of one stage in order, named `block0`, `block1`, ... or `layer0`, ...

    Attributes:
        block: Their class.
        prefix: Their name without its number.
        blocks: The mode and the other fields of each.
        norm: Makes the normalisation after the last block; None for none.
    """

    block: type[nn.Module]
    prefix: str
    blocks: tuple[tuple[BlockMode, Mapping[str, Any]], ...]
    norm: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, batch: TrainBatch | None) -> jax.Array:
        """Map `x` [B, H, W, C] to [B, H/stride, W/stride, C']."""
        for i, (mode, fields) in enumerate(self.blocks):
            block: Any = rematerialised(self.block, mode, batch)
            x = block(**fields, name=f"{self.prefix}{i}")(x, batch)
        return nn.relu(self.norm(name="norm")(x, batch)) if self.norm else x
