"""The steps of a run, compiled."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from jft import tree
from jft.errors import InputError
from jft.features.decide import memory
from jft.features.loop import make_loop
from jft.step import make_eval_step, make_train_step
from jft.step.skip import skip_nonfinite
from jft.train.setup import Setup
from jft.train.transition import state_like

LOOP_FLOPS = 10**10  # about half a second of a core
LONGEST_LOOP = 64
COMPILERS = 2  # steps of several phases are compiled at the same time


def compile_train_steps(setup: Setup) -> list[jax.stages.Compiled]:
    """Compile every phase's training step, so that no phase waits for it later."""

    def compile_step(index: int) -> jax.stages.Compiled:
        cut = setup.features[index].cut
        spec = setup.phases[index].step_spec
        step = make_train_step(replace(spec, start=cut.start if cut else None))
        if setup.config.skip_nonfinite:
            step = skip_nonfinite(step)
        if (length := loop_length(setup, index)) > 1:
            step = make_loop(step, length, setup.batches.steps_per_epoch)
        state = state_like(setup, index)
        return setup.devices.compile_ahead(step, state, work_shapes(setup, index))

    with ThreadPoolExecutor(COMPILERS) as pool:
        return list(pool.map(compile_step, range(len(setup.phases))))


def loop_length(setup: Setup, index: int) -> int:
    """Return how many steps of a phase one compiled loop may run; 1 without a loop.

    A loop takes features that are on the device. On CPU, XLA runs convolutions many
    times slower in a loop. A loop lasts about a second at most, so that signals and
    progress do not wait for long.
    """
    choice, phase = setup.features[index], setup.phases[index]
    if choice.cut is None or choice.cut.has_convolutions or setup.devices.axis_name:
        return 1
    if choice.bytes > memory() // 4:
        return 1
    trained = tree.count(phase.trained(setup.state.params))
    flops = 6 * trained * setup.batches.batch_size
    return int(min(max(LOOP_FLOPS // flops, 1), LONGEST_LOOP))


def work_shapes(setup: Setup, index: int) -> dict[str, Any]:
    """Return shape and dtype of what a phase's step takes besides the state."""
    shapes = setup.batch_shapes(index)
    if (length := loop_length(setup, index)) == 1:
        return shapes
    batches, views = setup.batches, max(setup.config.views, 1)
    rows = len(batches.source) + 1
    data = {
        name: jax.ShapeDtypeStruct((rows, *leaf.shape[1:]), leaf.dtype)
        for name, leaf in shapes.items()
        if name != "id"
    }
    image = data["image"]
    data["image"] = jax.ShapeDtypeStruct((views, *image.shape), image.dtype)
    row = jax.ShapeDtypeStruct((length, batches.batch_size), np.int32)
    count = jax.ShapeDtypeStruct((), np.int32)
    return {"data": data, "row": row, "id": row, "count": count}


def compile_eval_step(
    setup: Setup, start: str | None = None
) -> Callable[[Any, Any], Any]:
    """Return the step that evaluates; it computes in float32, as predict does.

    Args:
        setup: The run.
        start: First part of the network to run, on features; None: all, on images.
    """
    pretrained = setup.pretrained
    model = pretrained.model.clone(axis_name=setup.devices.axis_name)
    step = make_eval_step(model, setup.task, pretrained.preprocess, start=start)
    return setup.devices.compile(step)


@contextmanager
def enough_memory(setup: Setup) -> Iterator[None]:
    """Name the options that help when the device has not enough memory."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        size = setup.pretrained.preprocess.size
        raise InputError(
            f"not enough memory for {setup.config.batch_size} images of {size}x{size} "
            f"pixels a step on {setup.devices}: try a smaller --batch-size or "
            "--image-size, or freeze more of the network"
        ) from None
