"""Runs of several phases: what crosses a boundary, and that a kill changes nothing."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np
import pytest
from flax.core import FrozenDict
from test_loop import StopAfter, images, records, rules

from jft import config as configs
from jft import tree
from jft.config import OptimConfig, TrainConfig
from jft.errors import InputError
from jft.train.callbacks import Callback
from jft.train.loop import fit
from jft.train.resolve import resolve
from jft.train.setup import Setup, prepare
from jft.train.transition import next_state, state_like
from jft.types import HELD_OUT
from jft.weights.export import write_weights
from jft.weights.pretrained import load_pretrained

pytestmark = pytest.mark.thorough
__all__ = ["images", "rules"]  # fixtures
SWEEP = "1*all-but:head@0.0001|0.3|0.001; 1*until:stage1"


@pytest.fixture
def phased(rules: TrainConfig, tmp_path: Path) -> TrainConfig:
    """Return a run of 5 epochs of 3 steps: three candidates, half of it, nearly all."""
    weights = tmp_path / "tiny.safetensors"
    variables = tree.flatten(load_pretrained("tiny", "none", 10, seed=7).variables)
    host = {name: np.asarray(leaf) for name, leaf in variables.items()}
    write_weights(weights, host, {})
    return dataclasses.replace(
        rules,
        weights=str(weights),
        phases=SWEEP,
        epochs=1,
        checkpoint_every=1,
        drop_path=0.2,
        dropout=0.2,
        optim=OptimConfig(
            name="adamw", learning_rate=0.01, weight_decay=1e-3, l2_sp=1e-3, ema=0.9
        ),
    )


@pytest.fixture
def setup(phased: TrainConfig) -> Setup:
    return prepare(resolve(phased))


def test_phases_follow_each_other_and_the_best_candidate_goes_on(phased: TrainConfig):
    class Heard(Callback):
        def __init__(self) -> None:
            self.tried: list[list[tuple[float, float]]] = []

        def on_phase(self, index: int, tried: Sequence[tuple[float, float]]) -> None:
            self.tried.append(list(tried))

    heard = Heard()
    run = fit(phased, callbacks=[heard]).workdir
    judged = [r for r in records(run) if r["split"] == "held-out"]
    assert [r["step"] for r in judged] == [3, 6, 9]
    assert [r["n"] for r in judged] == [2, 2, 2]  # ids 0 and 10 of 16
    assert [r["learning_rate"] for r in judged] == [0.0001, 0.3, 0.001]
    pairs = [(r["learning_rate"], r["loss"]) for r in judged]
    assert heard.tried == [pairs[:1], pairs[:2], pairs, []]
    best = json.loads((run / "result.json").read_text())["best"]
    assert best["epoch"] > 3
    train = [r for r in records(run) if r["split"] == "train"]
    # A tenth is held out while candidates are trained.
    assert [r["n"] for r in train] == [14, 14, 14, 16, 16]
    assert train[1]["learning_rate"] > 50 * train[2]["learning_rate"]
    plan = json.loads((run / "plan.json").read_text())
    assert [phase["steps"] for phase in plan["phases"]] == [3] * 5
    shares = [p["flops"] / p["full_flops"] for p in plan["phases"]]
    assert shares[0] == shares[1] == shares[2] < shares[3] < shares[4] < 1


def test_a_kill_on_either_side_of_a_boundary_changes_nothing(
    phased: TrainConfig, tmp_path: Path
):
    whole = fit(phased)
    for step in (2, 3, 4, 6, 8, 9, 10, 12, 14):
        path = tmp_path / f"broken {step}"
        broken = dataclasses.replace(phased, workdir=str(path))
        with pytest.raises(RuntimeError, match="crash"):
            fit(broken, callbacks=[StopAfter(step)])
        assert fit(broken).params_digest == whole.params_digest, step
        assert records(path) == records(whole.workdir), step


def moved(state: Any, phase: int, setup: Setup) -> Any:
    """Return a state as training might leave it: every number is another."""
    draw = np.random.default_rng(phase)

    def noise(leaf: Any) -> Any:
        if np.issubdtype(leaf.dtype, np.floating):
            return np.asarray(draw.normal(size=leaf.shape), leaf.dtype)
        return np.asarray(leaf)

    stop = np.asarray(setup.phases[phase].stop, np.int32)
    best = state.best_candidate
    changed = jax.tree.map(noise, state.replace(best_candidate=FrozenDict()))
    return changed.replace(step=stop, key=state.key, best_candidate=best)


def leaves(tree_: Any) -> dict[str, Any]:
    paths = jax.tree_util.tree_flatten_with_path(tree_)[0]
    return {jax.tree_util.keystr(path): leaf for path, leaf in paths}


def test_the_next_phase_keeps_all_that_was_trained_already(setup: Setup):
    state = moved(jax.device_get(like_of(setup, 3)), 3, setup)
    crossed = next_state(state, setup, 3)
    old, new = leaves(state.opt_state), leaves(crossed.opt_state)
    assert old.keys() < new.keys()
    for name, leaf in old.items():
        np.testing.assert_array_equal(new[name], leaf, err_msg=name)
    began = new.keys() - old.keys()
    fresh = [new[name] for name in began if ".anchor" not in name]
    assert fresh
    assert not any(
        np.any(leaf) for leaf in fresh if leaf.ndim > 3
    )  # moments of kernels
    for name, leaf in state.ema.items():
        np.testing.assert_array_equal(crossed.ema[name], leaf)
    flat = tree.flatten({"params": crossed.params})
    joined = crossed.ema.keys() - state.ema.keys()
    assert {n for n in joined if n.startswith("params/")} == {
        f"params/{n}" for n in tree.flatten(state.params) if n.startswith("stage1/")
    }
    for name in joined & flat.keys():
        np.testing.assert_array_equal(crossed.ema[name], flat[name])
    assert tree.digest(crossed.params) == tree.digest(state.params)


def like_of(setup: Setup, phase: int) -> Any:
    """Return a state of a phase's structure with arrays in it."""
    shapes = state_like(setup, phase)
    return jax.tree.map(lambda x: np.ones(x.shape, x.dtype), shapes)


def test_every_candidate_begins_at_the_start_and_the_best_is_kept(setup: Setup):
    state, ends = setup.state, list[Any]()
    for phase, loss in enumerate([2.0, 1.0, 3.0]):
        state = moved(state, phase, setup)
        ends.append(state)
        state = next_state(state, setup, phase, loss)
        assert int(state.step) == setup.phases[phase].stop
        if phase < 2:
            assert jax.tree.structure(state) == jax.tree.structure(
                jax.device_get(like_of(setup, phase + 1))
            )
            assert tree.digest(state.params) == tree.digest(setup.state.params)
            assert tree.digest(state.ema) == tree.digest(setup.state.ema)
    head = ends[1].params["head"]
    assert tree.digest(state.params["head"]) == tree.digest(head)
    assert not state.best_candidate
    old, new = leaves(ends[1].opt_state), leaves(state.opt_state)
    for name, leaf in old.items():
        np.testing.assert_array_equal(new[name], leaf, err_msg=name)


def test_the_schedule_begins_anew_in_every_phase(setup: Setup):
    phases = setup.phases
    assert [(phase.start, phase.stop) for phase in phases] == [
        (3 * i, 3 * i + 3) for i in range(5)
    ]
    for phase in phases:
        rates = [
            float(cast(Any, phase.step_spec.learning_rate)(np.int32(s)))
            for s in (phase.start, phase.stop)
        ]
        np.testing.assert_allclose(rates, [phase.phase.learning_rate, 0], atol=1e-8)


def test_what_is_held_out_is_a_tenth_whatever_the_batch(setup: Setup):
    assert HELD_OUT == 10
    assert configs.rules(setup.config)["phases"] == SWEEP
    assert [phase.step_spec.hold_out for phase in setup.phases] == [True] * 3 + [
        False
    ] * 2


def test_phases_run_on_several_devices(phased: TrainConfig, tmp_path: Path):
    several = dataclasses.replace(phased, devices="pmap", batch_size=8)
    whole = fit(several)
    broken = dataclasses.replace(several, workdir=str(tmp_path / "broken"))
    with pytest.raises(RuntimeError, match="crash"):
        fit(broken, callbacks=[StopAfter(7)])
    assert fit(broken).params_digest == whole.params_digest


def test_l2_sp_pulls_to_the_pretrained_values_in_every_phase(setup: Setup):
    pretrained = tree.flatten(setup.pretrained.variables["params"])
    for phase in (3, 4):
        state = moved(jax.device_get(like_of(setup, phase)), phase, setup)
        made = setup.phases[phase].step_spec.tx.init(state.params)
        anchors = {
            path: leaf for path, leaf in leaves(made).items() if ".anchor" in path
        }
        names = setup.phases[phase].trained(state.params)
        loaded = [name for name in names if not name.startswith("head/")]
        assert len(anchors) == len(loaded) > 0
        for name in loaded:
            keys = "".join(f"['{key}']" for key in name.split("/"))
            [anchor] = [leaf for path, leaf in anchors.items() if path.endswith(keys)]
            np.testing.assert_array_equal(anchor, pretrained[name])


def test_averages_count_their_own_steps(setup: Setup):
    phases = setup.phases
    # Each candidate begins anew; the one that goes on has seen three steps.
    heads = [phase.step_spec.ema_start["params/head/kernel"] for phase in phases]
    assert heads == [0, 3, 6, 6, 6]
    kernel = "params/stage2/block0/conv1/kernel"
    assert [phase.step_spec.ema_start.get(kernel) for phase in phases] == [
        None,
        None,
        None,
        9,
        9,
    ]
    stats = "batch_stats/stage1/block0/norm1/mean"
    assert phases[4].step_spec.ema_start[stats] == 12


def test_a_candidate_that_fails_is_not_chosen(setup: Setup):
    state, best = setup.state, ""
    for phase, loss in enumerate([float("inf"), 2.0, float("inf")]):
        state = moved(state, phase, setup)
        kept = state if phase == 1 else None
        state = next_state(state, setup, phase, loss)
        if kept is not None:
            best = tree.digest(kept.params["head"])
    assert tree.digest(state.params["head"]) == best


def test_a_sweep_needs_images_to_hold_out(rules: TrainConfig, tmp_path: Path):
    few = tmp_path / "few"
    for split in ("train", "test"):
        for name in ("dark", "light"):
            (few / split / name).mkdir(parents=True)
            source = Path(rules.data.removeprefix("folder:")) / split / name
            for i in range(2):
                (few / split / name / f"{i}.png").write_bytes(
                    (source / f"{i}.png").read_bytes()
                )
    config = dataclasses.replace(rules, data=f"folder:{few}", phases=SWEEP)
    with pytest.raises(InputError, match="one training image in 10, but there are 4"):
        prepare(resolve(config))
