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

from jft.models.layers import Conv, drop, max_pool
from jft.models.network import Network
from jft.models.norm import GroupNorm
from jft.models.segment import dilation
from jft.models.training import BlockMode, TrainBatch
from jft.models.variants import ResNetV2Variant


class Block(nn.Module):
    """Normalise, rectify, convolve, three times: 1x1, 3x3 (with the stride), 1x1.

    Attributes:
        features: Channels of the first two convolutions, a quarter of the block's.
        stride: Of the block.
        project: Bring the input to the new shape by a 1x1 convolution.
        variant: The kind of network.
        norm: Makes a normalisation layer, given its name.
        mode: How it runs in training.
        dilation: Of the 3x3 convolution.
    """

    features: int
    stride: int
    project: bool
    variant: ResNetV2Variant
    norm: Any
    mode: BlockMode
    dilation: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, batch: TrainBatch | None) -> jax.Array:
        """Map `x` [B, H, W, C] to [B, H/stride, W/stride, 4 * features]."""
        standardised, out = self.variant.standardised, self.features * 4
        conv = partial(Conv, standardised=standardised)
        wide = partial(conv, self.features, 3, self.stride, dilation=self.dilation)
        outer = partial(conv, out, 1, use_bias=not standardised)
        y = nn.relu(self.norm(name="norm1")(x, batch))
        if self.project:
            x = outer(self.stride, name="shortcut")(y)
        else:
            x = x[:, :: self.stride, :: self.stride]
        y = conv(self.features, 1, name="conv1")(y)
        y = nn.relu(self.norm(name="norm2")(y, batch))
        y = wide(name="conv2")(y)
        y = nn.relu(self.norm(name="norm3")(y, batch))
        y = outer(name="conv3")(y)
        return x + drop(y, self.mode.drop_path, batch, self.mode.number, whole=True)


class ResNetV2(Network):
    """A pre-activation ResNet whose parts are named stem, stage1, ..., head."""

    variant: ResNetV2Variant = ResNetV2Variant()

    def run(self, name: str, x: jax.Array, batch: TrainBatch | None) -> jax.Array:
        """Run one part of `stages`."""
        variant = self.variant
        if name == "stem":
            standardised = variant.standardised
            stem = Conv(
                self.width,
                7,
                2,
                use_bias=not standardised,
                standardised=standardised,
                name="stem",
            )
            return stem(x)
        if name == "head":
            return self.classify(x, batch)
        depth = self.body.index(name)
        before, after = self.reductions[depth : depth + 2]
        dilations = dilation(self.decoder, before), dilation(self.decoder, after)
        strided = self.stage_sizes[depth] - 1 if variant.stride_last else 0
        halves = before != after and dilations[1] == 1
        norm = self.norm()

        def fields(i: int, mode: BlockMode) -> dict[str, Any]:
            return {
                "features": self.width * 2**depth,
                "stride": 2 if halves and i == strided else 1,
                "project": i == 0,
                "variant": variant,
                "norm": norm,
                "mode": mode,
                "dilation": dilations[i > strided],
            }

        last = norm if name == self.body[-1] else None
        return self.stage(name, Block, fields, last)(x, batch)

    def pool(self, name: str, x: jax.Array) -> jax.Array:
        """Pool the stem's features."""
        if name != "stem":
            return x
        # Padding with zeros: these features are not rectified, so 0 may be the maximum.
        return max_pool(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), 3, 2)

    @property
    def reductions(self) -> list[int]:
        """Side of the image divided by that of the features: the stem's, each stage's.

        This is without a decoder, for which some strides become 1.
        """
        count, found = len(self.stage_sizes), [4]
        still = count - 1 if self.variant.stride_last else 0
        for depth in range(count):
            found.append(found[-1] * (1 if depth == still else 2))
        return found

    @property
    def skips(self) -> tuple[str, ...]:
        """The parts whose features the next one halves."""
        if self.variant.stride_last:
            return ("stem", "stem/pooled", *self.body[:-2])
        return ("stem", *self.body[:-1])

    @property
    def halvings(self) -> int:
        """How often the features are half as large as before."""
        return len(self.skips) + 1

    def norm(self) -> Any:
        """Return what makes a normalisation layer, given its name."""
        if self.variant.standardised:
            return partial(GroupNorm, epsilon=self.variant.epsilon)
        return self.batch_norm(self.variant.epsilon)
