"""The table of networks."""

from dataclasses import replace
from typing import Any, cast

from jft.config import ModelConfig
from jft.errors import InputError, unknown
from jft.models.own import PREFIX, OwnModel
from jft.models.spec import ModelSpec
from jft.models.variants import (
    Decoder,
    ResNetV2Variant,
    ResNetVariant,
    Variant,
    VGGVariant,
)
from jft.preprocess import CAFFE, INCEPTION, Preprocess

CIFAR_PREPROCESS = Preprocess(size=32, crop_fraction=1.0)
_VOC_CLASSES = 21
# Their images keep their shape in torchvision; here the middle square of them is seen.
_SEGMENTATION = Preprocess(size=520, crop_fraction=1.0)
_BIT = replace(INCEPTION, size=448, crop_fraction=1.0)

_BASIC = ResNetVariant(block="basic")
_BOTTLENECK = ResNetVariant(block="bottleneck")
_BASIC_D = replace(_BASIC, stem="deep", shortcut="pool")
_BOTTLENECK_D = replace(_BOTTLENECK, stem="deep", shortcut="pool")
_CIFAR = replace(_BASIC, stem="cifar", shortcut="pad")
_WIDE = replace(_BOTTLENECK, group_width=128)
_KERAS = replace(_BOTTLENECK, stride_first=True, conv_bias=True, epsilon=1.001e-5)
_KERAS_V2 = ResNetV2Variant(standardised=False, stride_last=True, epsilon=1.001e-5)


def _resnext(groups: int, group_width: int) -> Variant:
    return replace(_BOTTLENECK, groups=groups, group_width=group_width)


# Blocks per stage by depth: He et al. 2016, table 1; timm for 26 and 200.
_18, _50 = (2, 2, 2, 2), (3, 4, 6, 3)
_101, _152, _200 = (3, 4, 23, 3), (3, 8, 36, 3), (3, 24, 36, 3)

# Name: blocks per stage, variant, parameters with 1000 classes. One line a network.
_RESNETS: dict[str, tuple[tuple[int, ...], Variant, int]] = {
    "resnet18": (_18, _BASIC, 11_689_512),
    "resnet34": (_50, _BASIC, 21_797_672),
    "resnet50": (_50, _BOTTLENECK, 25_557_032),
    "resnet101": (_101, _BOTTLENECK, 44_549_160),
    "resnet152": (_152, _BOTTLENECK, 60_192_808),
    "wide_resnet50_2": (_50, _WIDE, 68_883_240),
    "wide_resnet101_2": (_101, _WIDE, 126_886_696),
    "resnext50_32x4d": (_50, _resnext(32, 4), 25_028_904),
    "resnext101_32x8d": (_101, _resnext(32, 8), 88_791_336),
    "resnext101_64x4d": (_101, _resnext(64, 4), 83_455_272),
    "resnet18d": (_18, _BASIC_D, 11_708_744),
    "resnet26d": (_18, _BOTTLENECK_D, 16_014_408),
    "resnet34d": (_50, _BASIC_D, 21_816_904),
    "resnet50d": (_50, _BOTTLENECK_D, 25_576_264),
    "resnet101d": (_101, _BOTTLENECK_D, 44_568_392),
    "resnet152d": (_152, _BOTTLENECK_D, 60_212_040),
    "resnet200d": (_200, _BOTTLENECK_D, 64_693_064),
}
_KERAS_RESNETS: dict[str, tuple[tuple[int, ...], Variant, int]] = {
    "keras_resnet50": (_50, _KERAS, 25_583_592),
    "keras_resnet101": (_101, _KERAS, 44_601_832),
    "keras_resnet152": (_152, _KERAS, 60_268_520),
    "keras_resnet50v2": (_50, _KERAS_V2, 25_568_360),
    "keras_resnet101v2": (_101, _KERAS_V2, 44_577_896),
    "keras_resnet152v2": (_152, _KERAS_V2, 60_236_904),
}
# Kolesnikov et al. 2019, https://arxiv.org/abs/1912.11370; the factor is the width's.
_BIT_RESNETS = {
    "resnetv2_50x1_bit": (_50, 1, 25_549_352),
    "resnetv2_50x3_bit": (_50, 3, 217_319_080),
    "resnetv2_101x1_bit": (_101, 1, 44_541_480),
    "resnetv2_101x3_bit": (_101, 3, 387_934_888),
    "resnetv2_152x2_bit": (_152, 2, 236_335_208),
    "resnetv2_152x4_bit": (_152, 4, 936_533_224),
}
_CIFAR_RESNETS = {
    "resnet20": (3, 269_722),
    "resnet32": (5, 464_154),
    "resnet44": (7, 658_586),
    "resnet56": (9, 853_018),
    "resnet110": (18, 1_727_962),
}
# Simonyan and Zisserman 2014, https://arxiv.org/abs/1409.1556, table 1: A, B, D, E.
_VGGS = {
    "vgg11": ((1, 1, 2, 2, 2), False, 132_863_336),
    "vgg13": ((2, 2, 2, 2, 2), False, 133_047_848),
    "vgg16": ((2, 2, 3, 3, 3), False, 138_357_544),
    "vgg19": ((2, 2, 4, 4, 4), False, 143_667_240),
    "vgg11_bn": ((1, 1, 2, 2, 2), True, 132_868_840),
    "vgg13_bn": ((2, 2, 2, 2, 2), True, 133_053_736),
    "vgg16_bn": ((2, 2, 3, 3, 3), True, 138_365_992),
    "vgg19_bn": ((2, 2, 4, 4, 4), True, 143_678_248),
}
# torchvision's, with the classes of VOC; without what trains them only.
_DECODERS: dict[str, tuple[tuple[int, ...], Decoder, int]] = {
    "fcn_resnet50": (_50, "fcn", 32_957_013),
    "fcn_resnet101": (_101, "fcn", 51_949_141),
    "deeplabv3_resnet50": (_50, "deeplabv3", 39_638_869),
    "deeplabv3_resnet101": (_101, "deeplabv3", 58_630_997),
}


MODELS: dict[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        *(ModelSpec(n, *row, Preprocess()) for n, row in _RESNETS.items()),
        *(
            ModelSpec(n, (blocks,) * 3, _CIFAR, count, CIFAR_PREPROCESS, 16, 10)
            for n, (blocks, count) in _CIFAR_RESNETS.items()
        ),
        *(
            ModelSpec(n, sizes, VGGVariant(batch_norm=norm), count, Preprocess())
            for n, (sizes, norm, count) in _VGGS.items()
        ),
        *(
            ModelSpec(n, sizes, ResNetV2Variant(), count, _BIT, 64 * factor)
            for n, (sizes, factor, count) in _BIT_RESNETS.items()
        ),
        *(
            ModelSpec(n, *row, INCEPTION if row[1].pre_activation else CAFFE)
            for n, row in _KERAS_RESNETS.items()
        ),
        *(
            ModelSpec(
                *(n, sizes, _BOTTLENECK, count, _SEGMENTATION),
                num_classes=_VOC_CLASSES,
                decoder=decoder,
            )
            for n, (sizes, decoder, count) in _DECODERS.items()
        ),
    )
}


def configured(model: ModelConfig) -> ModelSpec:
    """Return the network that a configuration asks for."""
    return get_model(model.name).adapted(
        width=model.width,
        pooled_head=model.pooled_head,
        decoder=None if model.decoder == "auto" else model.decoder,
    )


def config_of(spec: ModelSpec | OwnModel) -> ModelConfig:
    """Return how a configuration names a network: the inverse of `configured`."""
    if isinstance(spec, OwnModel):
        return ModelConfig(name=spec.config_name)
    usual = get_model(spec.name)
    return ModelConfig(
        name=spec.name,
        width=None if spec.width == usual.width else spec.width,
        pooled_head=spec.variant.family == "vgg" and not spec.variant.hidden,
        decoder="auto" if spec.decoder == usual.decoder else spec.decoder,
    )


def get_model(name: str | None) -> ModelSpec:
    """Return the network of that name."""
    if name is None:
        raise InputError(
            "the weights do not name their network: give --model.name (in Python: name)"
        )
    if not isinstance(cast(Any, name), str):
        raise InputError(f"the name of a network must be text, got {name!r:.80}")
    if name.startswith(PREFIX):
        raise InputError(
            f"the network {name.removeprefix(PREFIX)} is a Flax module from Python, "
            "which no file holds: give it again, as jft.fit(config, model=...) or "
            "jft.Run(path, model=...)"
        )
    if name not in MODELS:
        raise unknown("model", name, MODELS)
    return MODELS[name]
