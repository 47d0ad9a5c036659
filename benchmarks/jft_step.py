"""A training step of jft as a run has it, to be measured.

SGD with momentum on random images, ten classes, no augmentation; the gradient norm and
the metrics are computed in every step, and the state's memory is reused.

    python benchmarks/jft_step.py MODEL BATCH SIZE

answers `freeze_curve.py`.
"""

import sys
from collections import Counter
from typing import Any

import jax
from turns import Step, serve

from jft import costs, tree
from jft.bench.case import CLASSES, Case, made_up
from jft.devices import Devices, tune_cpu
from jft.freeze import norms, rules
from jft.freeze.phases import plan_phases
from jft.step import TrainState, make_train_step
from jft.tasks import Classification
from jft.train.phase_rules import phase_rules
from jft.train.phases import Trainee, build_phases, first_state
from jft.weights.pretrained import Pretrained, load_pretrained


def build(frozen: int, *, model: str, batch: int, size: int) -> Step:
    """Return a step with the first layers frozen.

    Args:
        frozen: Layers in depth order, as `ModelSpec.layers` counts them.
        model: Network, with random weights.
        batch: Images per step.
        size: Side of an image in pixels.
    """
    tune_cpu()
    freeze = f"first:{frozen}" if frozen else "none"
    config = Case(model, batch, freeze, image_size=size).config()
    pretrained = load_pretrained(model, "none", CLASSES, image_size=size)
    devices = Devices("jit", (jax.devices()[0],))
    spec = pretrained.spec
    phases = plan_phases(config, spec)
    modes = norms.parse(config.norm, spec)
    each = phase_rules(config, spec, phases, modes, decay=())
    trainee = Trainee(pretrained, Classification(), devices.axis_name, 10)
    first, *_ = build_phases(config, each, trainee)
    start = first_state(pretrained, first, config.seed)
    images = made_up(batch, size)
    compiled = devices.compile_ahead(make_train_step(first.step_spec), start, images)
    state, placed = devices.replicate(start), devices.put(images)

    def run() -> float:
        nonlocal state
        state, sums = jax.block_until_ready(compiled(state, placed))
        return float(sums["loss"])

    return Step(run, _facts(compiled, start, pretrained))


def _facts(compiled: Any, start: TrainState, pretrained: Pretrained) -> dict[str, Any]:
    """Return FLOPs and bytes; forward FLOPs and parameters also by layer, in order."""
    spec, params = pretrained.spec, tree.flatten(start.params)
    found = costs.operations(compiled.as_text(), spec.stages)
    used = costs.memory(compiled)
    assert used
    forward, sizes = Counter[str](), Counter[str]()
    for module, cost in costs.module_costs(found).items():
        if module:
            forward[rules.layer_of(f"{module}/kernel", spec)] += cost.forward
    for name, leaf in params.items():
        sizes[rules.layer_of(name, spec)] += leaf.size
    return {
        "flops": sum(operation.flops for operation in found),
        "temporaries": used.temporaries,
        "bytes": used.total,
        "forward": [forward[layer] for layer in spec.layers],
        "parameters": [sizes[layer] for layer in spec.layers],
    }


if __name__ == "__main__":
    tune_cpu()
    jax.block_until_ready(jax.numpy.zeros(1))  # starts the backend
    name, count, side = sys.argv[1:]
    serve(lambda n: build(n, model=name, batch=int(count), size=int(side)))
