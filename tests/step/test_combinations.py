"""Freezing under every pair of options: it costs nothing, and nothing frozen moves."""

import itertools
from typing import Any

import jax
import numpy as np
import pytest
from conftest import TINY
from test_step import CLASSES, ONE, batch_of, setup

from jft import costs, tree
from jft.config import AugmentConfig, OptimConfig
from jft.freeze import rules
from jft.step import make_train_step, trained

pytestmark = pytest.mark.thorough
OPTIONS: dict[str, tuple[Any, ...]] = {
    "freeze": (
        *("none", "until:stem", "first:2", "from:stage1", "all-but:head"),
        *("bias-only", "norm-only", "stem/*=0,stage1/*=0.1,*/bias=0"),
    ),
    "norm": ("auto", "stored", "batch", "adapt"),
    "name": ("sgd", "adamw", "lion", "lamb", "lars", "muon"),
    "clip_norm": (None, 0.1),
    "accumulate": (1, 2),
    "ema": (0.0, 0.9),
    "sam": (0.0, 0.05),
    "l2_sp": (0.0, 0.1),
    "remat": (False, True),
    "decay_rules": ("*/kernel=1", "*=1"),
    "layer_decay": (1.0, 0.5),
    "dtype": ("float32", "bfloat16"),
    "mixup": (0.0, 0.2),
    "drop_path": (0.0, 0.2),
    "schedule": ("cosine", "plateau"),
}
Case = dict[str, Any]
leaves_of = jax.tree_util.tree_leaves_with_path


def pairs_of(case: Case) -> set[tuple[tuple[str, Any], tuple[str, Any]]]:
    return set(itertools.combinations(case.items(), 2))


def covering(options: dict[str, tuple[Any, ...]]) -> list[Case]:
    """Return cases in which every two values of two options meet, found greedily."""
    draw = np.random.default_rng(0)
    missing = {
        pair
        for a, b in itertools.combinations(options, 2)
        for pair in itertools.product(
            [(a, value) for value in options[a]], [(b, value) for value in options[b]]
        )
    }
    cases: list[Case] = []
    while missing:
        seed = dict(min(missing, key=repr))
        tries = [
            {
                n: seed.get(n, options[n][draw.integers(len(options[n]))])
                if n in seed
                else options[n][draw.integers(len(options[n]))]
                for n in options
            }
            for _ in range(60)
        ]
        cases.append(max(tries, key=lambda case: len(pairs_of(case) & missing)))
        missing -= pairs_of(cases[-1])
    return cases


CASES = covering(OPTIONS)


def norm_rule(case: Case) -> str:
    """Return the case's rule; adapting is for stages whose norms are frozen."""
    if case["norm"] != "adapt":
        return case["norm"]
    rule = rules.FreezeSpec.parse(case["freeze"], TINY)
    params = setup(TINY).state.params
    rates = tree.flatten(rule.lr_mults(params, TINY))
    norms = {n: rate for n, rate in rates.items() if "norm" in n}
    still = {
        stage: not any(r for n, r in norms.items() if n.startswith(f"{stage}/"))
        for stage in TINY.stages[:-1]
    }
    return ",".join(f"{s}={'adapt' if held else 'batch'}" for s, held in still.items())


def built(case: Case) -> Any:
    kinds = ("name", "clip_norm", "accumulate", "ema", "sam", "l2_sp")
    shapes = ("decay_rules", "layer_decay", "schedule")
    return setup(
        TINY,
        case["freeze"],
        config=OptimConfig(
            learning_rate=0.1, weight_decay=0.1, **{n: case[n] for n in kinds + shapes}
        ),
        augment=AugmentConfig(crop_padding=0, mixup=case["mixup"]),
        norm=norm_rule(case),
        remat=case["remat"],
        dtype=case["dtype"],
        drop_path=case["drop_path"],
        batch_size=8,
    )


def test_the_cases_cover_every_pair_of_values():
    met = set[Any]().union(*(pairs_of(case) for case in CASES))
    values = sum(
        len(OPTIONS[a]) * len(OPTIONS[b]) for a, b in itertools.combinations(OPTIONS, 2)
    )
    assert len(met) == values
    assert len(CASES) < 80


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c['freeze']}-{c['name']}")
def test_what_is_frozen_costs_nothing_and_stays_as_it_is(case: Case):
    made = built(case)
    step = ONE.compile_ahead(make_train_step(made.step_spec), made.state, batch_of(8))
    frozen = rules.frozen(made.step_spec.lr_mults)
    check_costs(step, frozen, case)
    check_state(made.state, made.step_spec, frozen, case)
    state, _ = step(ONE.replicate(made.state), ONE.put(batch_of(8)))
    state, _ = step(state, ONE.put(batch_of(8, seed=2)))
    # Three: two steps of lion may lead back to where they began.
    state, sums = step(state, ONE.put(batch_of(8, seed=3)))
    assert np.isfinite(float(sums["loss"]))
    check_bytes(made, ONE.fetch(state))


def check_costs(step: Any, frozen: Any, case: Case) -> None:
    """The compiled backward pass is what the trained part needs, to the operation."""
    found = costs.operations(step.as_text(), TINY.stages)
    spent = costs.module_costs(found)
    needed = costs.expected_backward(spent, frozen, TINY)
    assert costs.unneeded_backward(spent, needed) == []
    if not case["remat"]:  # XLA merges part of what is recomputed
        assert {m: spent[m].backward for m in needed} == needed
    kernels = {m for m in needed if "conv" in m}
    assert len(kernels) == 5


def check_state(state: Any, step_spec: Any, frozen: Any, case: Case) -> None:
    """No byte of optimizer state or averages belongs to a frozen leaf."""
    held = {name for name, still in tree.flatten(frozen).items() if still}
    for path, leaf in leaves_of(state.opt_state):
        keys = [k.key for k in path if isinstance(k, jax.tree_util.DictKey)]
        name = "/".join(keys[-4:])
        assert not any(name.endswith(f"{n}") for n in held), name
        assert leaf.ndim == 0 or len(keys) > 1
    paths = map(jax.tree_util.keystr, dict(leaves_of(state.opt_state)))
    anchors = [path for path in paths if ".anchor" in path]
    moving = trained(state.params, step_spec.lr_mults)
    backbone = [name for name in moving if not name.startswith("head/")]
    assert len(anchors) == (len(backbone) if case["l2_sp"] else 0)
    averaged = {n.removeprefix("params/") for n in state.ema}
    assert not averaged & held
    assert not state.ema or set(trained(state.params, step_spec.lr_mults)) <= averaged


def check_bytes(made: Any, after: Any) -> None:
    """Frozen leaves and stored statistics are the same bytes; all others have moved."""
    moving = trained(made.state.params, made.step_spec.lr_mults)
    before = tree.flatten(made.state.params)
    for name, leaf in tree.flatten(after.params).items():
        same = leaf.tobytes() == np.asarray(before[name]).tobytes()
        assert same == (name not in moving), name
    stored = made.step_spec.model.mode.stored
    before = tree.flatten(made.state.batch_stats)
    for name, leaf in tree.flatten(after.batch_stats).items():
        same = leaf.tobytes() == np.asarray(before[name]).tobytes()
        assert same == (name.rpartition("/")[0] in stored), name
    assert after.params["head"]["kernel"].shape[-1] == CLASSES
