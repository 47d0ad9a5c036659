"""VGG with and without batch normalisation, and its classifier of three layers.

Sources: Simonyan and Zisserman 2014, https://arxiv.org/abs/1409.1556; torchvision's
`models/vgg.py`; Keras's `applications/vgg16.py`.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from jft.models.layers import Conv, dense, drop, max_pool, resample
from jft.models.network import Network
from jft.models.training import TrainBatch
from jft.models.variants import GRID, VGGVariant


def adaptive_pool(x: jax.Array, size: int) -> jax.Array:
    """Return means over `size` x `size` areas, as `torch.nn.AdaptiveAvgPool2d`.

    Area i of n pixels spans floor(i n / size) to ceil((i + 1) n / size): neighbours
    may overlap, and repeat pixels where there are fewer than `size`. `x` is
    [B, H, W, C].
    """
    if x.shape[1:3] == (size, size):
        return x

    def means(n: int) -> np.ndarray:
        rows = np.zeros((size, n))
        for i in range(size):
            area = slice(i * n // size, math.ceil((i + 1) * n / size))
            rows[i, area] = 1 / (area.stop - area.start)
        return rows

    return resample(x, means(x.shape[1]), means(x.shape[2]))


class Layer(nn.Module):
    """A 3x3 convolution with a bias, normalised if asked, rectified."""

    features: int
    norm: Any

    @nn.compact
    def __call__(self, x: jax.Array, batch: TrainBatch | None) -> jax.Array:
        """Map `x` [B, H, W, C] to [B, H, W, features]."""
        x = Conv(self.features, 3, use_bias=True, name="conv")(x)
        return nn.relu(self.norm(name="norm")(x, batch) if self.norm else x)


class Hidden(nn.Module):
    """The classifier's two hidden layers, over a grid of 7x7 features.

    Attributes:
        features: Channels of each.
        dropout: Fraction of the first one's features that is dropped; the head drops
            the second one's.
        number: What dropout draws with, unlike any other layer's.
    """

    features: int
    dropout: float
    number: int

    @nn.compact
    def __call__(self, x: jax.Array, batch: TrainBatch | None) -> jax.Array:
        """Map `x` [B, H, W, C] to [B, features]."""
        x = adaptive_pool(x, GRID).reshape(len(x), -1)
        x = nn.relu(dense(x, self.features, "fc1"))
        x = drop(x, self.dropout, batch, self.number)
        return nn.relu(dense(x, self.features, "fc2"))


class VGG(Network):
    """A VGG whose parts are named stage1, ..., stage5, pre_logits, head.

    Each stage has twice the channels of the one before, up to eight times the first's.
    """

    variant: VGGVariant = VGGVariant()

    def run(self, name: str, x: jax.Array, batch: TrainBatch | None) -> jax.Array:
        """Run one part of `stages`."""
        if name == "pre_logits":
            # The head draws with the number of convolutions, this with the next.
            number = sum(self.stage_sizes) + 1
            hidden = Hidden(self.variant.hidden, self.mode.dropout, number, name=name)
            return hidden(x, batch)
        if name == "head":
            return self.classify(x, batch)
        fields = {
            "features": self.width * min(2 ** self.body.index(name), 8),
            "norm": self.batch_norm() if self.variant.batch_norm else None,
        }
        return self.stage(name, Layer, lambda i, mode: fields)(x, batch)

    def pool(self, name: str, x: jax.Array) -> jax.Array:
        """Halve the features of a stage."""
        return max_pool(x, 2, 2) if name in self.skips else x

    @property
    def skips(self) -> tuple[str, ...]:
        """The parts whose features are halved."""
        return self.body

    @property
    def halvings(self) -> int:
        """How often the features are half as large as before."""
        return len(self.skips)
