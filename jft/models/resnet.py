"""ResNets as torchvision, timm, Keras and akamaster built them.

Sources: He et al. 2016, https://arxiv.org/abs/1512.03385; torchvision's
`models/resnet.py` for v1.5, wide and ResNeXt nets; timm's `models/resnet.py` for the
stem and shortcut of ResNet-D (He et al. 2019, https://arxiv.org/abs/1812.01187);
Keras's `applications/resnet.py` for v1; the option-A shortcut of the paper's section
4.2 as akamaster/pytorch_resnet_cifar10 computes it.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jft.models.layers import Conv, ConvNorm, drop, max_pool
from jft.models.network import Network
from jft.models.segment import dilation
from jft.models.training import BlockMode, TrainBatch
from jft.models.variants import ResNetVariant


class DeepStem(nn.Module):
    """Three 3x3 convolutions instead of a 7x7 one; the last is not yet rectified."""

    features: int
    norm: Any

    @nn.compact
    def __call__(self, x: jax.Array, batch: TrainBatch | None) -> jax.Array:
        """Map `x` [B, H, W, C] to [B, H/2, W/2, features]."""
        half = self.features // 2
        for i, features in enumerate((half, half, self.features), start=1):
            x = Conv(features, 3, 2 if i == 1 else 1, name=f"conv{i}")(x)
            x = self.norm(name=f"norm{i}")(x, batch)
            x = nn.relu(x) if i < 3 else x
        return x


def pad_shortcut(x: jax.Array, features: int) -> jax.Array:
    """Return every second pixel of `x` [B, H, W, C], between zero channels (option A).

    The result has `features` channels: C plus an even number.
    """
    extra = (features - x.shape[-1]) // 2
    return jnp.pad(x[:, ::2, ::2, :], ((0, 0), (0, 0), (0, 0), (extra, extra)))


def halve(x: jax.Array) -> jax.Array:
    """Return 2x2 means of `x` [B, H, W, C]; at odd edges, of the pixels that exist."""
    edge: Any = tuple((0, n % 2) for n in x.shape[1:3])
    # In float32, as flax counts the pixels.
    means = nn.avg_pool(
        x.astype(jnp.float32),
        (2, 2),
        strides=(2, 2),
        padding=edge,
        count_include_pad=False,
    )
    return means.astype(x.dtype)


def level(x: jax.Array, spread: int) -> jax.Array:
    """Return the means that `halve` takes, at every pixel [B, H, W, C].

    The pixels of a mean have the distance `spread`.
    """
    means = x.astype(jnp.float32)
    for axis in (1, 2):
        here = np.arange(x.shape[axis])
        # Beyond the edge there is no pixel, and the mean is over those that exist.
        there = np.where(here + spread < len(here), here + spread, here)
        means = (means + jnp.take(means, there, axis=axis)) / 2
    return means.astype(x.dtype)


class ConvPlan(NamedTuple):
    """One convolution of a block; the fields are those of `Conv`."""

    features: int
    size: int
    stride: int = 1
    groups: int = 1
    dilation: int = 1


class Block(nn.Module):
    """A residual block: basic (3x3, 3x3) or bottleneck (1x1, 3x3, 1x1).

    Attributes:
        features: Channels of a basic block; a bottleneck puts out four times as many.
        stride: Of the block.
        variant: The kind of network.
        norm: Makes a normalisation layer, given its name.
        mode: How it runs in training.
        dilations: Of the 3x3 kernels up to and including the convolution with the
            stride, and of those after it.
    """

    features: int
    stride: int
    variant: ResNetVariant
    norm: Any
    mode: BlockMode
    dilations: tuple[int, int] = (1, 1)

    @nn.compact
    def __call__(self, x: jax.Array, batch: TrainBatch | None) -> jax.Array:
        """Map `x` [B, H, W, C] to [B, H/stride, W/stride, C']."""
        y = x
        plan = self.plan()
        for i, each in enumerate(plan, start=1):
            bias = self.variant.conv_bias
            y = Conv(**each._asdict(), use_bias=bias, name=f"conv{i}")(y)
            y = self.norm(name=f"norm{i}")(y, batch)
            if i < len(plan):
                y = nn.relu(y)
        y = drop(y, self.mode.drop_path, batch, self.mode.number, whole=True)
        return nn.relu(y + self.shortcut(x, y.shape[-1], batch))

    def plan(self) -> list[ConvPlan]:
        """Return the convolutions in order."""
        variant, features, stride = self.variant, self.features, self.stride
        before, after = self.dilations
        if variant.block == "basic":
            return [
                ConvPlan(features, 3, stride, dilation=before),
                ConvPlan(features, 3, dilation=after),
            ]
        inner = features * variant.group_width // 64 * variant.groups
        first, second, spread = 1, stride, before
        if variant.stride_first:
            first, second, spread = stride, 1, after
        return [
            ConvPlan(inner, 1, first),
            ConvPlan(inner, 3, second, variant.groups, spread),
            ConvPlan(features * 4, 1),
        ]

    def shortcut(
        self, x: jax.Array, features: int, batch: TrainBatch | None
    ) -> jax.Array:
        """Bring the block's input to the shape of its output."""
        variant, stride = self.variant, self.stride
        if stride == 1 and x.shape[-1] == features:
            return x
        if variant.shortcut == "pad":
            return pad_shortcut(x, features)
        before, after = self.dilations
        if variant.shortcut == "pool" and stride == 2:
            x, stride = halve(x), 1
        elif variant.shortcut == "pool" and after > before:
            x = level(x, before)
        project = ConvNorm(
            features, 1, self.norm, stride, variant.conv_bias, name="shortcut"
        )
        return project(x, batch)


class ResNet(Network):
    """A ResNet whose parts are named stem, stage1, ..., head.

    Each stage has twice the channels of the one before.
    """

    variant: ResNetVariant = ResNetVariant(block="basic")

    def run(self, name: str, x: jax.Array, batch: TrainBatch | None) -> jax.Array:
        """Run one part of `stages`."""
        norm = self.batch_norm(self.variant.epsilon)
        if name == "stem":
            return self.stem(x, norm, batch)
        if name == "head":
            return self.classify(x, batch)
        depth = self.body.index(name)
        before, dilation = self.dilation(depth - 1), self.dilation(depth)

        def fields(i: int, mode: BlockMode) -> dict[str, Any]:
            return {
                "features": self.width * 2**depth,
                "stride": 1 if i or depth == 0 or dilation > 1 else 2,
                "variant": self.variant,
                "norm": norm,
                "mode": mode,
                "dilations": (dilation if i else before, dilation),
            }

        return self.stage(name, Block, fields)(x, batch)

    def dilation(self, depth: int) -> int:
        """Return the dilation of a stage's kernels, for a decoder."""
        stem = 4 if self.pools_stem else 1
        return dilation(self.decoder, stem * 2 ** max(depth, 0))

    @property
    def pools_stem(self) -> bool:
        """Whether the stem halves the image, and pooling halves its features."""
        return self.variant.stem != "cifar"

    def stem(self, x: jax.Array, norm: Any, batch: TrainBatch | None) -> jax.Array:
        """Run the stem, before its pooling."""
        variant = self.variant
        if variant.stem == "deep":
            stem: nn.Module = DeepStem(self.width, norm, name="stem")
        else:
            size, stride = (7, 2) if self.pools_stem else (3, 1)
            bias = variant.conv_bias
            stem = ConvNorm(self.width, size, norm, stride, bias, name="stem")
        return nn.relu(stem(x, batch))

    def pool(self, name: str, x: jax.Array) -> jax.Array:
        """Pool the stem's features in the ImageNet networks."""
        pools = name == "stem" and self.pools_stem
        return max_pool(x, 3, 2, padding=1) if pools else x

    @property
    def skips(self) -> tuple[str, ...]:
        """The parts whose features the next one halves."""
        return (*(("stem",) if self.pools_stem else ()), *self.body[:-1])

    @property
    def halvings(self) -> int:
        """How often the features are half as large as before."""
        return len(self.skips) + self.pools_stem
