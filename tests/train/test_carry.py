"""What outlives a phase: the optimizer's state, and running averages."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from unrolled import (
    EPOCH,
    ORDER,
    SHAPES,
    START,
    STEPS,
    Flat,
    Unrolled,
    as_numpy,
    gradient,
    nested,
    quickly,
)

from jft import tree
from jft.config import OptimConfig
from jft.optim.chain import carry, make_optimizer, plateau_scale
from jft.optim.ema import ema
from jft.optim.schedules import learning_rate

HEAD = ("head/kernel", "head/bias")
BEHIND = ("stage2/conv/kernel", *HEAD)
SHARES = dict.fromkeys(SHAPES, 1.0) | {"stage1/conv/kernel": 0.3, "head/bias": 0.5}
LOADED = frozenset(SHAPES) - {"head/bias"}
CONFIG = OptimConfig(
    warmup_epochs=1.0,
    clip_norm=3.0,
    weight_decay=0.1,
    decay_rules="*=1",
    l2_sp=0.5,
)
RATES = dict(sgd=0.1, adamw=0.05, lion=0.02, lamb=0.05, lars=20.0, muon=0.05)
CONFIGS = {
    name: dataclasses.replace(CONFIG, name=name, learning_rate=rate)
    for name, rate in RATES.items()
}
# As for a run of one phase, in test_optim.py.
TOLERANCE = 1.2e-5

# Names that are trained, and for how many steps.
Phases = list[tuple[tuple[str, ...], int]]
UNFREEZE: Phases = [(HEAD, 10), (tuple(SHAPES), 10)]
FREEZE_AGAIN: Phases = [(BEHIND, 7), (HEAD, 6), (BEHIND, 7)]


def optimizers(
    config: OptimConfig, phases: Phases
) -> list[optax.GradientTransformationExtraArgs]:
    rate = learning_rate(config, steps=STEPS, steps_per_epoch=EPOCH)
    since: dict[str, int] = {}
    made: list[optax.GradientTransformationExtraArgs] = []
    for number, (names, _) in enumerate(phases):
        since = {name: since.get(name, number) for name in names}
        shares = {name: SHARES[name] if name in names else 0.0 for name in SHAPES}
        made.append(
            make_optimizer(
                config,
                rate,
                nested(shares),
                steps_per_epoch=EPOCH,
                trained_from=tree.unflatten(since),
                loaded={name: name in LOADED for name in SHAPES},
                pretrained=START,
            )
        )
    return made


def run(config: OptimConfig, phases: Phases, fetch: bool = True) -> tuple[Flat, Any]:
    """Return the parameters after all phases, and the optimizer's state."""
    params, state, step = nested(START), None, 0
    for transform, (_, count) in zip(optimizers(config, phases), phases, strict=True):
        first = transform.init(params)
        state = first if state is None else carry(state, first)
        update = quickly(transform.update)
        for _ in range(count):
            grads = nested(gradient(as_numpy(params), step))
            updates, state = update(grads, state, params)
            params = optax.apply_updates(params, updates)
            step += 1
        state = jax.device_get(state) if fetch else state
    return as_numpy(params), state


def unroll(config: OptimConfig, phases: Phases, **wrong: Any) -> Flat:
    """Return the same in float64, or with a mistake."""
    forgets = wrong.pop("forgets", False)
    by_hand = Unrolled(
        config, dict.fromkeys(SHAPES, 1.0), LOADED, ORDER[config.name], **wrong
    )
    params: Flat = {n: leaf.astype(np.float64) for n, leaf in START.items()}
    step = 0
    for names, count in phases:
        if forgets:
            by_hand.memory = {}
        shares = {name: SHARES[name] if name in names else 0.0 for name in SHAPES}
        for _ in range(count):
            params = by_hand.update(params, gradient(params, step), shares)
            step += 1
    assert by_hand.smallest > 1e-5
    return params


def distance(first: Flat, second: Flat) -> float:
    return max(float(np.abs(first[name] - second[name]).max()) for name in SHAPES)


@pytest.mark.parametrize(
    ("name", "phases"),
    [*((name, UNFREEZE) for name in CONFIGS), ("adamw", FREEZE_AGAIN)],
    ids=[*CONFIGS, "adamw frozen again"],
)
def test_phases_equal_the_updates_written_out_by_hand(name: str, phases: Phases):
    config = CONFIGS[name]
    params, _ = run(config, phases)
    expected = unroll(config, phases)
    assert distance(params, expected) < TOLERANCE
    # What goes wrong if nothing is carried over: momentum, moments and anchors begin
    # anew, though the schedule's step goes on.
    assert distance(unroll(config, phases, forgets=True), expected) > 100 * TOLERANCE


@pytest.mark.parametrize("name", ["adamw", "lamb", "muon"])
def test_bias_correction_counts_the_steps_of_each_leaf(name: str):
    config = CONFIGS[name]
    right = unroll(config, UNFREEZE)
    wrong = unroll(config, UNFREEZE, common_count=True)
    assert distance(wrong, right) > 100 * TOLERANCE
    _, state = run(config, UNFREEZE)
    counts = {
        jax.tree_util.keystr(path): int(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
        if jax.tree_util.keystr(path).endswith(".count")
    }
    began = {"phase0": 20, "phase1": 10}
    for path, count in counts.items():
        assert count == next((n for key, n in began.items() if key in path), 20)
    # Twice in muon, whose kernels and other leaves count for themselves.
    assert len(counts) == 1 + 2 * (2 if name == "muon" else 1)


def test_arrays_may_be_on_the_device_or_the_host():
    host, _ = run(CONFIGS["adamw"], UNFREEZE)
    device, _ = run(CONFIGS["adamw"], UNFREEZE, fetch=False)
    assert all(np.array_equal(host[leaf], device[leaf]) for leaf in SHAPES)


def test_what_was_there_is_taken_over_as_it_is_and_the_rest_is_new():
    before, after = optimizers(CONFIGS["adamw"], UNFREEZE)
    params = nested(START)
    filled = jax.tree.map(lambda x: np.full(x.shape, 7, x.dtype), before.init(params))
    new = after.init(params)
    state = carry(filled, new)
    assert jax.tree.structure(state) == jax.tree.structure(new)
    old = dict(jax.tree_util.tree_leaves_with_path(filled))
    fresh = dict(jax.tree_util.tree_leaves_with_path(new))
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        assert leaf is old.get(path, fresh[path])
    # Moments of the head and their count; what L2-SP pulls to; the schedule's step.
    assert set(old) < set(fresh)
    assert len(old) == 2 * 2 + 1 + 1 + 1


def test_another_shape_at_the_same_place_is_not_taken_over():
    old, new = {"a": np.ones(3), "b": np.ones(2)}, {"a": np.zeros(4), "b": np.zeros(2)}
    state = carry(old, new)
    assert state["a"] is new["a"]
    assert state["b"] is old["b"]


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9, 0.999])
def test_a_running_average_follows_faster_at_first(decay: float):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(STEPS * 6, 3)).astype(np.float32)
    average: Any = {"a": {"b": np.zeros(3, np.float32)}}
    expected, kept = np.zeros(3), 0.0
    move = jax.jit(partial(ema, decay=decay))
    for step, value in enumerate(values):
        average = move(average, {"a": {"b": value}}, step=np.int32(step))
        kept = min(decay, (1 + step) / (10 + step))
        expected = kept * expected + (1 - kept) * value
        # An average is at most as large as the largest value; each step rounds it a
        # few times to 6e-8 of that, and a tenth or less of the error is forgotten.
        np.testing.assert_allclose(average["a"]["b"], expected, rtol=0, atol=5e-6)
    assert kept == (decay if decay < 0.9 else min(decay, STEPS * 6 / (STEPS * 6 + 9)))
    assert average["a"]["b"].dtype == np.float32


def test_a_running_average_of_what_stays_does_not_move():
    values = {"a": np.float32([0.1, -0.3, 1e-30, 3e7])}
    average = ema(values, values, 0.999, jnp.int32(1000))
    assert np.array_equal(average["a"], values["a"])


def test_the_drops_of_plateau_end_with_their_phase():
    config = dataclasses.replace(CONFIGS["sgd"], schedule="plateau", drop_epochs=1)
    before, after = optimizers(config, UNFREEZE)
    params = nested(START)
    state = before.init(params)
    grads = jax.tree.map(jnp.zeros_like, params)
    for _ in range(4 * EPOCH):  # the loss never falls
        _, state = before.update(grads, state, params, value=jnp.float32(1.0))
    assert float(plateau_scale(state)) < 0.2
    assert float(plateau_scale(carry(state, after.init(params)))) == 1
