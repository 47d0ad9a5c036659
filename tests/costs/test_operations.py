"""Whose each convolution is: every family, and every way in which a step is built."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import pytest
from steps import (
    BATCH,
    CLASSES,
    IMAGE,
    SHORT,
    SPECS,
    arguments,
    compiled,
    costs_of,
    counted,
    frozen_by,
    is_product,
    loss_of,
    step_of,
    variables_of,
)

from jft import tree
from jft.costs import Cost, module_costs, operations, stage_costs

MODEL = SPECS[SHORT]
STEP = step_of(loss_of(MODEL), frozen_by("none", MODEL))

# XLA:CPU computes a depthwise kernel's gradient as if the kernel were dense.
DEPTHWISE = {"grouped": {"stage1/block0/conv2"}}
# Matrix products without a kernel: of features to 7x7, of logits to the image's size.
RESIZES = {"vgg": {"pre_logits"}, "cifar+deeplabv3": {"head"}}
FAST = ("basic", "vgg_bn", "bit")  # all families in the thorough tests
NAMES = [
    pytest.param(name, marks=() if name in FAST else pytest.mark.thorough)
    for name in SPECS
]


@pytest.mark.parametrize("name", NAMES)
def test_modules_are_those_with_a_kernel(name: str):
    names = tree.flatten(variables_of(SPECS[name])["params"])
    kernels = {n.removesuffix("/kernel") for n in names if n.endswith("/kernel")}
    assert set(costs_of(name)) == kernels | RESIZES.get(name, set())


@pytest.mark.parametrize("name", NAMES)
def test_a_compiled_step_has_the_operations_of_the_traced_one(name: str):
    spec = SPECS[name]
    step = step_of(loss_of(spec), frozen_by("none", spec))
    forward = backward = 0
    for equation in jax.make_jaxpr(step)(*arguments(spec)).eqns:
        if is_product(equation):
            late = "transpose(" in str(equation.source_info.name_stack)
            forward += 0 if late else counted(equation)
            backward += counted(equation) if late else 0
    costs = costs_of(name)
    assert sum(cost.forward for cost in costs.values()) == forward
    assert all(cost.recomputed == 0 for cost in costs.values())
    beyond = sum(
        costs[m].backward - 2 * costs[m].forward for m in DEPTHWISE.get(name, ())
    )
    assert sum(cost.backward for cost in costs.values()) - beyond == backward


@pytest.mark.parametrize("name", NAMES)
def test_each_gradient_costs_its_modules_forward_pass(name: str):
    costs = costs_of(name)
    first = min(m for m in costs if m.split("/")[0] == SPECS[name].stages[0])
    for module, cost in costs.items():
        if module not in DEPTHWISE.get(name, ()):
            # No gradient of the images.
            single = module == first or module in RESIZES.get(name, ())
            gradients = 1 if single else 2
            assert cost.backward == gradients * cost.forward, module


def test_a_depthwise_kernels_gradient_is_computed_as_if_dense():
    costs, channels = costs_of("grouped"), 32
    for module in DEPTHWISE["grouped"]:
        assert costs[module].backward == (1 + channels) * costs[module].forward


def test_stages_add_up_in_depth_order():
    found = operations(compiled(SHORT).as_text(), MODEL.stages)
    stages = stage_costs(found, MODEL.stages)
    assert list(stages) == ["stem", "stage1", "head", ""]
    assert stages[""] == Cost()
    modules = costs_of(SHORT)
    for stage in MODEL.stages:
        inside = [c for m, c in modules.items() if m.split("/")[0] == stage]
        assert stages[stage].forward == sum(cost.forward for cost in inside) > 0
        assert stages[stage].backward == sum(cost.backward for cost in inside) > 0


def test_what_is_in_no_stage_is_kept_apart():
    model = MODEL.build(CLASSES)

    def predict(params: Any, batch_stats: Any, image: Any) -> Any:
        mixed = jnp.einsum("bhwc,cd->bhwd", image, jnp.ones((3, 3)) + image[0, 0, 0])
        return model.apply({"params": params, "batch_stats": batch_stats}, mixed)

    text = jax.jit(predict).lower(*arguments(MODEL)[:3]).compile().as_text()
    stages = stage_costs(operations(text, MODEL.stages), MODEL.stages)
    assert stages.pop("") == Cost(forward=2 * BATCH * 32 * 32 * 3 * 3)
    trained = stage_costs(operations(compiled(SHORT).as_text(), MODEL.stages), stages)
    assert stages == {s: Cost(forward=trained[s].forward) for s in MODEL.stages}


def costs(step: Callable[..., Any], *shapes: Any) -> dict[str, Cost]:
    text = jax.jit(step).lower(*shapes).compile().as_text()
    return module_costs(operations(text, MODEL.stages))


def times(factor: int) -> dict[str, Cost]:
    return {
        module: Cost(forward=factor * cost.forward, backward=factor * cost.backward)
        for module, cost in costs_of(SHORT).items()
    }


def test_parts_of_a_batch_add_up():
    def accumulated(params: Any, batch_stats: Any, image: Any, label: Any) -> Any:
        def part(total: Any, batch: Any) -> Any:
            grads, _ = jax.grad(loss_of(MODEL), has_aux=True)(
                params, batch_stats, *batch
            )
            return jax.tree.map(jnp.add, total, grads), None

        halves = image.reshape(2, -1, *image.shape[1:]), label.reshape(2, -1)
        zeros = jax.tree.map(jnp.zeros_like, params)
        return jax.lax.scan(part, zeros, halves, unroll=True)[0]

    assert costs(accumulated, *arguments(MODEL)) == times(1)


def test_the_two_gradients_of_sharpness_aware_minimisation_are_both_counted():
    def sam(params: Any, batch_stats: Any, image: Any, label: Any) -> Any:
        gradient = jax.grad(loss_of(MODEL), has_aux=True)
        grads, _ = gradient(params, batch_stats, image, label)
        norm = optax.tree.norm(grads)
        there = jax.tree.map(lambda p, g: p + 0.05 * g / norm, params, grads)
        grads, changed = gradient(there, batch_stats, image, label)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, grads), changed

    assert costs(sam, *arguments(MODEL)) == times(2)


def test_momentum_and_decay_hide_no_gradient():
    optimizer = optax.chain(
        optax.add_decayed_weights(0.01), optax.adam(1e-3), optax.clip(1.0)
    )
    params, *rest = arguments(MODEL)
    state = jax.eval_shape(optimizer.init, params)

    def step(params: Any, state: Any, *batch: Any) -> Any:
        grads, changed = jax.grad(loss_of(MODEL), has_aux=True)(params, *batch)
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state, changed

    assert costs(step, params, state, *rest) == times(1)


def test_under_pmap_it_is_one_devices_part():
    axis, devices = "devices", jax.devices()[:2]
    model = MODEL.build(CLASSES, axis_name=axis)
    apply = functools.partial(model.apply, train=True, mutable=["batch_stats"])
    step = step_of(loss_of(MODEL, apply), frozen_by("none", MODEL))

    def mean(*given: Any) -> Any:
        return jax.tree.map(lambda x: jax.lax.pmean(x, axis), step(*given))

    def spread(leaf: Any) -> Any:
        return jax.ShapeDtypeStruct((2, *leaf.shape), leaf.dtype)

    mapped = jax.pmap(mean, axis, devices=devices)
    lowered = mapped.lower(*jax.tree.map(spread, arguments(MODEL)))
    found = operations(lowered.compile().as_text(), MODEL.stages)
    assert module_costs(found) == times(1)


def test_what_is_computed_again_is_told_from_the_backward_pass():
    model = MODEL.build(CLASSES)

    def apply(variables: Any, image: Any) -> Any:
        x: Any = image
        for stage in MODEL.stages:
            run = functools.partial(
                model.apply,
                train=True,
                mutable=["batch_stats"],
                start=stage,
                stop=stage,
            )
            # The stage that is not checkpointed is not computed again.
            x, _ = (run if stage == "stem" else jax.checkpoint(run))(variables, x)
        return x, variables["batch_stats"]

    step = step_of(loss_of(MODEL, apply), frozen_by("none", MODEL))
    found, plain = costs(step, *arguments(MODEL)), costs_of(SHORT)
    assert found.keys() == plain.keys()
    for module, cost in found.items():
        assert cost.forward == plain[module].forward, module
        assert cost.backward == plain[module].backward, module
        assert cost.recomputed in (0, cost.forward), module
    # Of a block at least the first convolution's output is needed for the second's
    # kernel. The last ones need not be computed again, and some XLA versions find
    # that the first ones already are there.
    again = {module for module, cost in found.items() if cost.recomputed}
    assert again
    assert not again & {"stem/conv", "head"}


class Block(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = nn.relu(nn.Conv(4, (3, 3), name="conv1")(x))
        return x + nn.Conv(4, (3, 3), name="conv2")(y)


class Stage(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.remat(Block)(name="block0")(x)


class Rematerialised(nn.Module):
    """A stage that computes its block again, and one that is computed again itself."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = Stage(name="stage1")(nn.Conv(4, (3, 3), name="stem")(x))
        x = nn.remat(Stage)(name="stage2")(x)
        return nn.Dense(5, name="head")(x.mean((1, 2)))


def test_rematerialised_modules_keep_their_names():
    model, stages = Rematerialised(), ("stem", "stage1", "stage2", "head")
    params = jax.eval_shape(model.init, jax.random.key(0), IMAGE)["params"]

    def gradients(params: Any, image: Any) -> Any:
        def energy(params: Any) -> Any:
            return jnp.square(model.apply({"params": params}, image)).sum()

        return jax.grad(energy)(params)

    text = jax.jit(gradients).lower(params, IMAGE).compile().as_text()
    found = module_costs(operations(text, stages))
    names = tree.flatten(params)
    assert set(found) == {n.removesuffix("/kernel") for n in names if "kernel" in n}
    for module, cost in found.items():
        assert cost.backward == cost.forward * (1 if module == "stem" else 2), module


def test_one_image_leaves_the_head_without_a_name_but_no_other_layer():
    # XLA makes products of one row into others. At this size the block's features are
    # one pixel, with which it also turns a convolution around.
    params, batch_stats, image, label = arguments(MODEL)
    image, label = (
        jax.ShapeDtypeStruct(shape, leaf.dtype)
        for leaf, shape in ((image, (1, 4, 4, 3)), (label, (1,)))
    )
    found = costs(STEP, params, batch_stats, image, label)
    head = found.pop("")
    assert found.keys() == costs_of(SHORT).keys() - {"head"}
    for module, cost in found.items():
        assert cost.backward == cost.forward * (1 if module == "stem/conv" else 2)
    assert head.backward > 0


def test_cost_analysis_is_these_operations_and_elementwise_ones():
    # A VGG has no normalisation: forward and backward, each of its features is biased,
    # rectified, pooled, compared and passed on, in at most 20 operations. A parameter
    # is moved, and its gradient squared and added up, in 4.
    program, spec = compiled("vgg"), SPECS["vgg"]
    ours = sum(op.flops for op in operations(program.as_text(), spec.stages))
    features = BATCH * (32 * 32 * 4 + 16 * 16 * 8)
    rest = 20 * features + 4 * tree.count(variables_of(spec)["params"])
    assert 0 < program.cost_analysis()["flops"] - ours < rest
    assert ours > 5 * rest
