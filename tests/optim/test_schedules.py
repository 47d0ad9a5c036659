"""Learning rates against their formulas, at every step of a run and after it."""

import dataclasses
import math
from typing import Any, get_args, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from unrolled import EPOCH, START, STEPS, nested, quickly, rate_at

from jft.config import OptimConfig
from jft.optim.chain import make_optimizer, plateau_scale
from jft.optim.schedules import learning_rate

SCHEDULES = get_args(get_type_hints(OptimConfig)["schedule"])
PEAK = 0.4
# float32: cosines near their end, the division by the warm-up and a power are off by a
# few roundings of the peak, 6e-8 each.
CLOSE = PEAK * 5e-7


def config_of(schedule: Any, **changes: Any) -> OptimConfig:
    given = {"learning_rate": PEAK, "drop_epochs": 1, "drop_factor": 0.3} | changes
    return OptimConfig(schedule=schedule, **given)


@pytest.mark.parametrize("warmup", [0.0, 0.5, 1.0, 2.6])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_learning_rate_is_the_formula_at_every_step(schedule: str, warmup: float):
    config = config_of(schedule, warmup_epochs=warmup)
    rate = learning_rate(config, steps=STEPS, steps_per_epoch=EPOCH)
    steps = range(STEPS + 5)
    expected = [rate_at(config, step, steps=STEPS, epoch=EPOCH) for step in steps]
    np.testing.assert_allclose(rate(np.array(steps)), expected, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_step_is_any_integer_or_float_compiled_or_not(schedule: str):
    config = config_of(schedule, warmup_epochs=1.0)
    rate = learning_rate(config, steps=STEPS, steps_per_epoch=EPOCH)
    compiled = jax.jit(rate)
    for step in (2, 9, STEPS):
        for same in (step, np.int32(step), jnp.int32(step), np.float32(step)):
            assert rate(same).dtype == np.float32
            assert rate(same) == rate(float(step))
        expected = float(rate(step))
        assert float(compiled(jnp.int32(step))) == pytest.approx(expected, abs=CLOSE)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_another_peak_takes_the_place_of_that_of_the_settings(schedule: str):
    config = config_of(schedule, warmup_epochs=1.0)
    lengths, steps = {"steps": STEPS, "steps_per_epoch": EPOCH}, np.arange(STEPS + 1)
    other = dataclasses.replace(config, learning_rate=0.03)
    rates = learning_rate(config, peak=0.03, **lengths)(steps)
    assert np.array_equal(rates, learning_rate(other, **lengths)(steps))
    expected = [rate_at(other, step, steps=STEPS, epoch=EPOCH) for step in steps]
    np.testing.assert_allclose(rates, expected, rtol=0, atol=CLOSE)


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        # The step of the end of the warm-up, the middle of what follows, and the end.
        ("cosine", {0: 0.0, 1: 0.1, 3: 0.3, 4: 0.4, 12: 0.2, 20: 0.0, 25: 0.0}),
        ("linear", {0: 0.0, 1: 0.1, 3: 0.3, 4: 0.4, 12: 0.2, 20: 0.0, 25: 0.0}),
        # Drops by 0.1 every two epochs of the run, not of what follows the warm-up.
        ("step", {0: 0.0, 3: 0.3, 4: 0.4, 7: 0.4, 8: 0.04, 15: 0.04, 16: 0.004}),
        ("one-cycle", {0: 0.016, 2: 0.208, 4: 0.4, 12: 0.2000008, 20: 0.0000016}),
        ("plateau", {0: 0.0, 3: 0.3, 4: 0.4, 25: 0.4}),
        ("constant", {0: 0.0, 3: 0.3, 4: 0.4, 25: 0.4}),
    ],
)
def test_a_few_values_are_known_by_heart(schedule: str, values: dict[int, float]):
    config = config_of(schedule, warmup_epochs=1.0, drop_epochs=2, drop_factor=0.1)
    rate = learning_rate(config, steps=STEPS, steps_per_epoch=EPOCH)
    got = {step: float(rate(step)) for step in values}
    assert got == pytest.approx(values, rel=0, abs=CLOSE)


@pytest.mark.parametrize("steps", [1, 10, 33])
def test_without_warmup_one_cycle_is_that_of_optax(steps: int):
    rate = learning_rate(config_of("one-cycle"), steps=steps, steps_per_epoch=EPOCH)
    theirs = jax.vmap(optax.cosine_onecycle_schedule(steps, PEAK))
    with jax.numpy_dtype_promotion("standard"):
        expected = theirs(np.arange(steps + 2))
    # Theirs adds up twice as many terms.
    got = rate(np.arange(steps + 2))
    np.testing.assert_allclose(got, expected, rtol=0, atol=2 * CLOSE)


@pytest.mark.parametrize("schedule", [s for s in SCHEDULES if s != "one-cycle"])
def test_without_warmup_the_first_step_has_the_peak(schedule: str):
    rate = learning_rate(config_of(schedule), steps=STEPS, steps_per_epoch=EPOCH)
    assert float(rate(0)) == np.float32(PEAK)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_warmup_may_round_to_the_whole_run(schedule: str):
    config = config_of(schedule, warmup_epochs=0.99)
    rate = learning_rate(config, steps=EPOCH, steps_per_epoch=EPOCH)
    steps = range(EPOCH + 1)
    expected = [rate_at(config, step, steps=EPOCH, epoch=EPOCH) for step in steps]
    np.testing.assert_allclose(rate(np.array(steps)), expected, rtol=0, atol=CLOSE)


@pytest.mark.parametrize(("every", "epoch"), [(3, 7), (1, 49), (10, 391)])
def test_step_drops_between_epochs_in_long_runs_too(every: int, epoch: int):
    config = config_of("step", drop_epochs=every, drop_factor=0.99)
    rate = jax.jit(learning_rate(config, steps=10**6, steps_per_epoch=epoch))
    for drop in (1, 2, 3, 5, 41):
        before, after = (
            float(rate(jnp.int32(drop * every * epoch - i))) for i in (1, 0)
        )
        assert before == pytest.approx(PEAK * 0.99 ** (drop - 1), rel=1e-5)
        assert after == pytest.approx(PEAK * 0.99**drop, rel=1e-5)


def build(config: OptimConfig) -> optax.GradientTransformationExtraArgs:
    rate = learning_rate(config, steps=STEPS, steps_per_epoch=EPOCH)
    rates = jax.tree.map(lambda leaf: 1.0, nested(START))
    return make_optimizer(config, rate, rates, steps_per_epoch=EPOCH)


@pytest.mark.parametrize(("patience", "end"), [(1, 1e-5), (2, 1e-2), (3, 1e-1)])
def test_plateau_drops_after_so_many_epochs_without_a_lower_mean(
    patience: int, end: float
):
    means = [3.0, 2.0, 2.0, 2.5, 1.0, 1.0, 0.99995, 1.5, 0.5]
    # Half of an epoch twice as high as its mean, half at zero.
    losses = [loss for mean in means for loss in (2 * mean, 2 * mean, 0.0, 0.0)]
    config = config_of("plateau", momentum=0.0, drop_epochs=patience, drop_factor=0.1)
    transform, params = build(config), nested(START)
    state, update = transform.init(params), quickly(transform.update)
    ones = jax.tree.map(np.ones_like, params)
    factor, best, bad = 1.0, math.inf, 0
    for step, loss in enumerate(losses):
        updates, state = update(ones, state, params, value=np.float32(loss))
        if step % EPOCH == EPOCH - 1:
            mean = sum(losses[step - 3 : step + 1]) / EPOCH
            # Less than a ten thousandth is no improvement, as in torch and optax.
            best, bad = (mean, 0) if mean < 0.9999 * best else (best, bad + 1)
            if bad == patience:
                factor, bad = 0.1 * factor, 0
        # Up to six products in float32, each rounded by at most 6e-8.
        assert float(plateau_scale(state)) == pytest.approx(factor, rel=4e-7)
        moves = np.unique(np.concatenate([x.ravel() for x in jax.tree.leaves(updates)]))
        assert moves == pytest.approx(np.array([-PEAK * factor]), rel=4e-7)
    assert factor == pytest.approx(end)


def test_other_schedules_have_no_factor_of_plateau():
    assert plateau_scale(build(config_of("constant")).init(nested(START))) == 1.0


def test_plateau_asks_for_the_loss():
    params = nested(START)
    transform = build(config_of("plateau"))
    with pytest.raises(TypeError, match="value"):
        jax.eval_shape(transform.update, params, transform.init(params), params)
