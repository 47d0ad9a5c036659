"""The learning rate as a function of the step."""

import jax
import jax.numpy as jnp
import optax

from jft.config import OptimConfig

# One-cycle as fastai and optax have it: the peak over the first value, the first over
# the last, and the fraction of the run in which it rises.
_START, _END, _RISE = 25.0, 1e4, 0.3


def learning_rate(
    config: OptimConfig, *, steps: int, steps_per_epoch: int, peak: float | None = None
) -> optax.Schedule:
    """Return the learning rate as a function of the step.

    All but one-cycle rise linearly from zero over the warm-up and are at the peak after
    it. Then cosine and linear fall, to zero at the end of the run. step drops at every
    `drop_epochs`-th epoch counted from the first, those of the warm-up included, so
    that drops fall between epochs. plateau stays, as constant does: its drops depend on
    the loss, and `jft.optim.chain` makes them.

    one-cycle rises from 1/25 of the peak, and falls to 1/250,000 of it at the end of
    the run, both as half a cosine. Its rise takes the warm-up, or 30 % of the run if
    there is none. Momentum is constant; the paper cycles it too.

    Sources: Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983, without
    restarts; Smith and Topin 2017, https://arxiv.org/abs/1708.07120, in the form of
    fastai and `optax.cosine_onecycle_schedule`.

    Args:
        config: Peak, shape, warm-up and drops.
        steps: Length of the run in steps.
        steps_per_epoch: Steps per epoch, in which warm-up and drops are stated.
        peak: Peak learning rate. None takes that of `config`.

    Returns:
        A function of the step, an integer or a float of any kind; float32.
    """
    warmup = round(config.warmup_epochs * steps_per_epoch)
    peak = config.learning_rate if peak is None else peak
    if config.schedule == "one-cycle":
        return _of_float(_one_cycle(peak, warmup or int(_RISE * steps), steps))
    fall = max(steps - warmup, 1)
    every = config.drop_epochs * steps_per_epoch
    after = {
        "cosine": lambda: optax.cosine_decay_schedule(peak, fall),
        "linear": lambda: optax.linear_schedule(peak, 0.0, fall),
        "step": lambda: _drops(peak, config.drop_factor, every, begin=warmup),
        "plateau": lambda: optax.constant_schedule(peak),
        "constant": lambda: optax.constant_schedule(peak),
    }[config.schedule]()
    if warmup:
        rise = optax.linear_schedule(0.0, peak, warmup)
        after = optax.join_schedules([rise, after], [warmup])
    return _of_float(after)


def _of_float(schedule: optax.Schedule) -> optax.Schedule:
    # optax divides the step as it is, which strict dtype promotion refuses for ints.
    return lambda step: jnp.asarray(schedule(jnp.asarray(step, jnp.float32)))


def _one_cycle(peak: float, rise: int, steps: int) -> optax.Schedule:
    up = optax.cosine_decay_schedule(peak / _START, max(rise, 1), alpha=_START)
    fall = max(steps - rise, 1)
    down = optax.cosine_decay_schedule(peak, fall, alpha=1 / (_START * _END))
    return optax.join_schedules([up, down], [rise])


def _drops(peak: float, factor: float, every: int, begin: int) -> optax.Schedule:
    """Return a schedule whose step 0 is step `begin` of the run."""

    def schedule(step: jax.typing.ArrayLike) -> jax.Array:
        # In whole numbers: a rounded quotient could drop a step early or late.
        drops = (jnp.asarray(step, jnp.int32) + begin) // every
        return peak * jnp.power(factor, drops.astype(jnp.float32))

    return schedule
