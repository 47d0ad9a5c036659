"""VGG with and without batch normalisation, and its classifier of three layers.

Sources: Simonyan and Zisserman 2014, https://arxiv.org/abs/1409.1556; torchvision's
`models/vgg.py`; Keras's `applications/vgg16.py`.
"""

import math
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jft.models.network import Network, conv_init, dense_init, max_pool
from jft.models.norm import BatchNorm
from jft.models.variants import GRID, VGGVariant


def adaptive_pool(x: jax.Array, size: int) -> jax.Array:
    """Return means over `size` x `size` areas, as `torch.nn.AdaptiveAvgPool2d`.

    Area i of n pixels spans floor(i n / size) to ceil((i + 1) n / size): neighbours
    may overlap, and repeat pixels where there are fewer than `size`.

    Args:
        x: Features [B, H, W, C].
        size: Side of the result.
    """

    def means(n: int) -> jax.Array:
        rows = np.zeros((size, n), np.float32)
        for i in range(size):
            area = slice(i * n // size, math.ceil((i + 1) * n / size))
            rows[i, area] = 1 / (area.stop - area.start)
        return jnp.asarray(rows, x.dtype)

    if x.shape[1:3] == (size, size):
        return x
    height, width = means(x.shape[1]), means(x.shape[2])
    # The highest precision: these are sums that a mean would do exactly.
    return jnp.einsum("ih,jw,bhwc->bijc", height, width, x, precision="highest")


class Layer(nn.Module):
    """A 3x3 convolution with a bias, normalised if asked, rectified."""

    features: int
    norm: Any

    @nn.compact
    def __call__(self, x: jax.Array, **mode: Any) -> jax.Array:
        """Map `x` [B, H, W, C] to [B, H, W, features]."""
        conv = nn.Conv(
            self.features, (3, 3), padding=1, kernel_init=conv_init, name="conv"
        )
        x = conv(x)
        return nn.relu(self.norm(name="norm")(x, **mode) if self.norm else x)


class Stage(nn.Module):
    """Convolutions at one resolution, which is then halved."""

    layers: int
    features: int
    norm: Any

    @nn.compact
    def __call__(self, x: jax.Array, **mode: Any) -> jax.Array:
        """Map `x` [B, H, W, C] to [B, H // 2, W // 2, features]."""
        for i in range(self.layers):
            x = Layer(self.features, self.norm, name=f"layer{i}")(x, **mode)
        return max_pool(x, 2, 2)


class Hidden(nn.Module):
    """The classifier's two hidden layers, over a grid of 7x7 features."""

    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `x` [B, H, W, C] to [B, features]."""
        x = adaptive_pool(x, GRID).reshape(len(x), -1)
        for name in ("fc1", "fc2"):
            x = nn.relu(nn.Dense(self.features, kernel_init=dense_init, name=name)(x))
        return x


class VGG(Network):
    """A VGG whose parts are named stage1, ..., stage5, pre_logits, head.

    Each stage has twice the channels of the one before, up to eight times the first's.
    Dropout is left out: published weights go through it unchanged.

    Attributes:
        variant: Which of the family.
    """

    variant: VGGVariant = VGGVariant()

    @property
    def stages(self) -> tuple[str, ...]:
        """The parts in depth order: stage1, ..., pre_logits, head."""
        numbers = range(1, len(self.stage_sizes) + 1)
        inner = ("pre_logits",) if self.variant.hidden else ()
        return (*(f"stage{i}" for i in numbers), *inner, "head")

    def run(self, name: str, x: jax.Array, **mode: Any) -> jax.Array:
        """Run one part of `stages`."""
        if name == "pre_logits":
            return Hidden(self.variant.hidden, name=name)(x)
        if name == "head":
            return self.classify(x if x.ndim == 2 else jnp.mean(x, axis=(1, 2)))
        depth = self.stages.index(name)
        norm = partial(BatchNorm, stored=self.stored, axis_name=self.axis_name)
        stage = Stage(
            self.stage_sizes[depth],
            self.width * min(2**depth, 8),
            norm if self.variant.batch_norm else None,
            name=name,
        )
        return stage(x, **mode)
