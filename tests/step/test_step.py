"""The compiled step: one trace, donated buffers, exact freezing, any device count."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from first_phase import first_phase
from flax.core import FrozenDict

from jft import tree
from jft.config import AugmentConfig, OptimConfig, TrainConfig
from jft.devices import Devices, get_devices
from jft.models import CIFAR_PREPROCESS, ModelSpec
from jft.step import StepSpec, TrainState, make_eval_step, make_train_step, trained
from jft.tasks import Classification
from jft.weights.pretrained import Pretrained
from jft.weights.report import LoadReport

CLASSES = 10
ONE = Devices("jit", (jax.devices()[0],))


@dataclass
class Setup:
    """A step ready to run, and the state it starts from (on the host)."""

    step_spec: StepSpec
    state: TrainState


@cache
def variables_of(spec: ModelSpec, seed: int = 0) -> FrozenDict[str, Any]:
    """Return random variables whose statistics are no longer 0 and 1."""
    model = spec.build(CLASSES)
    key = jax.random.key(seed, impl="rbg")
    init = jax.jit(model.init)(key, jnp.zeros((1, 32, 32, 3)))
    draw = np.random.default_rng(seed)
    stats = {
        name: (np.abs(leaf) + draw.uniform(0.1, 0.5, leaf.shape)).astype(np.float32)
        for name, leaf in tree.flatten(init["batch_stats"]).items()
    }
    return FrozenDict(params=init["params"], batch_stats=tree.unflatten(stats))


def _backbone(spec: ModelSpec) -> tuple[str, ...]:
    """Return the parameters that pretrained weights are said to have given."""
    names = tree.flatten({"params": variables_of(spec)["params"]})
    return tuple(name for name in names if not name.startswith("params/head/"))


def setup(
    spec: ModelSpec,
    rule: str = "none",
    devices: Devices = ONE,
    config: OptimConfig | None = None,
    augment: AugmentConfig | None = None,
    **rules: Any,
) -> Setup:
    """Build the training step of the first phase around random weights."""
    pretrained = Pretrained(
        spec=spec,
        model=spec.build(CLASSES),
        variables=variables_of(spec),
        preprocess=CIFAR_PREPROCESS,
        report=LoadReport("", "", loaded=_backbone(spec), reinitialised=()),
    )
    rules_of_run = TrainConfig(
        freeze=rule,
        epochs=10,
        label_smoothing=0.0,
        augment=augment or AugmentConfig(crop_padding=0),
        optim=config or OptimConfig(schedule="constant"),
        **rules,
    )
    task = Classification(class_names=tuple("abcdefghij"[:CLASSES]))
    return Setup(*first_phase(rules_of_run, pretrained, devices, task, 10))


def batch_of(
    size: int, real: int | None = None, seed: int = 1
) -> dict[str, np.ndarray]:
    """Return a random batch; examples from `real` on are padding."""
    draw = np.random.default_rng(seed)
    weight = np.ones(size, np.float32)
    weight[real:] = 0 if real is not None else 1
    return {
        "image": draw.integers(0, 256, (size, 32, 32, 3), np.uint8),
        "label": draw.integers(0, CLASSES, size, np.int32),
        "weight": weight,
        "id": np.arange(size, dtype=np.int32),
    }


def gradients(state: TrainState) -> Mapping[str, Any]:
    """Return the first step's gradients, which momentum holds as they were."""

    def is_trace(node: Any) -> bool:
        return isinstance(node, optax.TraceState)

    [trace] = filter(is_trace, jax.tree.leaves(state.opt_state, is_leaf=is_trace))
    flat = tree.flatten(trace.trace)
    return {n: x for n, x in flat.items() if not isinstance(x, optax.MaskedNode)}


def cost(spec: ModelSpec, rule: str, config: OptimConfig | None = None) -> Any:
    """Return the compiled training step under a freeze rule."""
    made = setup(spec, rule, config=config)
    step = jax.jit(make_train_step(made.step_spec), donate_argnums=0)
    return step.lower(made.state, batch_of(8)).compile()


def convolutions(compiled: Any) -> int:
    """Count the convolutions of a compiled step."""
    return len(re.findall(r" = \S+ convolution\(", compiled.as_text()))


def test_the_step_is_traced_once(tiny: ModelSpec):
    made = setup(tiny, augment=AugmentConfig(flip=True, crop_padding=2))
    traces = 0
    inner = make_train_step(made.step_spec)

    def counted(state: Any, batch: Any) -> Any:
        nonlocal traces
        traces += 1
        return inner(state, batch)

    step = ONE.compile(counted, donate=True)
    state = ONE.replicate(made.state)
    for seed in range(4):
        state, _ = step(state, ONE.put(batch_of(8, real=8 - seed, seed=seed)))
    assert traces == 1
    assert int(state.step) == 4


def test_the_state_is_donated(tiny: ModelSpec):
    made = setup(tiny)
    step = ONE.compile(make_train_step(made.step_spec), donate=True)
    state = ONE.replicate(made.state)
    step(state, ONE.put(batch_of(8)))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params))


@pytest.mark.parametrize("count", [2, 4, 8])
def test_first_gradients_are_the_same_on_any_number_of_devices(
    tiny: ModelSpec, count: int
):
    # The padding makes the devices' shares of the batch uneven.
    batch = batch_of(16, real=13)

    def first(devices: Devices) -> tuple[TrainState, Any]:
        made = setup(tiny, devices=devices)
        step = devices.compile(make_train_step(made.step_spec))
        state, sums = step(devices.replicate(made.state), devices.put(batch))
        return devices.fetch(state), devices.fetch(sums)

    one, sums = first(ONE)
    many, many_sums = first(get_devices("pmap", count))
    for name, gradient in gradients(one).items():
        np.testing.assert_allclose(
            gradients(many)[name], gradient, rtol=0, atol=1e-6, err_msg=name
        )
    assert many_sums["n"] == sums["n"] == 13
    assert many_sums["accuracy"] == sums["accuracy"]
    np.testing.assert_allclose(many_sums["loss"], sums["loss"], rtol=1e-6)
    stats = zip(
        tree.flatten(many.batch_stats).values(),
        tree.flatten(one.batch_stats).values(),
        strict=True,
    )
    for there, here in stats:
        np.testing.assert_allclose(there, here, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("count", [2, 4, 8])
def test_evaluation_is_the_same_to_the_example_on_any_number_of_devices(
    tiny: ModelSpec, count: int
):
    variables = variables_of(tiny)
    batch = batch_of(64, real=61)

    def sums(devices: Devices) -> Any:
        model = tiny.build(CLASSES, axis_name=devices.axis_name)
        step = devices.compile(
            make_eval_step(model, Classification(), CIFAR_PREPROCESS)
        )
        return devices.fetch(step(devices.replicate(variables), devices.put(batch)))

    one, many = sums(ONE), sums(get_devices("pmap", count))
    assert many["n"] == one["n"] == 61
    assert many["accuracy"] == one["accuracy"]
    assert many["top5"] == one["top5"]
    np.testing.assert_allclose(many["loss"], one["loss"], rtol=1e-6)


@pytest.mark.thorough
def test_padding_does_not_change_a_step(tiny: ModelSpec):
    made = setup(tiny)
    step = ONE.compile(make_train_step(made.step_spec))
    padded = batch_of(16, real=11)
    cut = {name: value[:11] for name, value in padded.items()}
    with_padding, sums = step(made.state, padded)
    without, plain = step(made.state, cut)
    assert sums["n"] == plain["n"] == 11
    # Sums over 16 terms, 5 of them zero, are added up in another order than over 11.
    for name, gradient in gradients(without).items():
        np.testing.assert_allclose(
            gradients(with_padding)[name], gradient, rtol=0, atol=1e-6, err_msg=name
        )


@pytest.mark.parametrize("rule", ["until:stem", "until:stage1", "all-but:head"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_frozen_leaves_and_statistics_stay_the_same_bytes(
    tiny: ModelSpec, rule: str, optimizer: Any
):
    config = OptimConfig(
        name=optimizer,
        learning_rate=0.1,
        weight_decay=0.1,
        decay_rules="*=1",
        clip_norm=0.5,
        schedule="constant",
    )
    made = setup(tiny, rule, config=config)
    # -0.0 + 0.0 is +0.0: adding a zero update would already change the bytes.
    stem = tree.flatten(made.state.params)
    stem["stem/norm/bias"] = jnp.full_like(stem["stem/norm/bias"], -0.0)
    state = made.state.replace(params=FrozenDict(tree.unflatten(stem)))
    before = jax.tree.map(np.array, state)
    step = ONE.compile(make_train_step(made.step_spec))
    for seed in range(3):
        state, _ = step(state, batch_of(8, seed=seed))
    moving = trained(state.params, made.step_spec.lr_mults)
    for name, leaf in tree.flatten(state.params).items():
        same = np.asarray(leaf).tobytes() == tree.flatten(before.params)[name].tobytes()
        assert same == (name not in moving), name
    stored = made.step_spec.model.mode.stored
    for name, leaf in tree.flatten(state.batch_stats).items():
        old = tree.flatten(before.batch_stats)[name]
        same = np.asarray(leaf).tobytes() == old.tobytes()
        assert same == (name.rpartition("/")[0] in stored), name


def test_frozen_leaves_have_no_optimizer_state(tiny: ModelSpec):
    made = setup(tiny, "all-but:head", config=OptimConfig(name="adamw"))
    arrays = [x for x in jax.tree.leaves(made.state.opt_state) if x.ndim]
    head = 8 * CLASSES + CLASSES
    assert sum(x.size for x in arrays) == 2 * head


def test_cost_falls_with_the_frozen_part(tiny: ModelSpec):
    rules = ["none", "until:stem", "until:stage1", "all-but:head"]
    steps = [cost(tiny, rule) for rule in rules]
    forward = 5  # stem, two convolutions in each of two blocks
    # Behind the first trained convolution each one has a gradient for its kernel and,
    # but for the first, one for its input.
    assert [convolutions(s) for s in steps] == [
        forward + 5 + 4,
        forward + 4 + 3,
        forward + 2 + 1,
        forward,
    ]
    flops = [s.cost_analysis()["flops"] for s in steps]
    assert flops == sorted(flops, reverse=True)
    assert flops[-1] < 0.45 * flops[0]


@pytest.mark.parametrize("rule", ["until:stage1", "all-but:head"])
def test_clipping_and_the_logged_norm_do_not_bring_the_backward_pass_back(
    tiny: ModelSpec, rule: str
):
    # Every step logs the gradient norm. Without it, and without clipping:
    made = setup(tiny, rule)

    def silent(state: TrainState, batch: Any) -> TrainState:
        return make_train_step(made.step_spec)(state, batch)[0]

    bare = jax.jit(silent, donate_argnums=0).lower(made.state, batch_of(8)).compile()
    full = cost(tiny, rule, OptimConfig(schedule="constant", clip_norm=1.0))
    assert convolutions(full) == convolutions(bare)
    # Clipping, the norm and the metrics: a few operations per trained parameter, while
    # a living backward pass would be as large as the forward pass at least.
    extra = full.cost_analysis()["flops"] - bare.cost_analysis()["flops"]
    assert extra < 0.01 * bare.cost_analysis()["flops"]


def test_a_logged_norm_of_all_gradients_would_bring_it_back(
    tiny: ModelSpec, monkeypatch: pytest.MonkeyPatch
):
    sound = convolutions(cost(tiny, "all-but:head"))
    monkeypatch.setattr(
        "jft.step.training.trained", lambda params, rates: tree.flatten(params)
    )
    assert convolutions(cost(tiny, "all-but:head")) > sound


def test_devices_add_up_the_trained_gradients_alone(tiny: ModelSpec):
    devices = get_devices("pmap", 2)
    made = setup(tiny, "all-but:head", devices)
    step = devices.compile(make_train_step(made.step_spec))
    args = devices.replicate(made.state), devices.put(batch_of(8))
    text = step.lower(*args).compile().as_text()  # pyright: ignore[reportFunctionMemberAccess]
    shapes = re.findall(
        r"f32\[([\d,]*)\]",
        " ".join(re.findall(r" = (.*) all-reduce(?:-start)?\(", text)),
    )
    elements = sum(math.prod(int(n) for n in s.split(",") if n) for s in shapes)
    head = 8 * CLASSES + CLASSES
    # The weight, the loss, the task's four, and its two of each class.
    sums = 6 + 2 * CLASSES
    assert head <= elements <= head + sums
