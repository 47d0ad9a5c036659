"""The optimizer: one chain whose order is fixed here, not by the user."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from optax import contrib

from jft import tree
from jft.config import OptimConfig
from jft.optim.muon import scale_by_even_muon
from jft.types import Params

DECAY_RULES = "optim.decay_rules"


def make_optimizer(
    config: OptimConfig,
    learning_rate: optax.ScalarOrSchedule,
    lr_mults: Params,
    *,
    steps_per_epoch: int = 1,
    decay: Mapping[str, float] | None = None,
    trained_from: Mapping[str, Any] | None = None,
    loaded: Mapping[str, Any] | None = None,
    pretrained: Mapping[str, Any] | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Return the optimizer of the trained part; frozen leaves get zero and no state.

    The order is: clip the gradient; momentum or moments; decay, and L2-SP; lamb's trust
    ratio; learning-rate multipliers; learning rate; plateau's factor. In lars, whose
    momentum adds up steps instead of gradients, it comes last: clip, decay and L2-SP,
    trust ratio, multipliers, learning rate, plateau's factor, momentum. What
    `decay_rules` exclude, biases and norms by default, has no trust ratio, as in timm.

    Sources, each in the composition of `optax.alias`: sgd with decoupled decay and
    adamw, Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101; lion, Chen et
    al. 2023, https://arxiv.org/abs/2302.06675; lamb, You et al. 2020,
    https://arxiv.org/abs/1904.00962; lars, You et al. 2017,
    https://arxiv.org/abs/1708.03888; muon, Jordan 2024,
    https://kellerjordan.github.io/posts/muon; L2-SP, Li et al. 2018,
    https://arxiv.org/abs/1802.01483.

    Args:
        config: The optimizer's settings; `config.learning_rate` is not read.
        learning_rate: A number, or a schedule; the state counts the steps.
        lr_mults: Tree like the parameters of learning-rate multipliers, Python floats,
            from `FreezeSpec.lr_mults`; 0 is frozen.
        steps_per_epoch: Steps over which plateau averages the loss.
        decay: From `decay_factors`. None: those of `config.decay_rules`.
        trained_from: For each trained leaf, nested or by name, the number of the phase
            that its training began in. Those that began together have one step count
            of their bias correction. None: all began together.
        loaded: For each trained leaf, nested or by name, whether its first value is
            pretrained, and L2-SP pulls it back there. None: all are.
        pretrained: These values, nested or by name. None: those given to `init`.

    Returns:
        Its `update(grads, state, params, value=loss)` needs the mean loss of the batch
        for the plateau schedule alone.

    Raises:
        InputError: `decay_rules` does not fit the parameters.
    """
    if decay is None:
        rules = tree.parse_rules(config.decay_rules, what=DECAY_RULES)
        decay = decay_factors(rules, tree.flatten(lr_mults))
    clip = [optax.clip_by_global_norm(config.clip_norm)] if config.clip_norm else []
    regularise = [_decay(config.weight_decay, decay, lr_mults)]
    if config.l2_sp:
        mask = _of_trained(loaded, lr_mults, True)
        regularise.append(_l2_sp(config.l2_sp, mask, pretrained))
    speed = [_scale_each(lr_mults), optax.scale_by_learning_rate(learning_rate)]
    if config.schedule == "plateau":
        speed.append(_plateau(config, steps_per_epoch))
    if config.name == "lars":
        trust = _trust_ratio(decay, lr_mults, 0.001)
        parts = [*regularise, trust, *speed, optax.trace(config.momentum)]
    else:
        groups = _of_trained(trained_from, lr_mults, 0)
        lamb = config.name == "lamb"
        trust = [_trust_ratio(decay, lr_mults, 1.0)] if lamb else []
        parts = [_directions(config, lr_mults, groups), *regularise, *trust, *speed]
    return _trained_only(optax.chain(*clip, *parts), lr_mults)


def with_lr_mults(
    tx: optax.GradientTransformation, lr_mults: Params
) -> optax.GradientTransformationExtraArgs:
    """Return an optimizer of one's own, for the trained part alone.

    Args:
        tx: Any optax optimizer, its learning rate included.
        lr_mults: Multipliers of its updates, as in `make_optimizer`; frozen leaves get
            zero and no state.
    """
    return _trained_only(optax.chain(tx, _scale_each(lr_mults)), lr_mults)


def _trained_only(
    tx: optax.GradientTransformation, lr_mults: Params
) -> optax.GradientTransformationExtraArgs:
    """Put an optimizer inside the trained branch.

    Outside it, clipping would read the frozen gradients and bring their whole backward
    pass back, and decay would move frozen weights.
    """
    labels = jax.tree.map(lambda mult: "trained" if mult else "frozen", lr_mults)
    return optax.multi_transform({"trained": tx, "frozen": optax.set_to_zero()}, labels)


def _over_trained(value: Callable[[str], Any], lr_mults: Params) -> Any:
    """Return a tree of `value(name)` that has, like the chain's, no frozen leaf."""

    def at(path: Any, mult: float) -> Any:
        name = "/".join(key.key for key in path)
        return value(name) if mult else optax.MaskedNode()

    return jax.tree_util.tree_map_with_path(at, lr_mults)


def _of_trained(given: Mapping[str, Any] | None, lr_mults: Params, default: Any) -> Any:
    flat = None if given is None else tree.flatten(given)
    return _over_trained(lambda name: default if flat is None else flat[name], lr_mults)


def _directions(
    config: OptimConfig, lr_mults: Params, trained_from: Any
) -> optax.GradientTransformationExtraArgs:
    """Return momentum or moments, in a group for each value of `trained_from`.

    Each group counts its own steps. With the count of leaves that began earlier, bias
    correction would be too weak for moments that have just begun at zero.
    """
    labels = jax.tree.map(lambda phase: f"phase{phase}", trained_from)
    direction = {
        "sgd": lambda: optax.trace(config.momentum),
        "adamw": lambda: _promoting(optax.scale_by_adam()),
        "lion": lambda: optax.scale_by_lion(),
        "lamb": lambda: _promoting(optax.scale_by_adam(eps=1e-6)),
        "muon": lambda: _muon(config, lr_mults),
    }[config.name]()
    groups = sorted(set(jax.tree.leaves(labels)))
    return optax.multi_transform(dict.fromkeys(groups, direction), labels)


def _muon(
    config: OptimConfig, lr_mults: Params
) -> optax.GradientTransformationExtraArgs:
    """Return Muon's direction for kernels, and Adam's for the head and all else."""

    def label(name: str) -> str:
        inner = name.endswith("/kernel") and not name.startswith("head/")
        return "muon" if inner else "adam"

    muon, adam = scale_by_even_muon(config.momentum), optax.scale_by_adam()
    return optax.multi_transform(
        {"muon": _promoting(muon), "adam": _promoting(adam)},
        _over_trained(label, lr_mults),
    )


def _promoting(
    tx: optax.GradientTransformation,
) -> optax.GradientTransformationExtraArgs:
    """Let an optimizer mix ints and floats, as optax's Adam, Muon and plateau do."""
    inner = optax.with_extra_args_support(tx)

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        with jax.numpy_dtype_promotion("standard"):
            return inner.update(updates, state, params, **extra)

    return optax.GradientTransformationExtraArgs(inner.init, update)


def decay_factors(rules: tree.Rules, names: Iterable[str]) -> dict[str, float]:
    """Return what the weight decay of each parameter is multiplied by.

    Args:
        rules: Pairs of pattern and factor; the first that matches counts.
        names: '/'-joined names of all parameters, the frozen ones too.

    Returns:
        Factors by name; 0 where no pattern matches.

    Raises:
        InputError: A pattern decides no name.

    >>> rules = (("head/*", 0.0), ("*/kernel", 1.0))
    >>> decay_factors(rules, ["stem/kernel", "head/kernel"])
    {'stem/kernel': 1.0, 'head/kernel': 0.0}
    """
    names = list(names)
    found = tree.first_match(rules, names, what=DECAY_RULES)
    return {name: found.get(name, 0.0) for name in names}


def _trust_ratio(
    decay: Mapping[str, float], lr_mults: Params, coefficient: float
) -> optax.GradientTransformation:
    return optax.masked(
        optax.scale_by_trust_ratio(trust_coefficient=coefficient),
        _over_trained(lambda n: decay[n] != 0, lr_mults),
    )


def _decay(
    weight_decay: float, decay: Mapping[str, float], lr_mults: Params
) -> optax.GradientTransformation:
    strengths = _over_trained(lambda n: weight_decay * decay[n], lr_mults)

    def decayed(update: Any, param: Any, strength: float) -> Any:
        return update + strength * param if strength else update

    return optax.stateless(lambda u, p: jax.tree.map(decayed, u, p, strengths))


def _scale_each(lr_mults: Params) -> optax.GradientTransformation:
    mults = jax.tree.map(lambda mult: mult or optax.MaskedNode(), lr_mults)
    return optax.stateless(
        lambda updates, params: jax.tree.map(lambda u, m: m * u, updates, mults)
    )


class AnchorState(NamedTuple):
    """The values that L2-SP pulls back to."""

    anchor: Any


def _l2_sp(
    strength: float, loaded: Any, pretrained: Mapping[str, Any] | None
) -> optax.GradientTransformation:
    """Return decoupled decay of loaded leaves towards their pretrained values."""
    flat = None if pretrained is None else tree.flatten(pretrained)

    def init(params: Any) -> AnchorState:
        # Copies: the parameters' own buffers are donated to every step.
        def anchor(path: Any, leaf: Any) -> jax.Array:
            name = "/".join(key.key for key in path)
            return jnp.array(leaf if flat is None else flat[name])

        return AnchorState(jax.tree_util.tree_map_with_path(anchor, params))

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        pulled = jax.tree.map(
            lambda u, p, a: u + strength * (p - a), updates, params, state.anchor
        )
        return pulled, state

    return optax.masked(optax.GradientTransformation(init, update), loaded)


def _plateau(
    config: OptimConfig, steps_per_epoch: int
) -> optax.GradientTransformationExtraArgs:
    every, factor = config.drop_epochs, config.drop_factor
    return _promoting(
        contrib.reduce_on_plateau(factor, every, accumulation_size=steps_per_epoch)
    )


def _is_plateau(part: Any) -> bool:
    return isinstance(part, contrib.ReduceLROnPlateauState)


def plateau_scale(state: Any) -> Any:
    """Return what plateau multiplies the learning rate by; 1 under other schedules."""
    parts = jax.tree.leaves(state, is_leaf=_is_plateau)
    return next((part.scale for part in parts if _is_plateau(part)), 1.0)


def carry(old: Any, new: Any) -> Any:
    """Return an optimizer's first state with all that an earlier one knows already.

    For when a phase ends: momentum, moments, counts and anchors of what was trained
    before go on, and what is newly trained starts from zero.

    Args:
        old: State at the end of a phase.
        new: First state of the next one's optimizer, of the same settings.

    Returns:
        `new`, with each leaf replaced by the one at the same path of `old`, if there
        is one of the same shape; except plateau's, as schedules restart in every
        phase. Both may hold NumPy or device arrays.
    """
    known = dict(jax.tree_util.tree_leaves_with_path(old))

    def pick(path: Any, leaf: Any) -> Any:
        before = known.get(path)
        same = before is not None and np.shape(before) == np.shape(leaf)
        return before if same else leaf

    return jax.tree_util.tree_map_with_path(pick, new, is_leaf=_is_plateau)
