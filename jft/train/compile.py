"""The steps of a run, compiled."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import jax

from jft.errors import InputError
from jft.step import make_eval_step, make_train_step
from jft.step.skip import skip_nonfinite
from jft.train.setup import Setup
from jft.train.transition import state_like

COMPILERS = 2  # steps of several phases are compiled at the same time


def compile_train_steps(setup: Setup) -> list[jax.stages.Compiled]:
    """Compile every phase's training step, so that no phase waits for it later."""

    def compile_step(index: int) -> jax.stages.Compiled:
        step = make_train_step(setup.phases[index].step_spec)
        if setup.config.skip_nonfinite:
            step = skip_nonfinite(step)
        state = state_like(setup, index)
        return setup.devices.compile_ahead(step, state, setup.batch_shapes())

    with ThreadPoolExecutor(COMPILERS) as pool:
        return list(pool.map(compile_step, range(len(setup.phases))))


def compile_eval_step(setup: Setup) -> Callable[[Any, Any], Any]:
    """Return the step that evaluates; it computes in float32, as predict does."""
    pretrained = setup.pretrained
    model = pretrained.model.clone(axis_name=setup.devices.axis_name)
    step = make_eval_step(model, setup.task, pretrained.preprocess)
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
