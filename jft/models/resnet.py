"""ResNet v1.5 and the CIFAR ResNets, with torch's padding and normalisation.

Sources: He et al. 2016, https://arxiv.org/abs/1512.03385; torchvision's
`models/resnet.py` for the ImageNet nets; the option-A shortcut of the paper's section
4.2 as akamaster/pytorch_resnet_cifar10 computes it.
"""

from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jft.models.norm import BatchNorm

# torchvision's initial values: He normal over the outputs, and torch's default for a
# linear layer, uniform within 1 / sqrt(inputs).
conv_init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
head_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def conv(features: int, size: int, stride: int = 1, *, name: str) -> nn.Conv:
    """Return a convolution without bias that pads `size // 2` on every side.

    With stride 2 this is not "SAME", which would pad one side less.
    """
    return nn.Conv(
        features,
        (size, size),
        strides=stride,
        padding=size // 2,
        use_bias=False,
        kernel_init=conv_init,
        name=name,
    )


class ConvNorm(nn.Module):
    """A convolution and its normalisation: the stem, or a projecting shortcut."""

    features: int
    size: int
    stride: int
    norm: Any

    @nn.compact
    def __call__(self, x: jax.Array, **mode: Any) -> jax.Array:
        """Map `x` [B, H, W, C] to [B, H/stride, W/stride, features]."""
        x = conv(self.features, self.size, self.stride, name="conv")(x)
        return self.norm(name="norm")(x, **mode)


def pad_shortcut(x: jax.Array, features: int) -> jax.Array:
    """Return every second pixel, with zero channels added on both sides (option A).

    Args:
        x: Features [B, H, W, C].
        features: Channels of the result, C plus an even number.
    """
    extra = (features - x.shape[-1]) // 2
    return jnp.pad(x[:, ::2, ::2, :], ((0, 0), (0, 0), (0, 0), (extra, extra)))


class Block(nn.Module):
    """A residual block: basic (3x3, 3x3) or bottleneck (1x1, 3x3, 1x1).

    Attributes:
        features: Channels of the 3x3 convolutions; a bottleneck puts out four times
            as many.
        stride: Stride of the first 3x3 convolution.
        kind: "basic" or "bottleneck".
        small: Shortcuts without weights that pad channels.
        norm: Makes a normalisation layer, given its name.
    """

    features: int
    stride: int
    kind: Literal["basic", "bottleneck"]
    small: bool
    norm: Any

    @nn.compact
    def __call__(self, x: jax.Array, **mode: Any) -> jax.Array:
        """Map `x` [B, H, W, C] to [B, H/stride, W/stride, C']."""
        out = self.features * (4 if self.kind == "bottleneck" else 1)
        if self.kind == "basic":
            plan = [(self.features, 3, self.stride), (out, 3, 1)]
        else:
            plan = [(self.features, 1, 1), (self.features, 3, self.stride), (out, 1, 1)]
        y = x
        for i, (features, size, stride) in enumerate(plan, start=1):
            y = conv(features, size, stride, name=f"conv{i}")(y)
            y = self.norm(name=f"norm{i}")(y, **mode)
            if i < len(plan):
                y = nn.relu(y)
        if self.stride != 1 or x.shape[-1] != out:
            if self.small:
                x = pad_shortcut(x, out)
            else:
                project = ConvNorm(out, 1, self.stride, self.norm, name="shortcut")
                x = project(x, **mode)
        return nn.relu(x + y)


class Stage(nn.Module):
    """Residual blocks at one resolution; the first one may halve it."""

    blocks: int
    features: int
    stride: int
    kind: Literal["basic", "bottleneck"]
    small: bool
    norm: Any

    @nn.compact
    def __call__(self, x: jax.Array, **mode: Any) -> jax.Array:
        """Map `x` [B, H, W, C] to [B, H/stride, W/stride, C']."""
        for i in range(self.blocks):
            x = Block(
                self.features,
                self.stride if i == 0 else 1,
                self.kind,
                self.small,
                self.norm,
                name=f"block{i}",
            )(x, **mode)
        return x


class ResNet(nn.Module):
    """A ResNet whose parts are named stem, stage1, ..., head.

    Attributes:
        stage_sizes: Residual blocks per stage.
        block: "basic" or "bottleneck".
        small: The CIFAR form: 3x3 stem without pooling, shortcuts without weights.
        width: Channels of the first stage; each later stage has twice as many.
        num_classes: Outputs of the head, K.
        stored: Names of normalisation layers (`stage1/block0/norm1`) that use their
            stored statistics in training too, and leave them as they are.
        axis_name: Mapped axis over which batch statistics are shared.
    """

    stage_sizes: tuple[int, ...]
    block: Literal["basic", "bottleneck"]
    small: bool
    width: int
    num_classes: int
    stored: frozenset[str] = frozenset()
    axis_name: str | None = None

    @property
    def stages(self) -> tuple[str, ...]:
        """The parts in depth order: stem, stage1, ..., head."""
        numbers = range(1, len(self.stage_sizes) + 1)
        return ("stem", *(f"stage{i}" for i in numbers), "head")

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        *,
        train: bool = False,
        weight: jax.Array | None = None,
        start: str = "stem",
        stop: str = "head",
    ) -> jax.Array:
        """Return logits, or the features between two stages.

        Args:
            x: Normalised images [B, H, W, 3] float32, or, with `start`, the features
                that the stage before `start` put out.
            train: Normalise by the batch where a layer is not in `stored`.
            weight: [B] float32, 0 for padding, which batch statistics then leave out.
            start: First part to run, one of `stages`.
            stop: Last part to run, one of `stages`.

        Returns:
            Logits [B, K] float32, or the features [B, H', W', C'] after `stop`.
        """
        first, last = self.stages.index(start), self.stages.index(stop)
        for name in self.stages[first : last + 1]:
            x = self.run(name, x, train=train, weight=weight)
        return x

    def run(self, name: str, x: jax.Array, **mode: Any) -> jax.Array:
        """Run one part of `stages`."""
        norm = partial(BatchNorm, stored=self.stored, axis_name=self.axis_name)
        if name == "stem":
            return self.stem(x, norm, **mode)
        if name == "head":
            x = jnp.mean(x, axis=(1, 2))
            return nn.Dense(self.num_classes, kernel_init=head_init, name="head")(x)
        depth = self.stages.index(name) - 1
        stage = Stage(
            self.stage_sizes[depth],
            self.width * 2**depth,
            1 if depth == 0 else 2,
            self.block,
            self.small,
            norm,
            name=name,
        )
        return stage(x, **mode)

    def stem(self, x: jax.Array, norm: Any, **mode: Any) -> jax.Array:
        """Run the stem, with its pooling in the ImageNet form."""
        size, stride = (3, 1) if self.small else (7, 2)
        x = nn.relu(ConvNorm(self.width, size, stride, norm, name="stem")(x, **mode))
        if self.small:
            return x
        pad: Any = ((1, 1), (1, 1))  # flax annotates only the named paddings
        return nn.max_pool(x, (3, 3), strides=(2, 2), padding=pad)
