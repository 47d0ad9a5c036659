"""The training step of `jft_step.py` in PyTorch, as a fine-tuning loop there has it.

torchvision's network, eager, in channels_last; frozen layers have requires_grad=False
and their batch normalisations are in eval(), so that they use their stored statistics.
The same images, loss and optimizer; no metrics.

    python benchmarks/torch_step.py MODEL BATCH SIZE

answers `freeze_curve.py`, in an environment that needs torch, torchvision and NumPy.
"""

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from turns import Step, serve

CLASSES = 10
RATE = 1e-6
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def build(frozen: int, *, model: str, batch: int, size: int) -> Step:
    """Return a step with the first layers frozen.

    Args:
        frozen: Layers in depth order: the stem, each residual block, the head.
        model: A ResNet of torchvision, with random weights.
        batch: Images per step.
        size: Side of an image in pixels.
    """
    torch: Any = import_module("torch")
    network = _network(model, frozen)
    moving = [leaf for leaf in network.parameters() if leaf.requires_grad]
    optimizer = torch.optim.SGD(moving, lr=RATE, momentum=0.9)
    draw = np.random.default_rng(0)
    pixels = torch.from_numpy(draw.integers(0, 256, (batch, size, size, 3), np.uint8))
    labels = torch.from_numpy(draw.integers(0, CLASSES, batch, np.int64))
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (IMAGENET_MEAN, IMAGENET_STD))

    def run() -> float:
        # NHWC seen as NCHW is what torch calls channels_last.
        images = (pixels.permute(0, 3, 1, 2).float() / 255 - mean) / std
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    counter = import_module("torch.utils.flop_counter").FlopCounterMode(display=False)
    with counter:
        run()
    return Step(run, {"flops": counter.get_total_flops(), "torch": torch.__version__})


def _network(model: str, frozen: int) -> Any:
    torch: Any = import_module("torch")
    torchvision: Any = import_module("cpu_torchvision").import_torchvision()
    network = torchvision.models.get_model(model, num_classes=CLASSES)
    network = network.to(memory_format=torch.channels_last).train()
    stages = (network.layer1, network.layer2, network.layer3, network.layer4)
    blocks = [[block] for stage in stages for block in stage]
    layers = [[network.conv1, network.bn1], *blocks, [network.fc]]
    for module in (module for layer in layers[:frozen] for module in layer):
        module.requires_grad_(False).eval()
    return network


if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[1] / "tests"))
    # As XLA: as many threads as there are cores that the process may use.
    import_module("torch").set_num_threads(len(os.sched_getaffinity(0)))
    import_module("cpu_torchvision").import_torchvision()
    name, count, side = sys.argv[1:]
    serve(lambda n: build(n, model=name, batch=int(count), size=int(side)))
