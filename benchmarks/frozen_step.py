"""Claim: a step costs less the more is frozen, in time as in compiled FLOPs.

ResNet-18 at 64x64, batch 16, SGD with clipping, gradient norm logged in every step.

    python benchmarks/frozen_step.py
"""

import time
from collections.abc import Callable
from typing import Any

from common import interleave, record, rounds

from jft.devices import tune_cpu

RULES = ("none", "until:stem", "until:stage2", "until:stage3", "all-but:head")


def build(
    rule: str, *, model: str = "resnet18", batch: int = 16, size: int = 64
) -> tuple[Callable[[], float], float]:
    """Return a timed step under a freeze rule, and its compiled FLOPs."""
    import jax
    import numpy as np

    from jft.config import ModelConfig, OptimConfig, TrainConfig
    from jft.devices import Devices
    from jft.pretrained import load_pretrained
    from jft.state import begin
    from jft.step import make_train_step

    config = TrainConfig(
        model=ModelConfig(name=model),
        freeze=rule,
        optim=OptimConfig(schedule="constant", clip_norm=1.0),
    )
    pretrained = load_pretrained(model, "none", 10, image_size=size)
    devices = Devices("jit", (jax.devices()[0],))
    start = begin(config, pretrained, devices, steps_per_epoch=10)
    draw = np.random.default_rng(0)
    images = {
        "image": draw.integers(0, 256, (batch, size, size, 3), np.uint8),
        "label": draw.integers(0, 10, batch, np.int32),
        "weight": np.ones(batch, np.float32),
        "id": np.arange(batch, dtype=np.int32),
    }
    step = (
        jax.jit(make_train_step(start.step_spec)).lower(start.state, images).compile()
    )

    def timed() -> float:
        began = time.perf_counter()
        result: Any = step(start.state, images)
        jax.block_until_ready(result)
        return time.perf_counter() - began

    costs: Any = step.cost_analysis()
    return timed, costs["flops"]


def main() -> None:
    """Measure and write `results/frozen_step.json`."""
    count = rounds("frozen_step", 15)
    tune_cpu()
    built = {rule: build(rule) for rule in RULES}
    seconds = interleave({rule: timed for rule, (timed, _) in built.items()}, count)
    whole = built["none"][1]
    flops = {rule: round(count / whole, 3) for rule, (_, count) in built.items()}
    record("frozen_step", seconds, flops_ratio=flops)


if __name__ == "__main__":
    main()
