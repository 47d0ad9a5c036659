"""What training a part needs, and frozen modules with an unneeded backward pass."""

import functools
from typing import Any

import jax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from steps import (
    RULES,
    SHORT,
    SPECS,
    arguments,
    costs_of,
    counted,
    frozen_by,
    is_product,
    loss_of,
    variables_of,
)

from jft import tree
from jft.costs import Cost, expected_backward, full_backward, unneeded_backward

pytestmark = pytest.mark.thorough

FROZEN = [
    *(("basic", rule) for rule in RULES if rule != "none"),
    *(("vgg", rule) for rule in ("all but the head", "all but biases")),
    ("keras_v2", "all but norms"),
    *(
        ("cifar+unet", rule)
        for rule in ("stem", "all but the head", "all but the stem")
    ),
    ("cifar+unet", "all but the last stage"),
    ("cifar+deeplabv3", "all but the head"),
]


@functools.cache
def traced(name: str) -> tuple[Any, list[str]]:
    """Return the gradients of all parameters as equations, and the names in order."""
    spec = SPECS[name]
    gradients = jax.grad(lambda *given: loss_of(spec)(*given)[0])
    paths = jax.tree_util.tree_leaves_with_path(variables_of(spec)["params"])
    names = ["/".join(key.key for key in path) for path, _ in paths]
    return jax.make_jaxpr(gradients)(*arguments(spec)).jaxpr, names


def needed(name: str, trained: set[str]) -> int:
    """Count the backward operations that lead to the gradients of some parameters."""
    jaxpr, names = traced(name)
    live = {v for n, v in zip(names, jaxpr.outvars, strict=True) if n in trained}
    total = 0
    for equation in reversed(jaxpr.eqns):
        if live.isdisjoint(equation.outvars):
            continue
        live |= {v for v in equation.invars if not hasattr(v, "val")}  # not a literal
        backward = "transpose(" in str(equation.source_info.name_stack)
        total += counted(equation) if backward and is_product(equation) else 0
    return total


def frozen_but(names: list[str], trained: set[str]) -> dict[str, Any]:
    return tree.unflatten({name: name not in trained for name in names})


@pytest.mark.parametrize("name", SPECS)
def test_each_parameter_alone_needs_what_leads_to_its_gradient(name: str):
    names = traced(name)[1]
    for leaf in names:
        frozen = frozen_but(names, {leaf})
        expected = expected_backward(costs_of(name), frozen, SPECS[name])
        assert sum(expected.values()) == needed(name, {leaf}), leaf


@pytest.mark.parametrize(
    "name", ["deep", "keras_v2", "vgg", "cifar+unet", "cifar+deeplabv3"]
)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_any_parameters_need_what_leads_to_their_gradients(name: str, data: Any):
    names = traced(name)[1]
    trained = data.draw(st.sets(st.sampled_from(names)))
    frozen = frozen_but(names, trained)
    expected = expected_backward(costs_of(name), frozen, SPECS[name])
    assert sum(expected.values()) == needed(name, trained)


def test_modules_are_in_depth_order():
    params = variables_of(SPECS[SHORT])["params"]
    block = ("conv1", "shortcut/conv", "conv2", "conv3")
    assert list(full_backward(costs_of(SHORT), params, SPECS[SHORT])) == [
        "stem/conv",
        *(f"stage1/block0/{module}" for module in block),
        "head",
    ]


def test_what_is_outside_the_network_is_not_expected():
    spec = SPECS["basic"]
    costs = {"": Cost(forward=7, backward=7), "stem/conv": Cost(forward=5)}
    assert full_backward(costs, variables_of(spec)["params"], spec) == {"stem/conv": 5}


def expected_of(name: str, rule: str) -> dict[str, int]:
    frozen = frozen_by(rule, SPECS[name])
    return expected_backward(costs_of(name, rule), frozen, SPECS[name])


@pytest.mark.parametrize(("name", "rule"), FROZEN)
def test_a_compiled_step_computes_what_is_needed_and_nothing_else(name: str, rule: str):
    costs, expected = costs_of(name, rule), expected_of(name, rule)
    assert {module: cost.backward for module, cost in costs.items()} == expected
    assert unneeded_backward(costs, expected) == []


@pytest.mark.parametrize(("name", "rule"), FROZEN)
def test_without_hold_the_logged_norm_brings_the_backward_pass_back(
    name: str, rule: str
):
    # The step in which nothing is frozen computes, and logs the norm of, all gradients:
    # that is what a step without stop_gradient does under any rule.
    full, frozen = costs_of(name), costs_of(name, rule)
    saved = {m for m, cost in frozen.items() if cost.backward < full[m].backward}
    assert saved
    assert set(unneeded_backward(full, expected_of(name, rule))) == saved


@pytest.mark.parametrize("name", [n for n in SPECS if n != "grouped"])
def test_where_all_is_trained_no_backward_pass_is_unneeded(name: str):
    costs, expected = costs_of(name), expected_of(name, "none")
    assert {module: cost.backward for module, cost in costs.items()} == expected
    assert unneeded_backward(costs, expected) == []


@pytest.mark.parametrize(("name", "rule"), FROZEN)
def test_full_fine_tuning_is_known_without_compiling_it(name: str, rule: str):
    params = variables_of(SPECS[name])["params"]
    full = full_backward(costs_of(name, rule), params, SPECS[name])
    assert full == {m: cost.backward for m, cost in costs_of(name).items()}


def test_a_depthwise_convolution_takes_more_than_it_needs_but_is_not_named():
    spec, costs = SPECS["grouped"], costs_of("grouped")
    full = full_backward(costs, variables_of(spec)["params"], spec)
    assert {m for m, cost in costs.items() if cost.backward != full[m]} == {
        "stage1/block0/conv2"
    }
    assert unneeded_backward(costs, full) == []


def test_a_hundredth_more_is_no_living_gradient():
    costs = {"a": Cost(1000, 0, 1009), "b": Cost(1000, 0, 1011), "c": Cost(1000, 0, 1)}
    assert unneeded_backward(costs, {"a": 1000, "b": 1000, "c": 0}) == ["b", "c"]
