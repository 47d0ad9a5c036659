"""In what the networks of one family differ, beyond the sizes of their stages."""

from dataclasses import dataclass
from typing import Literal

GRID = 7
"""Side of the features that a VGG's classifier is made for, in pixels."""


@dataclass(frozen=True, kw_only=True)
class ResNetVariant:
    """A residual network that normalises after each convolution.

    Attributes:
        block: Two 3x3 convolutions (basic) or 1x1, 3x3, 1x1 (bottleneck).
        stem: One 7x7 convolution and pooling; three 3x3 ones and pooling (deep, of
            ResNet-D); or one 3x3 convolution alone, for CIFAR.
        shortcut: Where a block changes the shape, its input goes through a 1x1
            convolution (conv); 2x2 means and then the convolution (pool, of
            ResNet-D); or every second pixel and zero channels (pad, option A).
        groups: Groups of a bottleneck's 3x3 convolution (ResNeXt's cardinality).
        group_width: Channels of each group in a first stage of 64 channels.
        stride_first: A bottleneck's stride is on its first 1x1 convolution, as in the
            paper, and not on its 3x3 one, as in torchvision's "v1.5".
        conv_bias: Convolutions have biases, before a normalisation that cancels them.
        epsilon: Added to the variances.
    """

    block: Literal["basic", "bottleneck"]
    stem: Literal["conv7", "deep", "cifar"] = "conv7"
    shortcut: Literal["conv", "pool", "pad"] = "conv"
    groups: int = 1
    group_width: int = 64
    stride_first: bool = False
    conv_bias: bool = False
    epsilon: float = 1e-5


@dataclass(frozen=True, kw_only=True)
class ResNetV2Variant:
    """A residual network that normalises before each convolution.

    Attributes:
        standardised: Convolutions standardise their kernels and normalisation is over
            32 groups of channels of each image, as in BiT; else over the batch, and
            the stem, the shortcuts and the last convolution of a block have biases.
        stride_last: A stage ends with its stride, which the next one thus begins
            after, as in Keras; else it begins with it.
        epsilon: Added to the variances of normalisation.
    """

    standardised: bool = True
    stride_last: bool = False
    epsilon: float = 1e-5


@dataclass(frozen=True, kw_only=True)
class VGGVariant:
    """Plain convolutions and a classifier.

    Attributes:
        batch_norm: Normalise after each convolution.
        hidden: Channels of the classifier's two hidden layers, `pre_logits`; 0 leaves
            them out, so that the head sees the features' means.
    """

    batch_norm: bool = False
    hidden: int = 4096


Decoder = Literal["none", "fcn", "deeplabv3", "unet"]
"""What makes a map of classes from features; none where the image has one class."""

Variant = ResNetVariant | ResNetV2Variant | VGGVariant
