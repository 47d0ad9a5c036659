"""Pre-activation ResNets: BiT's, and the "V2" nets of Keras.

Sources: He et al. 2016, https://arxiv.org/abs/1603.05027; Kolesnikov et al. 2019 (Big
Transfer), https://arxiv.org/abs/1912.11370, with google-research/big_transfer's
`bit_pytorch/models.py`; Keras's `applications/resnet.py` and `resnet_v2.py`.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jft.models.network import Network, conv_init, max_pool
from jft.models.norm import BatchNorm, GroupNorm
from jft.models.variants import ResNetV2Variant


def standardise(kernel: jax.Array) -> jax.Array:
    """Return a kernel [H, W, I, O] with mean 0 and variance 1 per output channel."""
    mean = jnp.mean(kernel, axis=(0, 1, 2))
    var = jnp.mean(jnp.square(kernel - mean), axis=(0, 1, 2))
    # big_transfer's epsilon; what is divided is thus far from zero in trained nets.
    return (kernel - mean) * jax.lax.rsqrt(var + 1e-10)


class Conv(nn.Module):
    """A convolution that pads `size // 2` on every side.

    Attributes:
        features: Channels of the result.
        size: Side of the kernel.
        stride: Step between windows.
        standardised: Standardise the kernel first.
        use_bias: Add a bias.
    """

    features: int
    size: int
    stride: int = 1
    standardised: bool = False
    use_bias: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `x` [B, H, W, C] to [B, H/stride, W/stride, features]."""
        size, pad = (self.size, self.size), self.size // 2
        kernel = self.param("kernel", conv_init, (*size, x.shape[-1], self.features))
        if self.standardised:
            kernel = standardise(kernel)
        x = jax.lax.conv_general_dilated(
            x,
            kernel,
            (self.stride, self.stride),
            ((pad, pad), (pad, pad)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        if not self.use_bias:
            return x
        return x + self.param("bias", nn.initializers.zeros, (self.features,))


class Block(nn.Module):
    """Normalise, rectify, convolve, three times: 1x1, 3x3 (with the stride), 1x1.

    Attributes:
        features: Channels of the first two convolutions, a quarter of the block's.
        stride: Step of the block.
        project: Bring the input to the new shape by a 1x1 convolution.
        variant: Which family.
        norm: Makes a normalisation layer, given its name.
    """

    features: int
    stride: int
    project: bool
    variant: ResNetV2Variant
    norm: Any

    @nn.compact
    def __call__(self, x: jax.Array, **mode: Any) -> jax.Array:
        """Map `x` [B, H, W, C] to [B, H/stride, W/stride, 4 * features]."""
        standardised, out = self.variant.standardised, self.features * 4
        biased = not standardised
        y = nn.relu(self.norm(name="norm1")(x, **mode))
        if self.project:
            options = (out, 1, self.stride, standardised, biased)
            x = Conv(*options, name="shortcut")(y)
        else:
            x = x[:, :: self.stride, :: self.stride]
        y = Conv(self.features, 1, 1, standardised, name="conv1")(y)
        y = nn.relu(self.norm(name="norm2")(y, **mode))
        y = Conv(self.features, 3, self.stride, standardised, name="conv2")(y)
        y = nn.relu(self.norm(name="norm3")(y, **mode))
        return x + Conv(out, 1, 1, standardised, biased, name="conv3")(y)


class Stage(nn.Module):
    """Blocks of one width; the last stage ends with the network's last normalisation.

    Attributes:
        blocks: How many.
        features: Of the blocks.
        stride: Step of the stage.
        last: Whether no stage follows.
        variant: Which family.
        norm: Makes a normalisation layer, given its name.
    """

    blocks: int
    features: int
    stride: int
    last: bool
    variant: ResNetV2Variant
    norm: Any

    @nn.compact
    def __call__(self, x: jax.Array, **mode: Any) -> jax.Array:
        """Map `x` [B, H, W, C] to [B, H/stride, W/stride, 4 * features]."""
        strided = self.blocks - 1 if self.variant.stride_last else 0
        for i in range(self.blocks):
            stride = self.stride if i == strided else 1
            block = Block(
                self.features, stride, i == 0, self.variant, self.norm, name=f"block{i}"
            )
            x = block(x, **mode)
        return nn.relu(self.norm(name="norm")(x, **mode)) if self.last else x


class ResNetV2(Network):
    """A pre-activation ResNet whose parts are named stem, stage1, ..., head.

    Attributes:
        variant: Which family.
    """

    variant: ResNetV2Variant = ResNetV2Variant()

    def run(self, name: str, x: jax.Array, **mode: Any) -> jax.Array:
        """Run one part of `stages`."""
        variant = self.variant
        if name == "stem":
            standardised = variant.standardised
            stem = Conv(self.width, 7, 2, standardised, not standardised, name="stem")
            # Zeros, where pooling alone would pad with nothing: nothing has rectified
            # these features yet, so a zero may be the maximum.
            x = jnp.pad(stem(x), ((0, 0), (1, 1), (1, 1), (0, 0)))
            return max_pool(x, 3, 2)
        if name == "head":
            return self.classify(jnp.mean(x, axis=(1, 2)))
        depth, count = self.stages.index(name) - 1, len(self.stage_sizes)
        still = count - 1 if variant.stride_last else 0
        stage = Stage(
            self.stage_sizes[depth],
            self.width * 2**depth,
            1 if depth == still else 2,
            depth == count - 1,
            variant,
            self.norm(),
            name=name,
        )
        return stage(x, **mode)

    def norm(self) -> Any:
        """Return what makes a normalisation layer, given its name."""
        if self.variant.standardised:
            return partial(GroupNorm, epsilon=self.variant.epsilon)
        return partial(
            BatchNorm,
            stored=self.stored,
            axis_name=self.axis_name,
            epsilon=self.variant.epsilon,
        )
