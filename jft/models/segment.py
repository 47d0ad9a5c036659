"""Decoders, which give every pixel a class: FCN, DeepLabV3 and U-Net.

Sources: torchvision's `models/segmentation` for FCN (Long et al. 2015,
https://arxiv.org/abs/1411.4038) and DeepLabV3 (Chen et al. 2017,
https://arxiv.org/abs/1706.05587); Ronneberger et al. 2015,
https://arxiv.org/abs/1505.04597, in the form of segmentation_models_pytorch's
`decoders/unet`, for U-Net.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jft.models.layers import (
    Conv,
    ConvNorm,
    dense,
    drop,
    rematerialised,
    resample,
)
from jft.models.training import BlockMode, TrainBatch
from jft.preprocess import bilinear

ATROUS_RATES = (12, 24, 36)
"""Dilation of the kernels in DeepLab's second to fourth branch."""
DILATED = ("fcn", "deeplabv3")
"""The decoders for which a ResNet keeps its features at an eighth of the image."""


def dilation(decoder: str, reduction: int) -> int:
    """Return the dilation of kernels over features of 1/`reduction` of the image.

    For FCN and DeepLab, features of an eighth of the image's side are not halved again:
    each stride beyond that becomes 1, and doubles the dilation of all later kernels.
    """
    return max(1, reduction // 8) if decoder in DILATED else 1


def resize(x: jax.Array, size: tuple[int, ...]) -> jax.Array:
    """Enlarge `x` [B, h, w, C] float32 to a height and width, bilinearly.

    As `torch.nn.functional.interpolate` with `align_corners=False`: pixels are areas,
    and those at the border continue beyond it.
    """

    def weights(here: int, there: int) -> np.ndarray:
        centres = (np.arange(there) + 0.5) * here / there - 0.5
        return bilinear(centres[None], np.arange(here)[:, None], here, 1.0).T

    return resample(x, weights(x.shape[1], size[0]), weights(x.shape[2], size[1]))


def double(x: jax.Array, size: tuple[int, ...]) -> jax.Array:
    """Repeat each pixel of `x` [B, h, w, C] over the 2x2 that it was halved from.

    Args:
        x: The features.
        size: Height and width before halving, 2h or 2h ± 1. From an odd size a
            convolution made its last pixel of one row, and pooling made none of it:
            there the last pixel is repeated once more.
    """
    batch, height, width, channels = x.shape
    x = jnp.broadcast_to(
        x[:, :, None, :, None], (batch, height, 2, width, 2, channels)
    ).reshape(batch, 2 * height, 2 * width, channels)[:, : size[0], : size[1]]
    missing = ((0, size[0] - x.shape[1]), (0, size[1] - x.shape[2]))
    return jnp.pad(x, ((0, 0), *missing, (0, 0)), mode="edge")


class Pyramid(NamedTuple):
    """The features of an image that a decoder has.

    Attributes:
        last: Those of the stage before the head, [B, h, w, C].
        skips: The last ones of each larger size, largest first.
        size: Height H and width W of the image.
    """

    last: jax.Array
    skips: Sequence[jax.Array]
    size: tuple[int, ...]


class Decoder(nn.Module):
    """The head of a network that gives every pixel a class.

    Only the last layer, `classifier`, depends on the number of classes.

    Attributes:
        num_classes: Outputs, K.
        width: Channels of the network's first stage.
        halvings: How often the network has halved the image.
        norm: Makes a normalisation layer, given its name.
        mode: How it runs in training.
        dropout: Fraction of the features that is dropped once.
        number: Folded into dropout's keys, different from any other layer's.
    """

    num_classes: int
    width: int
    halvings: int
    norm: Any
    mode: BlockMode
    dropout: float
    number: int

    @nn.compact
    def __call__(self, seen: Pyramid, batch: TrainBatch | None) -> jax.Array:
        """Return logits [B, H, W, K] float32; `batch` is None in evaluation."""
        x, size = self.features(seen, batch), seen.size
        logits = dense(x, self.num_classes, "classifier").astype(jnp.float32)
        return logits if logits.shape[1:3] == size else resize(logits, size)

    def features(self, seen: Pyramid, batch: TrainBatch | None) -> jax.Array:
        """Return the features to classify; smaller logits are enlarged."""
        raise NotImplementedError

    def drop(self, x: jax.Array, batch: TrainBatch | None) -> jax.Array:
        """Drop a fraction of the features in training."""
        return drop(x, self.dropout, batch, self.number)


class FCN(Decoder):
    """torchvision's: one 3x3 convolution, then the classifier.

    torchvision drops a tenth before the classifier, where `dropout` does here.
    """

    def features(self, seen: Pyramid, batch: TrainBatch | None) -> jax.Array:
        """Return features of the size of `x`."""
        x = seen.last
        x = Conv(max(x.shape[-1] // 4, 1), 3, name="conv")(x)
        return self.drop(nn.relu(self.norm(name="norm")(x, batch)), batch)


class DeepLabV3(Decoder):
    """torchvision's: parallel branches of growing dilation, and the image's mean.

    Their channels are 256 for networks of the usual width, 64. torchvision drops half
    of what the branches are projected to, where `dropout` does here.
    """

    def features(self, seen: Pyramid, batch: TrainBatch | None) -> jax.Array:
        """Return features of the size of `x`."""
        x, channels = seen.last, 4 * self.width

        def branch(x: jax.Array, name: str, dilation: int | None = None) -> jax.Array:
            side = 1 if dilation is None else 3
            spread = dilation or 1
            layer = ConvNorm(channels, side, self.norm, dilation=spread, name=name)
            return nn.relu(layer(x, batch))

        branches = [branch(x, "aspp1")]
        for i, rate in enumerate(ATROUS_RATES, start=2):
            branches.append(branch(x, f"aspp{i}", rate))
        mean = jnp.mean(x, axis=(1, 2), keepdims=True)
        mean = branch(mean, "pooled")
        branches.append(jnp.broadcast_to(mean, branches[0].shape))
        x = branch(jnp.concatenate(branches, axis=-1), "project")
        x = Conv(channels, 3, name="conv")(self.drop(x, batch))
        return nn.relu(self.norm(name="norm")(x, batch))


class Up(nn.Module):
    """Two 3x3 convolutions, each normalised and rectified."""

    features: int
    norm: Any

    @nn.compact
    def __call__(self, x: jax.Array, batch: TrainBatch | None) -> jax.Array:
        """Map `x` [B, H, W, C] to [B, H, W, features]."""
        for i in (1, 2):
            x = Conv(self.features, 3, name=f"conv{i}")(x)
            x = nn.relu(self.norm(name=f"norm{i}")(x, batch))
        return x


class UNet(Decoder):
    """Upsampling blocks, each of which also takes the features of its size.

    Each block (`up1`, `up2`, ...) doubles the size and halves the channels, from those
    of the last stage's blocks: 256 to 16 for networks of width 64, as in
    segmentation_models_pytorch. Where the first part halves the image itself, the last
    block has no features of its size. `dropout` acts before the classifier.
    """

    def features(self, seen: Pyramid, batch: TrainBatch | None) -> jax.Array:
        """Return features of the size of the image."""
        x, skips, size = seen
        deepest = min(x.shape[-1], 8 * self.width)
        for i in range(1, self.halvings + 1):
            skip = skips[-i] if i <= len(skips) else None
            x = double(x, size if skip is None else skip.shape[1:3])
            if skip is not None:
                x = jnp.concatenate([x, skip], axis=-1)
            block = rematerialised(Up, self.mode, batch)
            x = block(max(deepest // 2**i, 1), self.norm, name=f"up{i}")(x, batch)
        return self.drop(x, batch)


DECODERS: Mapping[str, type[Decoder]] = {
    "fcn": FCN,
    "deeplabv3": DeepLabV3,
    "unet": UNet,
}
