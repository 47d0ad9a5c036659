"""The names of our variables in the checkpoints of other libraries, family by family.

One table, `layouts`, is used in both directions: loading asks for the tensor that
belongs to each of our variables, export writes it under that name.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from jft.models import ModelSpec
from jft.models.variants import (
    GRID,
    ResNetVariant,
)
from jft.weights.layout import Layout

# Tensors in torch checkpoints that no network of ours has a use for: counters, and the
# second head that torchvision trains its segmentation networks with.
IGNORED = re.compile(r"(.*\.)?num_batches_tracked|aux_classifier\..*")

_KERAS = {
    "kernel": "kernel",
    "bias": "bias",
    "scale": "gamma",
    "norm bias": "beta",
    "mean": "moving_mean",
    "var": "moving_variance",
}
_KERAS_3 = {"kernel": "0", "scale": "0", "bias": "1", "mean": "2", "var": "3"}

NATIVE = Layout(
    names=("safetensors",), modules={}, leaves={}, separator="/", torch=False
)

_RESNET_BODY = {
    "conv#": "layer{stage}.{block}.conv{n}",
    "norm#": "layer{stage}.{block}.bn{n}",
}
_TORCHVISION_RESNET = {
    "stem/conv": "conv1",
    "stem/norm": "bn1",
    **_RESNET_BODY,
    "shortcut/conv": "layer{stage}.{block}.downsample.0",
    "shortcut/norm": "layer{stage}.{block}.downsample.1",
    "head": "fc",
}
# Convolutions 0, 3, 6 and normalisations 1, 4 of a Sequential; the last one is bn1.
_TIMM_RESNET_D = {
    "stem/conv1": "conv1.0",
    "stem/norm1": "conv1.1",
    "stem/conv2": "conv1.3",
    "stem/norm2": "conv1.4",
    "stem/conv3": "conv1.6",
    "stem/norm3": "bn1",
    **_RESNET_BODY,
    "shortcut/conv": "layer{stage}.{block}.downsample.1",
    "shortcut/norm": "layer{stage}.{block}.downsample.2",
    "head": "fc",
}
_TRANSFORMERS_LAYER = "resnet.encoder.stages.{stage0}.layers.{block}."
_TRANSFORMERS_RESNET = {
    "stem/conv": "resnet.embedder.embedder.convolution",
    "stem/norm": "resnet.embedder.embedder.normalization",
    "conv#": _TRANSFORMERS_LAYER + "layer.{n0}.convolution",
    "norm#": _TRANSFORMERS_LAYER + "layer.{n0}.normalization",
    "shortcut/conv": _TRANSFORMERS_LAYER + "shortcut.convolution",
    "shortcut/norm": _TRANSFORMERS_LAYER + "shortcut.normalization",
    "head": "classifier.1",
}
# Keras reads its files by the order of its layers, which is that of the lines here.
_KERAS_BLOCK = "conv{stage1}_block{block1}_"
_KERAS_RESNET = {
    "stem/conv": "conv1_conv",
    "stem/norm": "conv1_bn",
    "conv1": _KERAS_BLOCK + "1_conv",
    "norm1": _KERAS_BLOCK + "1_bn",
    "conv2": _KERAS_BLOCK + "2_conv",
    "norm2": _KERAS_BLOCK + "2_bn",
    "shortcut/conv": _KERAS_BLOCK + "0_conv",
    "conv3": _KERAS_BLOCK + "3_conv",
    "shortcut/norm": _KERAS_BLOCK + "0_bn",
    "norm3": _KERAS_BLOCK + "3_bn",
    "head": "predictions",
}
# Normalisation comes first: our norm2 follows their convolution 1.
_KERAS_RESNET_V2 = {
    "stem": "conv1_conv",
    "norm1": _KERAS_BLOCK + "preact_bn",
    "conv1": _KERAS_BLOCK + "1_conv",
    "norm2": _KERAS_BLOCK + "1_bn",
    "conv2": _KERAS_BLOCK + "2_conv",
    "norm3": _KERAS_BLOCK + "2_bn",
    "shortcut": _KERAS_BLOCK + "0_conv",
    "conv3": _KERAS_BLOCK + "3_conv",
    "norm": "post_bn",
    "head": "predictions",
}
_BIT_UNIT = "resnet/block{stage}/unit{block1:02d}/"
_BIT = {
    "stem": "resnet/root_block/standardized_conv2d",
    "norm#": _BIT_UNIT + "{letter}/group_norm",
    "conv#": _BIT_UNIT + "{letter}/standardized_conv2d",
    "shortcut": _BIT_UNIT + "a/proj/standardized_conv2d",
    "norm": "resnet/group_norm",
    "head": "resnet/head/conv2d",
}
_TIMM_BIT = {
    "stem": "stem.conv",
    "norm#": "stages.{stage0}.blocks.{block}.norm{n}",
    "conv#": "stages.{stage0}.blocks.{block}.conv{n}",
    "shortcut": "stages.{stage0}.blocks.{block}.downsample.conv",
    "norm": "norm",
    "head": "head.fc",
}
_TORCHVISION_VGG = {
    "conv": "features.{features}",
    "norm": "features.{features1}",
    "pre_logits/fc1": "classifier.0",
    "pre_logits/fc2": "classifier.3",
    "head": "classifier.6",
}
_TIMM_VGG = {
    **_TORCHVISION_VGG,
    "pre_logits/fc1": "pre_logits.fc1",
    "pre_logits/fc2": "pre_logits.fc2",
    "head": "head.fc",
}
_KERAS_VGG = {
    "conv": "block{stage}_conv{block1}",
    "pre_logits/fc1": "fc1",
    "pre_logits/fc2": "fc2",
    "head": "predictions",
}
_FCN = {
    "head/conv": "classifier.0",
    "head/norm": "classifier.1",
    "head/classifier": "classifier.4",
}
_ASPP = "classifier.0.convs."
_DEEPLAB = {
    "head/aspp#/conv": _ASPP + "{n0}.0",
    "head/aspp#/norm": _ASPP + "{n0}.1",
    "head/pooled/conv": _ASPP + "4.1",
    "head/pooled/norm": _ASPP + "4.2",
    "head/project/conv": "classifier.0.project.0",
    "head/project/norm": "classifier.0.project.1",
    "head/conv": "classifier.1",
    "head/norm": "classifier.2",
    "head/classifier": "classifier.4",
}


def _keras(modules: Mapping[str, str]) -> tuple[Layout, Layout]:
    """Return the layouts of `.h5` and of Keras 3's `.weights.h5` and `.keras`."""
    old = Layout(
        names=("keras",),
        modules=modules,
        leaves=_KERAS,
        separator="/",
        torch=False,
        ordered=True,
    )
    return old, replace(old, names=("keras3",), leaves=_KERAS_3)


def head_names(spec: ModelSpec) -> tuple[str, str]:
    """Return our names of the variables that depend on the number of classes."""
    last = "head" if spec.decoder == "none" else "head/classifier"
    return f"params/{last}/kernel", f"params/{last}/bias"


def layouts(spec: ModelSpec) -> tuple[Layout, ...]:
    """Return the layouts in which a network's weights are published, ours first."""
    if spec.decoder != "none":
        return NATIVE, *_segmentation(spec)
    variant = spec.variant
    if variant.family == "vgg":
        torchvision = Layout(
            names=("torchvision",),
            modules=_TORCHVISION_VGG,
            flattened=("pre_logits/fc1",),
        )
        convs = {"pre_logits/fc1": GRID, "pre_logits/fc2": 1}
        timm = Layout(names=("timm",), modules=_TIMM_VGG, convs=convs)
        keras = () if variant.batch_norm else _keras(_KERAS_VGG)
        return NATIVE, torchvision, timm, *keras
    if variant.family == "resnetv2":
        if not variant.standardised:
            return NATIVE, *_keras(_KERAS_RESNET_V2)
        timm = Layout(names=("timm",), modules=_TIMM_BIT, convs={"head": 1})
        bit = Layout(
            names=("bit",),
            modules=_BIT,
            leaves=_KERAS,
            separator="/",
            torch=False,
            convs={"head": 1},
        )
        return NATIVE, bit, timm
    if variant.stride_first:
        return NATIVE, *_keras(_KERAS_RESNET)
    if variant.stem == "deep":
        return NATIVE, Layout(names=("timm",), modules=_TIMM_RESNET_D)
    torchvision = Layout(names=("torchvision", "timm"), modules=_TORCHVISION_RESNET)
    if variant.stem == "cifar":
        akamaster = {**_TORCHVISION_RESNET, "head": "linear"}
        named_alike = replace(torchvision, names=("torchvision",))
        return NATIVE, Layout(names=("akamaster",), modules=akamaster), named_alike
    transformers = Layout(names=("transformers",), modules=_TRANSFORMERS_RESNET)
    plain = variant.groups == 1 and variant.group_width == 64
    return NATIVE, torchvision, *((transformers,) if plain else ())


def _segmentation(spec: ModelSpec) -> tuple[Layout, ...]:
    """Return the layout of torchvision's segmentation networks, where it has them."""
    variant, heads = spec.variant, {"fcn": _FCN, "deeplabv3": _DEEPLAB}
    usual = variant.family == "resnet" and replace(
        variant, groups=1, group_width=64
    ) == ResNetVariant(block="bottleneck")
    if not usual or spec.decoder not in heads:
        return ()
    body = {ours: f"backbone.{there}" for ours, there in _TORCHVISION_RESNET.items()}
    del body["head"]
    modules = body | heads[spec.decoder]
    convs = {"head/classifier": 1}
    return (Layout(names=("torchvision",), modules=modules, convs=convs),)


def readable_layouts(spec: ModelSpec) -> tuple[Layout, ...]:
    """Return the layouts that weights may be in: a decoder's backbone has its own.

    fastai and lightly make a Sequential of a torchvision network's children, so that
    they are counted: `4.0.conv1` is `layer1.0.conv1`.
    """
    backbone = layouts(replace(spec, decoder="none"))
    named = [found for found in backbone if "bn1" in found.modules.values()]
    counted = (replace(found, modules=_counted(found.modules)) for found in named)
    own = layouts(spec) if spec.decoder != "none" else ()
    return *own, *backbone, *counted


def _counted(modules: Mapping[str, str]) -> dict[str, str]:
    """Return modules by the position of a network's child."""
    numbers = {"conv1": "0", "bn1": "1", "layer{stage}": "{child}", "fc": "9"}
    parts = {ours: there.partition(".") for ours, there in modules.items()}
    return {
        ours: numbers[child] + dot + rest
        for ours, (child, dot, rest) in parts.items()
        if child in numbers
    }


def layout_of(tensors: Iterable[str], ours: Iterable[str], spec: ModelSpec) -> Layout:
    """Return the layout in which most of our variables are in a checkpoint.

    For a network with a decoder it may be one of the backbone alone, in which what is
    in the decoder has our names, and so is not there.
    """
    there, ours = set(tensors), list(ours)
    if spec.decoder != "none":
        # By these alone some layouts of a backbone differ.
        ours += ["params/head/kernel", "params/pre_logits/fc1/kernel"]

    def hits(layout: Layout) -> int:
        return sum(layout.name(name, spec) in there for name in ours)

    return max(readable_layouts(spec), key=hits)
