"""What distinguishes the networks of one family, beyond the sizes of their stages."""

from dataclasses import dataclass
from typing import ClassVar, Literal

GRID = 7
"""Side of the features that a VGG's classifier is made for, in pixels."""

Decoder = Literal["none", "fcn", "deeplabv3", "unet"]
"""What predicts a class for every pixel; none where the image has one class."""


def body(count: int) -> tuple[str, ...]:
    """Return the names of a network's stages between its stem and its head."""
    return tuple(f"stage{i}" for i in range(1, count + 1))


class Residual:
    """What all residual networks have in common.

    Attributes:
        layer: What the layers of a stage are called.
        residual: Its stages consist of residual blocks, after a stem.
        hidden: Channels of hidden layers before the head.
    """

    layer: ClassVar[str] = "block"
    residual: ClassVar[bool] = True
    hidden: ClassVar[int] = 0

    def stages(self, count: int, decoder: Decoder) -> tuple[str, ...]:
        """Return the names of the parts in depth order, given `count` stages."""
        del decoder
        return ("stem", *body(count), "head")


@dataclass(frozen=True, kw_only=True)
class ResNetVariant(Residual):
    """A residual network that normalises after each convolution.

    Attributes:
        block: Two 3x3 convolutions (basic) or 1x1, 3x3, 1x1 (bottleneck).
        stem: One 7x7 convolution and pooling; three 3x3 ones and pooling (deep, of
            ResNet-D); or one 3x3 convolution without pooling, for CIFAR.
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

    family: ClassVar[Literal["resnet"]] = "resnet"
    pre_activation: ClassVar[bool] = False
    normalisation: ClassVar[str] = "batch"

    block: Literal["basic", "bottleneck"]
    stem: Literal["conv7", "deep", "cifar"] = "conv7"
    shortcut: Literal["conv", "pool", "pad"] = "conv"
    groups: int = 1
    group_width: int = 64
    stride_first: bool = False
    conv_bias: bool = False
    epsilon: float = 1e-5

    @property
    def width_step(self) -> int:
        """What the width must be a multiple of."""
        if self.groups > 1:
            return 64 // self.group_width
        return 2 if self.shortcut == "pad" or self.stem == "deep" else 1


@dataclass(frozen=True, kw_only=True)
class ResNetV2Variant(Residual):
    """A residual network that normalises before each convolution.

    Attributes:
        standardised: Convolutions standardise their kernels, and 32 groups of channels
            of each image are normalised, as in BiT. Otherwise the batch is normalised,
            and the stem, the shortcuts and a block's last convolution have biases.
        stride_last: The last block of a stage has its stride, as in Keras; otherwise
            the first one.
        epsilon: Added to the variances of normalisation.
    """

    family: ClassVar[Literal["resnetv2"]] = "resnetv2"
    pre_activation: ClassVar[bool] = True

    standardised: bool = True
    stride_last: bool = False
    epsilon: float = 1e-5

    @property
    def normalisation(self) -> str:
        """What is normalised: `batch`, or `group` of each image's channels."""
        return "group" if self.standardised else "batch"

    @property
    def width_step(self) -> int:
        """What the width must be a multiple of."""
        return 32 if self.standardised else 1


@dataclass(frozen=True, kw_only=True)
class VGGVariant:
    """Plain convolutions and a classifier.

    Attributes:
        batch_norm: Normalise after each convolution.
        hidden: Channels of the classifier's two hidden layers, `pre_logits`; 0 leaves
            them out, so that the head sees the features' means.
    """

    family: ClassVar[Literal["vgg"]] = "vgg"
    layer: ClassVar[str] = "layer"
    residual: ClassVar[bool] = False
    pre_activation: ClassVar[bool] = False
    width_step: ClassVar[int] = 1

    batch_norm: bool = False
    hidden: int = 4096

    @property
    def normalisation(self) -> str:
        """What is normalised: `batch` or `none`."""
        return "batch" if self.batch_norm else "none"

    def stages(self, count: int, decoder: Decoder) -> tuple[str, ...]:
        """Return the names of the parts in depth order, given `count` stages."""
        hidden = ("pre_logits",) if self.hidden and decoder == "none" else ()
        return (*body(count), *hidden, "head")


Variant = ResNetVariant | ResNetV2Variant | VGGVariant
