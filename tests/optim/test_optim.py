"""Every optimizer against itself written out by hand, over twenty steps."""

import itertools
import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from unrolled import (
    EPOCH,
    FAINT,
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
    rate_at,
)

from jft import tree
from jft.config import OptimConfig
from jft.errors import InputError
from jft.optim.chain import decay_factors, make_optimizer
from jft.optim.schedules import learning_rate

FROZEN = {"stem/conv/kernel", "stem/norm/scale", "stem/norm/bias", "stage1/norm/bias"}
TRAINED = [name for name in SHAPES if name not in FROZEN]
WHOLE = {name: float(name not in FROZEN) for name in SHAPES}
SHARES = WHOLE | {
    "stage1/conv/kernel": 0.1,
    "stage1/norm/scale": 0.3,
    "stage2/conv/kernel": 0.5,
    "head/bias": 2.0,
}
# Not the leaf of small gradients, where the way back is a difference of roundings.
LOADED = frozenset(SHAPES) - {"head/kernel", "head/bias", FAINT}

# Rates at which twenty steps go a good way and no further: lion's and lars's steps
# have a size of their own.
RATES = dict(sgd=0.1, adamw=0.05, lion=0.02, lamb=0.05, lars=1.0, muon=0.05)
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "clip": {"clip_norm": 3.0},
    "decay": {"weight_decay": 0.5, "decay_rules": "head/*=0,stage1/*=0.5,*/kernel=1"},
    "l2_sp": {"l2_sp": 1.0},
    "plateau": {"schedule": "plateau", "drop_epochs": 1, "drop_factor": 0.5},
    "shares": {},
}
KERNELS = {name: 1.0 for name in SHAPES if name.endswith("/kernel")}
FACTORS = {
    "stage1/conv/kernel": 0.5,
    "stage1/norm/scale": 0.5,
    "stage2/conv/kernel": 1.0,
}

# float32 against float64: each of 20 steps rounds values of size ~1 a few times to
# 6e-8, and momentum adds up to ten steps' worth: 20 * 10 * 6e-8. Adam's correction
# 1 - 0.999**t is off by up to 6e-8 / (0.001 t) of itself, which its root halves: twenty
# steps of 0.05 are off by 0.05 * 3e-5 * (1 + 1/2 + ... + 1/20) = 5e-6, which is less.
TOLERANCE = 1.2e-5


def config_of(name: str, *parts: str, **changes: Any) -> OptimConfig:
    given: dict[str, Any] = {"learning_rate": RATES[name], "warmup_epochs": 1.0}
    for part in parts:
        given |= SETTINGS[part]
    return OptimConfig(name=name, **given | changes)


def build(
    config: OptimConfig, shares: Mapping[str, float] = WHOLE
) -> optax.GradientTransformationExtraArgs:
    rate = learning_rate(config, steps=STEPS, steps_per_epoch=EPOCH)
    return make_optimizer(
        config,
        rate,
        nested(shares),
        steps_per_epoch=EPOCH,
        loaded={name: name in LOADED for name in SHAPES},
    )


def loss_at(step: int) -> float:
    """Return a loss whose mean falls, stays, falls, and falls by too little."""
    return [3.0, 2.0, 2.0, 1.0, 0.99995][step // EPOCH] + 0.5 * (step % EPOCH)


def run(
    config: OptimConfig, shares: Mapping[str, float] = WHOLE
) -> tuple[Flat, list[Flat], Any]:
    """Return the parameters after all steps, every step's updates, and the state.

    Were the frozen gradients part of the norm that is clipped, the trained part would
    hardly move.
    """
    transform = build(config, shares)
    update = quickly(transform.update)
    params = nested(START)
    state = transform.init(params)
    history: list[Flat] = []
    for step in range(STEPS):
        grads = gradient(as_numpy(params), step)
        grads |= {name: 1e3 * grads[name] for name in FROZEN}
        loss = np.float32(loss_at(step))
        updates, state = update(nested(grads), state, params, value=loss)
        params = optax.apply_updates(params, updates)
        history.append(as_numpy(updates))
    return as_numpy(params), history, state


def unroll(
    config: OptimConfig,
    shares: Mapping[str, float] = WHOLE,
    order: tuple[str, ...] | None = None,
) -> tuple[Flat, Unrolled]:
    """Return the parameters after all steps in float64, and what moved them."""
    decay = FACTORS if config.weight_decay else KERNELS
    by_hand = Unrolled(config, decay, LOADED, order or ORDER[config.name])
    params: Flat = {n: leaf.astype(np.float64) for n, leaf in START.items()}
    for step in range(STEPS):
        grads = gradient(params, step)
        params = by_hand.update(params, grads, shares, loss_at(step))
    return params, by_hand


@pytest.mark.parametrize(
    "parts",
    [("plain",), ("clip", "plateau"), ("decay", "l2_sp"), ("shares",), (*SETTINGS,)],
    ids=["plain", "clip, plateau", "decay, l2_sp", "shares", "all"],
)
@pytest.mark.parametrize("name", RATES)
def test_twenty_steps_equal_the_update_written_out_by_hand(
    name: str, parts: tuple[str, ...]
):
    config = config_of(name, *parts)
    shares = SHARES if "shares" in parts else WHOLE
    params, history, _ = run(config, shares)
    expected, by_hand = unroll(config, shares)
    if config.clip_norm:
        assert 0 < sum(by_hand.clipped) < STEPS
    # No sign of lion's hangs on a rounding, which is about 1e-6 of the largest.
    assert by_hand.smallest > 1e-5
    for leaf in TRAINED:
        np.testing.assert_allclose(params[leaf], expected[leaf], rtol=0, atol=TOLERANCE)
        moved = np.abs(expected[leaf] - START[leaf]).max()
        assert moved > 100 * TOLERANCE or (leaf == FAINT and name in ("sgd", "lars"))
    for leaf in FROZEN:
        assert all(np.array_equal(u[leaf], np.zeros(SHAPES[leaf])) for u in history)
        assert np.array_equal(params[leaf], START[leaf])


# Two sums, or two factors, are the same in either order.
SAME = [{"decay", "pull"}, {"share", "rate", "plateau"}]


@pytest.mark.parametrize("name", RATES)
def test_every_other_order_would_be_noticed(name: str):
    config, order = config_of(name, *SETTINGS), ORDER[name]
    right, _ = unroll(config, SHARES)
    tried = 0
    for first, second in itertools.combinations(order, 2):
        if any({first, second} <= same for same in SAME):
            continue
        swap = {first: second, second: first}
        wrong, _ = unroll(config, SHARES, tuple(swap.get(p, p) for p in order))
        distance = max(np.abs(right[n] - wrong[n]).max() for n in TRAINED)
        assert distance > 100 * TOLERANCE, (first, second)
        tried += 1
    assert tried == math.comb(len(order), 2) - 1 - 3


SIZES = {name: math.prod(shape) for name, shape in SHAPES.items()}
ELEMENTS = sum(SIZES[name] for name in TRAINED)
INNER = SIZES["stage1/conv/kernel"] + SIZES["stage2/conv/kernel"]


@pytest.mark.parametrize(
    ("name", "elements"),
    [
        ("sgd", ELEMENTS),
        # Two moments and the steps they have seen.
        ("adamw", 2 * ELEMENTS + 1),
        ("lion", ELEMENTS + 1),
        ("lamb", 2 * ELEMENTS + 1),
        ("lars", ELEMENTS),
        # One moment of the inner kernels, their steps, and three coefficients; both
        # moments of the others, and their steps.
        ("muon", INNER + 1 + 3 + 2 * (ELEMENTS - INNER) + 1),
    ],
)
@pytest.mark.parametrize(
    ("part", "more"),
    [
        ("plain", 0),
        ("clip", 0),
        ("decay", 0),
        # A copy of what is trained and was loaded.
        ("l2_sp", sum(SIZES[name] for name in TRAINED if name in LOADED)),
        # The best and the mean loss, the factor, and three counts.
        ("plateau", 6),
    ],
)
def test_the_state_has_what_the_trained_leaves_need_and_no_more(
    name: str, elements: int, part: str, more: int
):
    state = build(config_of(name, part)).init(nested(START))
    leaves = jax.tree_util.tree_leaves_with_path(state)
    # And the schedule's step.
    assert sum(int(leaf.size) for _, leaf in leaves) == elements + more + 1
    assert {leaf.dtype.name for _, leaf in leaves} == {"float32", "int32"}
    for path, leaf in leaves:
        place = jax.tree_util.keystr(path, simple=True, separator="/")
        names = [name for name in TRAINED if place.endswith(f"/{name}")]
        assert [leaf.shape] == [SHAPES[name] for name in names] or leaf.size in (1, 3)


def test_the_anchors_of_l2_sp_are_copies():
    params = jax.tree.map(jnp.asarray, nested(START))
    state = build(config_of("sgd", l2_sp=1.0)).init(params)
    anchor = optax.tree.get(state, "anchor")["stage1"]["conv"]["kernel"]
    kernel = params["stage1"]["conv"]["kernel"]
    assert np.array_equal(anchor, kernel)
    # The step donates the parameters: a buffer that is also in the state would be
    # given away twice.
    assert anchor.unsafe_buffer_pointer() != kernel.unsafe_buffer_pointer()


def test_without_word_of_it_all_began_together_and_all_is_loaded():
    config = config_of("adamw", l2_sp=1.0)
    rate = learning_rate(config, steps=STEPS, steps_per_epoch=EPOCH)
    make = partial(make_optimizer, config, rate, nested(WHOLE), steps_per_epoch=EPOCH)
    stated = make(
        trained_from=dict.fromkeys(SHAPES, 0), loaded=dict.fromkeys(SHAPES, True)
    )
    plain, params = make(), nested(START)
    grads = nested(gradient(START, 0))
    # Equal, or of another structure, which raises.
    assert jax.tree.all(
        jax.tree.map(
            np.array_equal,
            quickly(plain.update)(grads, plain.init(params), params),
            quickly(stated.update)(grads, stated.init(params), params),
        )
    )


@pytest.mark.parametrize("name", ["sgd", "adamw", "lion", "muon"])
def test_decay_alone_shrinks_by_the_product_of_its_steps(name: str):
    config = config_of(name, "decay")
    transform, params = build(config), nested(START)
    state, update = transform.init(params), quickly(transform.update)
    zeros = jax.tree.map(np.zeros_like, params)
    for _ in range(STEPS):
        updates, state = update(zeros, state, params)
        params = optax.apply_updates(params, updates)
    rates = [rate_at(config, step, steps=STEPS, epoch=EPOCH) for step in range(STEPS)]
    for leaf, end in as_numpy(params).items():
        strength = 0.5 * FACTORS.get(leaf, 0.0)
        shrunk = math.prod(1 - rate * strength for rate in rates)
        assert (shrunk < 0.97) == (leaf in FACTORS)
        # 20 products in float32, each rounded by at most 6e-8.
        np.testing.assert_allclose(end, START[leaf] * shrunk, rtol=2e-6, atol=0)


def factors_of(rules: str, names: list[str]) -> dict[str, float]:
    return decay_factors(tree.parse_rules(rules, what="optim.decay_rules"), names)


def test_decay_is_by_the_first_rule_that_matches_and_nothing_without_one():
    names = list(SHAPES)
    default = factors_of(OptimConfig().decay_rules, names)
    assert default == {name: float(name.endswith("/kernel")) for name in SHAPES}
    found = factors_of(SETTINGS["decay"]["decay_rules"], names)
    assert found["stage1/norm/bias"] == 0.5
    assert found == dict.fromkeys(SHAPES, 0.0) | FACTORS | {
        "stem/conv/kernel": 1.0,
        "stage1/norm/bias": 0.5,
    }


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("*/kernal=1", r"optim.decay_rules: no parameter matches\n- '\*/kernal'"),
        ("stage1/norm/scal=1", "did you mean 'stage1/norm/scale'"),
        ("*/kernel", r"optim.decay_rules must be PATTERN=NUMBER .*\n- '\*/kernel'"),
        ("*/kernel=-1", r"at least 0\n- '\*/kernel=-1'"),
        ("*=1,head/*=0", r"optim.decay_rules: .*\n- 'head/\*' after '\*'"),
    ],
)
def test_decay_rules_that_do_not_fit_are_refused(rules: str, message: str):
    with pytest.raises(InputError, match=message):
        factors_of(rules, list(SHAPES))
    with pytest.raises(InputError, match=message):
        build(config_of("sgd", decay_rules=rules))
