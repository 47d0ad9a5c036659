"""Other libraries' networks made shallow or narrow, from their own classes.

Of each kind of layer one network that compiles in seconds; which of ours each is says
`reference.SMALL`. `benchmarks/parity.py` compares the published sizes.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import reference
from cpu_torchvision import import_torchvision
from keras_networks import import_keras, keras_network
from real_networks import Real, torch_network


def build(name: str, dtype: str = "float32") -> Real:
    """Return the small network of another library, with the reference's weights."""
    sizes, width = reference.SMALL[name].stage_sizes, reference.SMALL[name].width
    if name.startswith("keras"):
        return keras_network(partial(keras_resnet, name, sizes), dtype)
    makers: dict[str, Callable[[], Any]] = {
        "resnext50_32x4d": lambda: resnext(sizes),
        "resnet50d": lambda: resnet_d(sizes, width),
        "vgg11_bn": lambda: vgg(sizes, width),
        "resnetv2_50x1_bit": lambda: bit(sizes, width),
        "fcn_resnet50": lambda: segmentation("fcn", sizes, width),
        "deeplabv3_resnet50": lambda: segmentation("deeplabv3", sizes, width),
    }
    return torch_network(makers[name], dtype)


def resnext(sizes: tuple[int, ...]) -> Any:
    """Return torchvision's ResNeXt of 32 groups, 4 channels wide."""
    models = import_torchvision().models.resnet
    return models.ResNet(
        models.Bottleneck,
        list(sizes),
        num_classes=reference.CLASSES,
        groups=32,
        width_per_group=4,
    )


def resnet_d(sizes: tuple[int, ...], width: int) -> Any:
    """Return timm's ResNet-D; its stem's first two convolutions are half as wide."""
    import_torchvision()
    from timm.models.resnet import Bottleneck, ResNet

    return ResNet(
        Bottleneck,
        sizes,
        num_classes=reference.CLASSES,
        stem_type="deep",
        stem_width=width // 2,
        channels=tuple(width * 2**i for i in range(len(sizes))),
        avg_down=True,
    )


def vgg(sizes: tuple[int, ...], width: int) -> Any:
    """Return torchvision's VGG with normalisation and a narrow classifier."""
    models = import_torchvision().models.vgg
    from torch import nn

    plan: list[int | str] = []
    for i, layers in enumerate(sizes):
        plan += [*[width * min(2**i, 8)] * layers, "M"]
    features = models.make_layers(plan, batch_norm=True)
    model = models.VGG(features, reference.CLASSES, init_weights=False)
    hidden = reference.SMALL["vgg11_bn"].hidden
    model.classifier[0] = nn.Linear(width * 8 * 49, hidden)
    model.classifier[3] = nn.Linear(hidden, hidden)
    model.classifier[6] = nn.Linear(hidden, reference.CLASSES)
    return model


def bit(sizes: tuple[int, ...], width: int) -> Any:
    """Return timm's BiT network, with the settings of `_create_resnetv2_bit`."""
    import_torchvision()
    from timm.layers import StdConv2d
    from timm.models.resnetv2 import ResNetV2

    return ResNetV2(
        list(sizes),
        channels=tuple(width * 4 * 2**i for i in range(len(sizes))),
        num_classes=reference.CLASSES,
        stem_chs=width,
        stem_type="fixed",
        conv_layer=partial(StdConv2d, eps=1e-8),
    )


def segmentation(decoder: str, sizes: tuple[int, ...], width: int) -> Any:
    """Return torchvision's FCN or DeepLabV3 on a narrow ResNet.

    What torchvision builds at one width only, the ResNet and DeepLab's head, is built
    here of its parts.
    """
    models = import_torchvision().models
    from torch import nn

    net = models.ResNet.__new__(models.ResNet)
    nn.Module.__init__(net)
    net._norm_layer, net.inplanes, net.dilation = nn.BatchNorm2d, width, 1
    net.groups, net.base_width = 1, 64
    net.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
    net.bn1, net.relu = nn.BatchNorm2d(width), nn.ReLU()
    net.maxpool = nn.MaxPool2d(3, 2, 1)
    for i, blocks in enumerate(sizes):
        stage = net._make_layer(
            *(models.resnet.Bottleneck, width * 2**i, blocks),
            stride=1 if i == 0 else 2,
            dilate=i > 1,
        )
        setattr(net, f"layer{i + 1}", stage)
    last = f"layer{len(sizes)}"
    backbone = models._utils.IntermediateLayerGetter(net, {last: "out"})
    channels, classes = net.inplanes, reference.CLASSES
    fcn, deeplab = models.segmentation.fcn, models.segmentation.deeplabv3
    if decoder == "fcn":
        return fcn.FCN(backbone, fcn.FCNHead(channels, classes))
    head = deeplab.DeepLabHead(channels, classes)
    head[0] = deeplab.ASPP(channels, [12, 24, 36], 4 * width)
    head[1] = nn.Conv2d(4 * width, 4 * width, 3, padding=1, bias=False)
    head[2] = nn.BatchNorm2d(4 * width)
    head[4] = nn.Conv2d(4 * width, classes, 1)
    return deeplab.DeepLabV3(backbone, head)


def keras_resnet(name: str, sizes: tuple[int, ...], height: int, width: int) -> Any:
    """Return a Keras ResNet, whose stem is 64 wide, of fewer stages."""
    import_keras()
    from keras.src.applications import resnet

    second = name.endswith("v2")
    version = "v2" if second else "v1"
    stack = getattr(resnet, f"stack_residual_blocks_{version}")
    still = len(sizes) - 1 if second else 0

    def stages(x: Any) -> Any:
        for i, blocks in enumerate(sizes):
            stride = 1 if i == still else 2
            x = stack(x, 64 * 2**i, blocks, stride1=stride, name=f"conv{i + 2}")
        return x

    return resnet.ResNet(
        stages,
        preact=second,
        use_bias=True,
        weights=None,
        input_shape=(height, width, 3),
        classes=reference.CLASSES,
        classifier_activation=None,
    )
