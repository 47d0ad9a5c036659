"""The plan: what the compiled steps say, and how it is told."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from test_loop import images, rules

from jft import tree
from jft.config import AugmentConfig, OptimConfig, TrainConfig
from jft.console.text import count, duration, size
from jft.errors import InputError
from jft.train import plan as plans
from jft.train.__main__ import main
from jft.train.compile import compile_train_steps
from jft.train.plan import Plan, make_plan
from jft.train.plan_table import plan_lines
from jft.train.resolve import resolve
from jft.train.setup import Setup, prepare

__all__ = ["images", "rules"]  # fixtures


def planned(config: TrainConfig) -> tuple[Setup, Plan]:
    setup = prepare(resolve(config))
    return setup, make_plan(setup, compile_train_steps(setup))


def test_a_stage_is_told_with_its_parameters_mode_rate_and_flops(rules: TrainConfig):
    config = dataclasses.replace(
        rules, freeze="stem/*,stage1/*=0.5,stage2/block0/conv1/*", norm="stage2=stored"
    )
    setup, plan = planned(config)
    [phase] = plan.phases
    stem, first, second, head = phase.stages
    sizes = {n: x.size for n, x in tree.flatten(setup.state.params).items()}

    def total(stage: str) -> int:
        return sum(n for name, n in sizes.items() if name.startswith(f"{stage}/"))

    assert [s.stage for s in phase.stages] == ["stem", "stage1", "stage2", "head"]
    assert [s.parameters for s in phase.stages] == [
        total(s.stage) for s in phase.stages
    ]
    assert (stem.trained, first.trained, head.trained) == (0, total("stage1"), 18)
    assert second.trained == total("stage2") - sizes["stage2/block0/conv1/kernel"]
    assert [s.norm for s in phase.stages] == ["stored", "batch", "stored", ""]
    assert [s.learning_rates for s in phase.stages] == [
        [],
        [0.01, 0.01],
        [0.02, 0.02],
        [0.02, 0.02],
    ]
    assert stem.backward == 0
    # Both convolutions have a kernel's gradient, the second an input's too.
    assert first.backward == first.forward * 3 // 2
    assert 0 < phase.flops < phase.full_flops


@pytest.mark.thorough
def test_the_share_of_full_fine_tuning_is_that_of_a_step_that_trains_all(
    rules: TrainConfig,
):
    _, whole = planned(dataclasses.replace(rules, freeze="none"))
    _, part = planned(dataclasses.replace(rules, freeze="until:stage1"))
    assert whole.phases[0].flops == whole.phases[0].full_flops
    assert part.phases[0].full_flops == whole.phases[0].flops


def test_memory_is_what_the_arrays_take(rules: TrainConfig):
    setup, plan = planned(rules)
    memory, state = plan.phases[0].memory, setup.state
    held = sum(x.nbytes for x in jax.tree.leaves((state.params, state.batch_stats)))
    assert memory.parameters == held
    assert memory.optimizer == sum(x.nbytes for x in jax.tree.leaves(state.opt_state))
    assert memory.gradients == 4 * sum(s.trained for s in plan.phases[0].stages)
    assert memory.batch == 6 * (32 * 32 * 3 + 4 + 4 + 4)
    assert memory.total > memory.parameters + memory.optimizer + memory.temporaries
    assert plan.fits
    assert plan.largest_batch > 1000


def test_seconds_are_in_proportion_to_the_flops(rules: TrainConfig):
    _, plan = planned(dataclasses.replace(rules, phases="2*all-but:head", epochs=3))
    first, second = plan.phases
    assert (first.steps, second.steps) == (6, 9)
    ratio = second.seconds_per_step / first.seconds_per_step
    assert ratio == pytest.approx(second.flops / first.flops)
    total = 6 * first.seconds_per_step + 9 * second.seconds_per_step
    assert plan.seconds == pytest.approx(total)


@pytest.mark.thorough
def test_a_dry_run_tells_every_phase_and_trains_nothing(
    rules: TrainConfig,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
):
    monkeypatch.chdir(tmp_path)
    data = rules.data
    args = [
        "--data",
        data,
        "--model.name",
        "tiny",
        "--weights",
        "none",
        "--devices=jit",
    ]
    args += ["--dry-run"]
    status = main(
        [*args, "--freeze", "none", "--phases", "gradual:1", "--batch-size=6"]
    )
    told = capsys.readouterr().out
    assert status == 0
    for line in ("phase 1", "until:stage2", "phase 4", "of full fine-tuning", "fits"):
        assert line in told
    assert told.count("stage   parameters  trained") == 4
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_fails_if_a_frozen_part_has_a_backward_pass(
    rules: TrainConfig,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    # What a logged norm of all gradients does: the loss is differentiated by all.
    monkeypatch.setattr(
        "jft.step.training.trained", lambda params, rates: tree.flatten(params)
    )
    args = ["--data", rules.data, "--model.name=tiny", "--weights=none"]
    args += ["--devices=jit"]
    status = main([*args, "--freeze", "until:stage1", "--batch-size=6", "--dry-run"])
    told = capsys.readouterr().out
    assert status == 1
    assert "UNNEEDED" in told
    assert "stage1/block0/conv1" in told


def test_what_does_not_fit_is_said_with_a_batch_that_would(
    rules: TrainConfig, monkeypatch: pytest.MonkeyPatch
):
    _, plan = planned(rules)
    memory = plan.phases[0].memory
    fixed = memory.total - memory.temporaries - memory.batch
    limit = fixed + (memory.temporaries + memory.batch) // 2
    monkeypatch.setattr(plans, "device_bytes", lambda devices: limit)
    _, small = planned(rules)
    assert not small.fits
    assert small.largest_batch == 3
    told = plan_lines(small, whole=False)
    assert any("DOES NOT FIT" in line for line in told)
    # There is no memory to measure it in.
    assert not any(line.startswith("time") for line in told)
    monkeypatch.setattr(plans, "device_bytes", lambda devices: 0)
    _, unknown = planned(rules)
    assert unknown.fits


def test_a_plan_is_json(rules: TrainConfig):
    _, plan = planned(rules)
    again = json.loads(json.dumps(plan.to_dict()))
    assert again["phases"][0]["flops"] == plan.phases[0].flops
    assert again["bytes_needed"] == plan.phases[0].memory.total


def test_the_device_has_the_memory_that_is_free():
    one = plans.device_bytes(jax.devices()[:1])
    assert 2**28 < one < 2**45
    # Others use memory meanwhile.
    assert plans.device_bytes(jax.devices()[:4]) == pytest.approx(one / 4, rel=0.2)

    class Gpu:
        platform = "gpu"

        def memory_stats(self) -> dict[str, int]:
            return {"bytes_limit": 123}

    assert plans.device_bytes([Gpu()]) == 123


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 "), (999, "999 "), (1234, "1.23 k"), (5e9, "5 G"), (2e18, "2e+03 P")],
)
def test_counts_have_units(number: float, text: str):
    assert count(number) == text
    assert size(number) == f"{text}B"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.123, "0.12 s"), (59, "59 s"), (90, "2 min"), (3700, "1 h 02 min")],
)
def test_durations_are_rounded_for_a_person(seconds: float, text: str):
    assert duration(seconds) == text


def test_measuring_does_not_train(rules: TrainConfig):
    setup, _ = planned(rules)
    before = tree.digest(setup.state.params)
    assert plans.measure(setup, compile_train_steps(setup)[0]) > 0
    assert tree.digest(setup.state.params) == before
    assert np.all(setup.state.step == 0)


@pytest.mark.parametrize(
    ("option", "why"), [("accumulate", "optim.accumulate"), ("mixup", "mixup")]
)
def test_each_device_must_be_able_to_divide_its_images(
    rules: TrainConfig, option: str, why: str
):
    config = dataclasses.replace(rules, devices="pmap", batch_size=8)
    if option == "mixup":
        config = dataclasses.replace(config, augment=AugmentConfig(mixup=0.2))
    else:
        config = dataclasses.replace(config, optim=OptimConfig(accumulate=2))
    with pytest.raises(InputError, match=f"multiple of 16 on 8 devices for {why}"):
        prepare(resolve(config))
