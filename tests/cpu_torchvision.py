"""Imports torchvision, whose CUDA build a CPU build of torch does not import."""

import sys
from typing import Any


def import_torchvision() -> Any:
    """Return torchvision; its two CUDA operators are declared first."""
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
