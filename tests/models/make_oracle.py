"""Write oracle.npz: what torch computes with the weights and images of reference.py.

Needs torch and torchvision; the tests that read the file do not. Run it as

    python tests/models/make_oracle.py

Everything is computed in float64, so that what a test measures is jft's rounding
alone, and torch's own float32 is printed beside it for scale.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import reference

PATH = Path(__file__).with_name("oracle.npz")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def import_torchvision() -> Any:
    """Return torchvision, whose CUDA build a CPU build of torch does not import."""
    if "torchvision" not in sys.modules:
        import torch

        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define(
            "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        )
        import torchvision

        torchvision.declared = library  # the operators go when it is collected
    return sys.modules["torchvision"]


def architecture(name: str, classes: int) -> Any:
    """Return a published network with random weights."""
    if len(reference.SIZES[name]) == 3:
        return cifar_resnet(reference.SIZES[name], classes)
    return getattr(import_torchvision().models, name)(num_classes=classes)


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


def build(name: str, dtype: str) -> Any:
    """Return a torch network with the reference weights."""
    import torch

    model = architecture(name, reference.CLASSES)
    shapes = {
        key: tuple(value.shape)
        for key, value in model.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    assert shapes == reference.shapes_of(name), name
    weights = reference.tensors(shapes)
    model.load_state_dict(
        {key: torch.from_numpy(value) for key, value in weights.items()}, strict=False
    )
    return model.to(getattr(torch, dtype)).eval()


def normalise(images: np.ndarray, dtype: str) -> Any:
    import torch

    x = torch.from_numpy(images).to(getattr(torch, dtype)).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(v, dtype=x.dtype)[:, None, None] for v in (MEAN, STD))
    return (x - mean) / std


def eval_numbers(name: str, images: np.ndarray, dtype: str) -> dict[str, Any]:
    """Return one network's logits."""
    import torch

    with torch.no_grad():
        logits = build(name, dtype)(normalise(images, dtype))
    height, width = images.shape[1:3]
    return {f"{name}/logits/{height}x{width}": logits.numpy()}


def train_numbers(name: str, dtype: str) -> dict[str, Any]:
    """Return losses of consecutive steps, and gradients and statistics of the first."""
    import torch

    model = build(name, dtype).train()
    x = normalise(reference.images(*reference.TRAINING[name]), dtype)
    label = torch.from_numpy(reference.labels(len(x))).long()
    optimizer = torch.optim.SGD(
        model.parameters(), lr=reference.RATE, momentum=reference.MOMENTUM
    )
    numbers, losses = {}, []
    for step in range(reference.STEPS):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), label)
        loss.backward()
        losses.append(loss.item())
        if step == 0:
            numbers = first_step(name, model)
        optimizer.step()
    return {f"{name}/loss": np.array(losses), **numbers}


def first_step(name: str, model: Any) -> dict[str, Any]:
    grads = {k: p.grad.numpy().copy() for k, p in model.named_parameters()}
    stats = {k: v.numpy().copy() for k, v in model.named_buffers()}
    numbers = {
        f"{name}/gradient_norms": np.array(
            [np.linalg.norm(grads[key].reshape(-1)) for key in sorted(grads)]
        )
    }
    for key in reference.SLICES[name]:
        numbers[f"{name}/gradient/{key}"] = reference.part(grads[key])
    for norm in reference.NORMS[name]:
        for leaf in ("running_mean", "running_var"):
            numbers[f"{name}/stats/{norm}.{leaf}"] = stats[f"{norm}.{leaf}"]
    return numbers


def compute(dtype: str = "float64") -> dict[str, np.ndarray]:
    """Return everything that the file holds, as float32."""
    import torch

    torch.set_num_threads(1)
    numbers: dict[str, Any] = {}
    for name, images in reference.cases():
        numbers |= eval_numbers(name, images, dtype)
    for name in reference.TRAINING:
        numbers |= train_numbers(name, dtype)
    return {key: np.asarray(value, np.float32) for key, value in numbers.items()}


def main() -> None:
    exact, single = compute(), compute("float32")
    for key, value in exact.items():
        scale = np.abs(value).max()
        error = np.abs(single[key] - value) / (value if "loss" in key else scale)
        off = ", ".join(f"{e:.0e}" for e in (error if "loss" in key else [error.max()]))
        print(f"{key}: scale {scale:.3g}, torch's float32 off by {off} of it")
    np.savez_compressed(PATH, fingerprint=reference.fingerprint(), **exact)
    print(f"{PATH}: {PATH.stat().st_size} bytes")


if __name__ == "__main__":
    main()
