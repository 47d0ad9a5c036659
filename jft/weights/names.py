"""Where a parameter of ours stands in another library's checkpoint, and its layout."""

import re
from collections.abc import Container, Iterable

import numpy as np

# Ours to theirs, first match wins. torchvision and timm name ResNets alike; akamaster's
# CIFAR nets differ in the head alone.
RESNET_MODULES: tuple[tuple[str, str], ...] = (
    (r"stem/conv", r"conv1"),
    (r"stem/norm", r"bn1"),
    (r"stage(\d+)/block(\d+)/conv(\d)", r"layer\1.\2.conv\3"),
    (r"stage(\d+)/block(\d+)/norm(\d)", r"layer\1.\2.bn\3"),
    (r"stage(\d+)/block(\d+)/shortcut/conv", r"layer\1.\2.downsample.0"),
    (r"stage(\d+)/block(\d+)/shortcut/norm", r"layer\1.\2.downsample.1"),
)
RESNET_HEADS = ("fc", "linear")

TORCH_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}

# Tensors in torch checkpoints that no network of ours has a use for.
IGNORED = re.compile(r"(.*\.)?num_batches_tracked")


def is_native(names: Iterable[str]) -> bool:
    """Tell whether a checkpoint has our own names, `params/head/kernel` for one."""
    return any(name.startswith("params/") for name in names)


def torch_name(name: str, there: Container[str]) -> str:
    """Return the torch name of one of our variables.

    Args:
        name: Ours with its collection, `params/stage1/block0/conv1/kernel`.
        there: The names in the checkpoint, which settle what its head is called.

    >>> torch_name("params/stage1/block0/conv1/kernel", ())
    'layer1.0.conv1.weight'
    """
    _, _, path = name.partition("/")
    module, _, leaf = path.rpartition("/")
    if module == "head":
        head = next((h for h in RESNET_HEADS if f"{h}.weight" in there), "fc")
        return f"{head}.{TORCH_LEAVES[leaf]}"
    for ours, theirs in RESNET_MODULES:
        if re.fullmatch(ours, module):
            return f"{re.sub(ours, theirs, module)}.{TORCH_LEAVES[leaf]}"
    raise AssertionError(f"no rule names {name}")


def from_torch_layout(array: np.ndarray) -> np.ndarray:
    """Return a torch kernel in Flax's layout; vectors stay as they are.

    Convolutions [O, I, H, W] become [H, W, I, O], linear layers [O, I] become [I, O].
    """
    if array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    if array.ndim == 2:
        return array.T
    return array
