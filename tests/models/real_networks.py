"""The networks of torchvision, timm and transformers, with weights from names.

Needs those libraries; what the default tests know of them is in oracle.npz.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import reference
from cpu_torchvision import import_torchvision

Tensors = dict[str, np.ndarray]


@dataclass(frozen=True)
class Real:
    """A network of another library, with the reference's weights.

    Attributes:
        parameters: How many are trained.
        tensors: Its checkpoint, by its own names.
        logits: Maps normalised images [B, H, W, 3] to logits [B, K].
        load: Loads a checkpoint, strictly, into a new such network, and returns the
            checkpoint of that.
    """

    parameters: int
    tensors: Tensors
    logits: Callable[[np.ndarray], np.ndarray]
    load: Callable[[Tensors], Tensors]


def build(library: str, name: str, classes: int, dtype: str = "float32") -> Real:
    """Return the network that a library has under one of our names.

    Args:
        library: One of the names of a `Layout`.
        name: One of `MODELS`.
        classes: Outputs, K.
        dtype: Of its weights and features.
    """
    if library in ("keras", "keras3"):
        import keras_networks

        return keras_networks.build(library, name, classes, dtype)
    if library == "bit":
        return named_as_bit(lambda: torch_model("timm", name, classes))
    return torch_network(lambda: torch_model(library, name, classes), dtype)


def torch_model(library: str, name: str, classes: int) -> Any:
    """Return a torch module; random, or without values on the device "meta"."""
    if library == "akamaster":
        return cifar_resnet(reference.SIZES[name], classes)
    torchvision = import_torchvision()
    if library == "torchvision" and name.startswith(("fcn", "deeplabv3")):
        build = getattr(torchvision.models.segmentation, name)
        # With num_classes alone it would download a backbone.
        return build(weights_backbone=None, num_classes=classes, aux_loss=False)
    if library == "torchvision":
        return getattr(torchvision.models, name)(num_classes=classes)
    if library == "timm":
        import timm

        return timm.create_model(name, num_classes=classes)
    assert library == "transformers", library
    return transformers_resnet(name, classes)


def transformers_resnet(name: str, classes: int) -> Any:
    """Return transformers' network with the settings of microsoft/resnet-*."""
    from transformers import ResNetConfig, ResNetForImageClassification

    basic = name in ("resnet18", "resnet34")
    config = ResNetConfig(
        depths=list(reference.SIZES[name]),
        hidden_sizes=[(64 if basic else 256) * 2**i for i in range(4)],
        layer_type="basic" if basic else "bottleneck",
        num_labels=classes,
    )
    return ResNetForImageClassification(config)


def cifar_resnet(sizes: tuple[int, ...], classes: int) -> Any:
    """Return akamaster's network, as its README and code describe it."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, channels: int, planes: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(channels, planes, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(planes)
            self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(planes)
            self.extra = planes // 4 if stride != 1 or channels != planes else 0

        def forward(self, x: Any) -> Any:
            y = torch.relu(self.bn1(self.conv1(x)))
            y = self.bn2(self.conv2(y))
            if self.extra:
                around = (0, 0, 0, 0, self.extra, self.extra)
                x = nn.functional.pad(x[:, :, ::2, ::2], around)
            return torch.relu(x + y)

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(16)
            channels = 16
            for i, blocks in enumerate(sizes):
                planes, stage = 16 * 2**i, []
                for j in range(blocks):
                    stage.append(Block(channels, planes, 2 if i and not j else 1))
                    channels = planes
                setattr(self, f"layer{i + 1}", nn.Sequential(*stage))
            self.linear = nn.Linear(channels, classes)

        def forward(self, x: Any) -> Any:
            x = torch.relu(self.bn1(self.conv1(x)))
            x = self.layer3(self.layer2(self.layer1(x)))
            return self.linear(x.mean(dim=(2, 3)))

    return Network()


def torch_network(make: Callable[[], Any], dtype: str = "float32") -> Real:
    """Give a torch network the weights that its tensors' names fix."""
    import torch

    def load(tensors: Tensors) -> Any:
        with torch.device("meta"):
            model = make()
        state = {name: torch.from_numpy(value) for name, value in tensors.items()}
        model.load_state_dict(state, strict=True, assign=True)
        return model.eval()

    with torch.device("meta"):
        shapes = {k: tuple(v.shape) for k, v in make().state_dict().items()}
    model = load(reference.tensors(shapes))
    tensors = checkpoint(model)
    if dtype != "float32":
        model = model.to(getattr(torch, dtype))

    def logits(x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            images = torch.from_numpy(x).permute(0, 3, 1, 2)
            result = model(images.to(getattr(torch, dtype)))
        # A map of classes; what transformers returns is a dict too.
        if isinstance(result, dict) and "out" in result:
            return result["out"].permute(0, 2, 3, 1).numpy()
        return getattr(result, "logits", result).numpy()

    return Real(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        tensors=tensors,
        logits=logits,
        load=lambda tensors: checkpoint(load(tensors)),
    )


def checkpoint(model: Any) -> Tensors:
    return {name: value.numpy() for name, value in model.state_dict().items()}


def bit_name(name: str) -> str:
    """Return the name in BiT's files of a tensor of timm's network.

    Restated from `load_from` in google-research/big_transfer's bit_pytorch/models.py.
    """
    module, _, leaf = name.rpartition(".")
    leaf = {"weight": "gamma", "bias": "beta"}[leaf]
    if module == "norm":
        return f"resnet/group_norm/{leaf}"
    kernel = "kernel" if leaf == "gamma" else "bias"
    if module == "head.fc":
        return f"resnet/head/conv2d/{kernel}"
    if module == "stem.conv":
        return "resnet/root_block/standardized_conv2d/kernel"
    _, stage, _, block, layer, *_ = module.split(".")
    unit = f"resnet/block{int(stage) + 1}/unit{int(block) + 1:02}"
    if layer == "downsample":
        return f"{unit}/a/proj/standardized_conv2d/kernel"
    part = {"1": "a", "2": "b", "3": "c"}[layer[-1]]
    if layer.startswith("norm"):
        return f"{unit}/{part}/group_norm/{leaf}"
    return f"{unit}/{part}/standardized_conv2d/kernel"


def named_as_bit(make: Callable[[], Any]) -> Real:
    """Return timm's network with its checkpoint as BiT publishes it.

    What it loads goes through a file, and timm's own reader of BiT's files.
    """
    import torch

    real = torch_network(make)

    def renamed(tensors: Tensors) -> Tensors:
        return {
            bit_name(name): value.transpose(2, 3, 1, 0) if value.ndim == 4 else value
            for name, value in tensors.items()
        }

    def load(tensors: Tensors) -> Tensors:
        with torch.device("meta"):
            model = make()
        model = model.to_empty(device="cpu")
        for value in model.parameters():
            value.data.fill_(float("nan"))  # shows what is not loaded
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "weights.npz"
            np.savez(path, **tensors)
            model.load_pretrained(path)
        assert set(tensors) == set(renamed(real.tensors))
        return renamed(checkpoint(model))

    return Real(real.parameters, renamed(real.tensors), real.logits, load)
