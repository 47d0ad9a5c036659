import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
import pytest
from flax.core import FrozenDict

from jft import tree
from jft.config import OptimConfig
from jft.freeze import FreezeSpec
from jft.optim import decays, learning_rate, optimizer

STEPS, EPOCH = 20, 4
SHAPES = {
    "stem/conv/kernel": (2, 3),
    "stem/norm/scale": (3,),
    "stem/norm/bias": (3,),
    "stage1/conv/kernel": (3, 4),
    "stage1/norm/scale": (4,),
    "stage1/norm/bias": (4,),
    "head/kernel": (4, 2),
    "head/bias": (2,),
}
FROZEN = {n for n in SHAPES if n.startswith("stem/")} | {"head/bias"}
TRAINED = [n for n in SHAPES if n not in FROZEN]
TRAINED_SIZE = sum(math.prod(SHAPES[n]) for n in TRAINED)
KERNELS = {"stage1/conv/kernel", "head/kernel"}

SGD = OptimConfig(
    name="sgd",
    learning_rate=0.1,
    schedule="cosine",
    warmup_epochs=1.0,
    momentum=0.9,
    weight_decay=0.02,
    clip_norm=4.0,
)
ADAMW = dataclasses.replace(SGD, name="adamw", learning_rate=0.02, weight_decay=0.1)

Flat = dict[str, np.ndarray]


def values(seed: int) -> Flat:
    rng = np.random.default_rng(seed)
    return {n: rng.normal(size=s).astype(np.float32) for n, s in SHAPES.items()}


TARGETS = [values(seed) for seed in range(1, STEPS + 1)]


def gradient(params: Flat, step: int) -> Flat:
    """Return gradients of a quadratic, large for frozen leaves.

    Were the frozen ones part of the norm that is clipped, the trained part would
    hardly move. Every other step is small enough not to be clipped.
    """
    size = np.float32(0.3 if step % 2 else 1.0)
    return {
        name: (leaf - TARGETS[step][name])
        * (np.float32(1e3) if name in FROZEN else size)
        for name, leaf in params.items()
    }


def reference_rate(config: OptimConfig, step: int) -> float:
    warmup = round(config.warmup_epochs * EPOCH)
    if step < warmup:
        return config.learning_rate * step / warmup
    if config.schedule == "constant":
        return config.learning_rate
    done = min((step - warmup) / (STEPS - warmup), 1.0)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def reference(config: OptimConfig) -> tuple[Flat, list[bool]]:
    """Return the parameters after all steps in float64, and which were clipped."""
    params = {n: leaf.astype(np.float64) for n, leaf in values(0).items()}
    first = {n: np.zeros(SHAPES[n]) for n in TRAINED}
    second = {n: np.zeros(SHAPES[n]) for n in TRAINED}
    clipped: list[bool] = []
    for step in range(STEPS):
        grads = gradient(params, step)
        norm = math.sqrt(sum(float(np.sum(grads[n] ** 2)) for n in TRAINED))
        limit = math.inf if config.clip_norm is None else config.clip_norm
        clipped.append(norm > limit)
        rate = reference_rate(config, step)
        for n in TRAINED:
            grad = grads[n] * min(1.0, limit / norm)
            if config.name == "sgd":
                first[n] = config.momentum * first[n] + grad
                direction = first[n]
            else:
                first[n] = 0.9 * first[n] + 0.1 * grad
                second[n] = 0.999 * second[n] + 0.001 * grad**2
                mean = first[n] / (1 - 0.9 ** (step + 1))
                square = second[n] / (1 - 0.999 ** (step + 1))
                direction = mean / (np.sqrt(square) + 1e-8)
            decay = config.weight_decay if config.decay_all or n in KERNELS else 0.0
            params[n] = params[n] - rate * (direction + decay * params[n])
    return params, clipped


def nested(flat: Flat) -> FrozenDict[str, Any]:
    return FrozenDict(tree.unflatten(flat))


def build(config: OptimConfig) -> optax.GradientTransformation:
    frozen = FreezeSpec(("stem/*", "head/bias")).frozen(nested(values(0)))
    rate = learning_rate(config, steps=STEPS, steps_per_epoch=EPOCH)
    return optimizer(config, rate, FrozenDict(frozen))


def run(
    config: OptimConfig, grads_of: Callable[[Flat, int], Flat] = gradient
) -> tuple[Flat, list[Flat], Any]:
    """Return the parameters after all steps, every step's updates, and the state."""
    transform = build(config)
    update = jax.jit(transform.update)
    params = nested(values(0))
    state = transform.init(params)
    history: list[Flat] = []
    for step in range(STEPS):
        grads = nested(grads_of(as_numpy(params), step))
        updates, state = update(grads, state, params)
        params = optax.apply_updates(params, updates)
        history.append(as_numpy(updates))
    return as_numpy(params), history, state


def as_numpy(params: Any) -> Flat:
    return {name: np.asarray(leaf) for name, leaf in tree.flatten(params).items()}


@pytest.mark.parametrize(
    "config",
    [
        SGD,
        dataclasses.replace(SGD, decay_all=True),
        dataclasses.replace(SGD, clip_norm=None, momentum=0.0, weight_decay=0.0),
        dataclasses.replace(SGD, schedule="constant", warmup_epochs=0.0),
        ADAMW,
        dataclasses.replace(ADAMW, decay_all=True, clip_norm=None),
    ],
    ids=["sgd", "decay all", "plain sgd", "constant", "adamw", "adamw decay all"],
)
def test_twenty_steps_equal_the_update_written_out_by_hand(config: OptimConfig):
    params, history, _ = run(config)
    expected, clipped = reference(config)
    if config.clip_norm is not None:
        assert 0 < sum(clipped) < STEPS
    for name in TRAINED:
        # float32 against float64: each of 20 steps rounds values of size ~1 a few
        # times to 6e-8, and momentum adds up to ten steps' worth: 20 * 10 * 6e-8.
        np.testing.assert_allclose(params[name], expected[name], rtol=0, atol=1.2e-5)
        moved = np.abs(expected[name] - values(0)[name])
        assert moved.max() > 1e-2  # a thousand times the tolerance
    for name in FROZEN:
        assert all(np.array_equal(u[name], np.zeros(SHAPES[name])) for u in history)
        assert np.array_equal(params[name], values(0)[name])


@pytest.mark.parametrize(
    ("config", "elements"),
    [
        # The trace, and the count of the schedule.
        (SGD, TRAINED_SIZE + 1),
        # Both moments, the count of their bias correction, that of the schedule.
        (ADAMW, 2 * TRAINED_SIZE + 2),
    ],
    ids=["sgd", "adamw"],
)
def test_frozen_leaves_have_no_optimizer_state(config: OptimConfig, elements: int):
    _, _, state = run(config)
    assert sum(int(leaf.size) for leaf in jax.tree.leaves(state)) == elements
    names = {
        "/".join(key.key for key in path if isinstance(key, jax.tree_util.DictKey))
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
        if leaf.ndim
    }
    assert {name.removeprefix("trained/") for name in names} == set(TRAINED)


def no_gradient(params: Flat, step: int) -> Flat:
    return {name: np.zeros_like(leaf) for name, leaf in params.items()}


@pytest.mark.parametrize("config", [SGD, ADAMW], ids=["sgd", "adamw"])
@pytest.mark.parametrize("decay_all", [False, True])
def test_decay_alone_shrinks_the_trained_kernels_or_all_trained(config, decay_all):
    params, _, _ = run(dataclasses.replace(config, decay_all=decay_all), no_gradient)
    rates = [reference_rate(config, step) for step in range(STEPS)]
    shrunk = math.prod(1 - rate * config.weight_decay for rate in rates)
    assert shrunk < 0.99
    moving = set(TRAINED) if decay_all else KERNELS
    for name, start in values(0).items():
        if name in moving:
            # 20 products in float32, each rounded by at most 6e-8.
            np.testing.assert_allclose(params[name], start * shrunk, rtol=2e-6, atol=0)
        else:
            assert np.array_equal(params[name], start)


def test_decay_is_for_kernels_whatever_module_they_are_in():
    flat = tree.flatten(decays(nested(values(0))))
    assert flat == {name: name.endswith("/kernel") for name in SHAPES}


def rates(config: OptimConfig, steps: int = STEPS) -> Callable[[int], float]:
    schedule = learning_rate(config, steps=steps, steps_per_epoch=EPOCH)
    return lambda step: float(schedule(np.int32(step)))


# float32 schedules: cos near its end and the division by the warm-up are off by a few
# roundings of the peak, 6e-8 each.
CLOSE = {"rel": 0, "abs": 0.4 * 5e-7}


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
@pytest.mark.parametrize("warmup", [0.0, 0.5, 1.0, 2.6])
def test_the_learning_rate_is_the_formula_at_every_step(schedule: Any, warmup: float):
    config = OptimConfig(learning_rate=0.4, schedule=schedule, warmup_epochs=warmup)
    rate = rates(config)
    expected = [reference_rate(config, step) for step in range(STEPS + 3)]
    assert [rate(s) for s in range(STEPS + 3)] == pytest.approx(expected, **CLOSE)


@pytest.mark.parametrize(
    ("step", "value"),
    [(0, 0.0), (1, 0.1), (3, 0.3), (4, 0.4), (12, 0.2), (20, 0.0), (25, 0.0)],
)
def test_cosine_rises_over_the_warmup_and_falls_to_zero(step: int, value: float):
    config = OptimConfig(learning_rate=0.4, warmup_epochs=1.0)
    assert rates(config)(step) == pytest.approx(value, **CLOSE)


@pytest.mark.parametrize(
    ("schedule", "middle", "end"), [("cosine", 0.2, 0.0), ("constant", 0.4, 0.4)]
)
def test_without_warmup_the_first_step_has_the_peak(schedule: Any, middle, end):
    rate = rates(OptimConfig(learning_rate=0.4, schedule=schedule))
    assert rate(0) == np.float32(0.4)
    assert rate(10) == pytest.approx(middle, **CLOSE)
    assert rate(20) == pytest.approx(end, **CLOSE)


def test_warmup_may_round_to_the_whole_run():
    rate = rates(OptimConfig(learning_rate=0.4, warmup_epochs=0.99), steps=EPOCH)
    expected = [0.0, 0.1, 0.2, 0.3, 0.4]
    assert [rate(step) for step in range(5)] == pytest.approx(expected, **CLOSE)
