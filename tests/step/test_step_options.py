"""What a training step may do beside: accumulate, sharpen, average, hold out, mix."""

from typing import Any

import jax
import numpy as np
import pytest
from test_step import CLASSES, ONE, batch_of, gradients, setup

from jft import tree
from jft.config import AugmentConfig, OptimConfig
from jft.devices import Devices, get_devices
from jft.models import ModelSpec
from jft.optim import chain
from jft.step import gradients as gradients_of
from jft.step import make_train_step, prepare, trained

pytestmark = pytest.mark.thorough

# Gradients of size 1 in float32, added up in another order: as tests/step/test_step.py.
CLOSE = {"rtol": 0, "atol": 1e-6}
PLAIN = {"schedule": "constant"}


def once(made: Any, batch: Any, devices: Devices = ONE) -> tuple[Any, Any]:
    """Return the state after one step, and its sums, both on the host."""
    step = devices.compile(make_train_step(made.step_spec))
    state, sums = step(devices.replicate(made.state), devices.put(batch))
    return devices.fetch(state), devices.fetch(sums)


def assert_close(first: Any, second: Any, **tolerance: float) -> None:
    first, second = tree.flatten(first), tree.flatten(second)
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_allclose(
            first[name], second[name], **(tolerance or CLOSE), err_msg=name
        )


@pytest.mark.parametrize("parts", [2, 4])
@pytest.mark.parametrize("real", [8, 3])
def test_parts_of_a_batch_add_up_to_the_whole(tiny: ModelSpec, parts: int, real: int):
    # By stored statistics, images do not affect each other. With three real images
    # some parts are padding alone.
    batch = batch_of(8, real=real)
    whole, sums = once(setup(tiny, norm="stored"), batch)
    config = OptimConfig(**PLAIN, accumulate=parts)
    made = setup(tiny, config=config, norm="stored")
    split, split_sums = once(made, batch)
    assert_close(gradients(split), gradients(whole))
    for name, value in sums.items():
        np.testing.assert_allclose(split_sums[name], value, rtol=1e-5, err_msg=name)


def test_each_part_moves_the_statistics_on(tiny: ModelSpec):
    batch = batch_of(8)
    config = OptimConfig(**PLAIN, accumulate=2)
    made = setup(tiny, config=config)
    moved, _ = once(made, batch)
    halves = [{n: x[i : i + 4] for n, x in batch.items()} for i in (0, 4)]
    state = made.state
    for half in halves:
        one = setup(tiny)
        after, _ = once(type(one)(one.step_spec, state), half)
        state = state.replace(batch_stats=after.batch_stats)
    assert_close(moved.batch_stats, state.batch_stats, rtol=1e-5, atol=1e-6)


def test_a_part_that_is_padding_alone_moves_no_statistics(tiny: ModelSpec):
    config = OptimConfig(**PLAIN, accumulate=2)
    made = setup(tiny, config=config)
    after, _ = once(made, batch_of(8, real=4))
    alone = setup(tiny)
    half = {name: value[:4] for name, value in batch_of(8).items()}
    expected, _ = once(alone, half)
    assert_close(after.batch_stats, expected.batch_stats, rtol=1e-5, atol=1e-6)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(after.params))


@pytest.mark.parametrize("rule", ["none", "until:stage1"])
def test_the_sharp_gradient_is_that_of_the_point_uphill(tiny: ModelSpec, rule: str):
    batch, radius = batch_of(8), 0.1
    plain = setup(tiny, rule)
    flat, _ = once(plain, batch)
    grads = gradients(flat)
    norm = np.sqrt(sum(np.sum(np.square(g, dtype=np.float64)) for g in grads.values()))
    there = {
        name: leaf + np.float32(radius / norm) * grads[name]
        if name in grads
        else np.asarray(leaf)
        for name, leaf in tree.flatten(plain.state.params).items()
    }
    moved = plain.state.replace(params=plain.state.params.copy(tree.unflatten(there)))
    uphill, _ = once(type(plain)(plain.step_spec, moved), batch)
    made = setup(tiny, rule, config=OptimConfig(**PLAIN, sam=radius))
    sharp, _ = once(made, batch)
    # The step uphill is rounded once more here than there.
    assert_close(gradients(sharp), gradients(uphill), rtol=0, atol=1e-5)
    distance = max(np.abs(gradients(sharp)[n] - grads[n]).max() for n in grads)
    assert distance > 1e-3
    # Statistics follow the network as it is.
    assert_close(sharp.batch_stats, flat.batch_stats)


def test_averages_follow_what_moves_and_are_what_is_evaluated(tiny: ModelSpec):
    made = setup(tiny, "until:stem", config=OptimConfig(**PLAIN, ema=0.5))
    start = {"params": made.state.params, "batch_stats": made.state.batch_stats}
    average = {name: np.asarray(x) for name, x in tree.flatten(start).items()}
    moving = {n for n in average if "/stem/" not in n}
    state = made.state
    step = ONE.compile(make_train_step(made.step_spec))
    for t in range(4):
        state, _ = step(state, batch_of(8, seed=t))
        kept = min(0.5, (1 + t) / (10 + t))
        now = tree.flatten({"params": state.params, "batch_stats": state.batch_stats})
        for name in moving:
            average[name] = kept * average[name] + (1 - kept) * np.asarray(now[name])
    assert set(state.ema) == moving
    # Four roundings of values of up to 10.
    assert_close(state.variables, tree.unflatten(average), rtol=1e-6, atol=1e-6)
    assert tree.digest(state.variables["params"]["stem"]) == tree.digest(
        state.params["stem"]
    )


def test_a_run_averages_what_its_first_phase_trains(tiny: ModelSpec):
    made = setup(tiny, "all-but:head", config=OptimConfig(**PLAIN, ema=0.9))
    assert set(made.state.ema) == {"params/head/kernel", "params/head/bias"}
    assert not setup(tiny).state.ema


def test_what_is_held_out_does_not_train(tiny: ModelSpec):
    made = setup(tiny, phases="1*none@0.1|0.01")
    assert made.step_spec.hold_out
    batch = batch_of(12)  # ids 0 and 10 are held out
    after, sums = once(made, batch)
    assert sums["n"] == 10
    weight = np.where(batch["id"] % 10 == 0, 0, 1).astype(np.float32)
    without, _ = once(setup(tiny), batch | {"weight": weight})
    assert_close(gradients(after), gradients(without))
    alone = {name: value[:1] for name, value in batch.items()}
    after, sums = once(made, alone)
    assert sums["n"] == 0
    assert all(not np.any(g) for g in gradients(after).values())
    assert_close(after.batch_stats, made.state.batch_stats)


@pytest.mark.parametrize("count", [2, 4])
def test_every_option_gives_the_same_on_any_number_of_devices(
    tiny: ModelSpec, count: int
):
    options: dict[str, Any] = {
        "config": OptimConfig(**PLAIN, sam=0.05, ema=0.9, clip_norm=1e3),
        "augment": AugmentConfig(mixup=0.4, cutmix=1.0, policy="trivial", erase=0.5),
        "drop_path": 0.3,
        "dropout": 0.3,
    }
    batch = batch_of(16, real=13)
    one, sums = once(setup(tiny, **options), batch)
    devices = get_devices("pmap", count)
    many, many_sums = once(setup(tiny, devices=devices, **options), batch, devices)
    # A step uphill magnifies what the first gradients differ by.
    assert_close(gradients(many), gradients(one), rtol=0, atol=1e-5)
    assert_close(many.batch_stats, one.batch_stats, rtol=1e-5, atol=1e-5)
    assert many_sums["n"] == sums["n"] == 13
    np.testing.assert_allclose(many_sums["loss"], sums["loss"], rtol=1e-5)


def test_pairs_are_learned_as_pairs(tiny: ModelSpec):
    made = setup(tiny, norm="stored", augment=AugmentConfig(crop_padding=0, mixup=1.0))
    batch = batch_of(8)
    inputs = prepare(made.step_spec, made.state, batch)
    target = np.asarray(inputs["target"])
    np.testing.assert_allclose(target.sum(axis=1), 1, atol=1e-6)
    assert ((target > 0).sum(axis=1) <= 2).all()
    assert (target.max(axis=1) < 1).any()
    _, sums = once(made, batch)
    plain = setup(tiny, norm="stored")
    logits = plain.step_spec.model.apply(made.state.variables, inputs["image"])
    logs = np.asarray(jax.nn.log_softmax(logits), np.float64)
    np.testing.assert_allclose(sums["loss"], -(target * logs).sum(), rtol=1e-5)


def test_computing_in_bfloat16_keeps_what_is_trained_in_float32(tiny: ModelSpec):
    made = setup(tiny, dtype="bfloat16", config=OptimConfig(**PLAIN, ema=0.9))
    after, _ = once(made, batch_of(8))
    kinds = {x.dtype.name for x in jax.tree.leaves((after.params, after.batch_stats))}
    assert kinds == {"float32"}
    plain, _ = once(setup(tiny), batch_of(8))
    exact, rounded = gradients(plain), gradients(after)
    off = sum(np.sum(np.square(rounded[n] - exact[n])) for n in exact)
    # bfloat16 has 8 bits: 0.4 % a rounding, through five layers and back.
    assert 0 < off < 0.1**2 * sum(np.sum(np.square(x)) for x in exact.values())


def test_the_learning_rate_in_the_log_includes_the_drops_of_plateau(tiny: ModelSpec):
    config = OptimConfig(schedule="plateau", learning_rate=0.1, drop_epochs=1)
    made = setup(tiny, config=config)
    state = jax.tree.map(lambda x: x, made.state)
    half = jax.tree.map(lambda x: x, state.opt_state)

    def is_plateau(node: Any) -> bool:
        return hasattr(node, "scale") and hasattr(node, "plateau_count")

    half = jax.tree.map(
        lambda n: n._replace(scale=n.scale * 0.5) if is_plateau(n) else n,
        half,
        is_leaf=is_plateau,
    )
    assert float(chain.plateau_scale(half)) == 0.5
    made.state = state.replace(opt_state=half)
    _, sums = once(made, batch_of(8))
    np.testing.assert_allclose(sums["learning_rate"] / sums["n"], 0.05, rtol=1e-6)


def test_the_loss_is_differentiated_by_the_trained_part_alone(tiny: ModelSpec):
    made = setup(tiny, "until:stage1")
    spec, state = made.step_spec, made.state
    inputs = prepare(spec, state, batch_of(8))
    inputs["loss_weight"] = inputs["weight"] / 8
    part = trained(state.params, spec.lr_mults)
    grads = gradients_of(spec, state, part, inputs).grads
    assert set(grads) == {n for n in part if n.split("/")[0] in ("stage2", "head")}
    assert grads["head/kernel"].shape == (8, CLASSES)
