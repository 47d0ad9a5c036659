"""A run whose numbers are no longer finite ends at once, and keeps what was good."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from jft import tree
from jft.config import ModelConfig, OptimConfig, TrainConfig
from jft.errors import DivergedError
from jft.models import ModelSpec
from jft.runs.directory import RunDirectory
from jft.step import TrainState
from jft.train.callbacks import Callback
from jft.train.diverged import first_bad_tensor
from jft.train.loop import fit
from jft.train.training import Run
from jft.verify.run import verify_run

IMAGES = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), np.uint8)
LABELS = np.arange(16) % 2


def config(tiny: ModelSpec, tmp_path: Path, **changes: Any) -> TrainConfig:
    return TrainConfig(
        weights="none",
        model=ModelConfig(name=tiny.name),
        freeze="until:stem",
        epochs=4,
        batch_size=4,
        optim=OptimConfig(learning_rate=0.01, schedule="constant"),
        devices="jit",
        workdir=str(tmp_path / "run"),
        **changes,
    )


def train(rules: TrainConfig, *callbacks: Callback) -> Any:
    return fit(rules, train=(IMAGES, LABELS), callbacks=callbacks)


def test_a_loss_that_is_not_finite_names_step_examples_and_tensor(
    tiny: ModelSpec, tmp_path: Path
):
    rules = config(tiny, tmp_path)
    optim = dataclasses.replace(rules.optim, learning_rate=1e30)
    steps: list[int] = []

    class Steps(Callback):
        def on_step(self, step: int, totals: Mapping[str, Any]) -> None:
            steps.append(step)

    with pytest.raises(DivergedError) as caught:
        train(dataclasses.replace(rules, optim=optim), Steps())
    message = str(caught.value)
    assert caught.value.status == 76
    assert f"is no longer finite at step {len(steps) + 1}: " in message
    assert "it is 1e+30 here" in message
    named = message.split("the examples of the step: ")[1].split("\n")[0]
    assert len(named.split(", ")) == 4
    assert "the first tensor that is not finite then: params/" in message


def test_a_parameter_that_is_not_finite_is_not_saved(
    tiny: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    rules, save = config(tiny, tmp_path), Run._save_state

    def broken(run: Run, state: TrainState, done: int, *rest: Any) -> None:
        if done == 12:  # the end of the third epoch, after a finite loss
            flat = tree.flatten(state.params)
            kernel = np.array(flat["head/kernel"])
            kernel[0, 0] = np.inf
            params = tree.unflatten(flat | {"head/kernel": kernel})
            state = state.replace(params=type(state.params)(params))
        save(run, state, done, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_save_state", broken)
        with pytest.raises(DivergedError, match="params/head/kernel is no longer"):
            train(rules)
    run = tmp_path / "run"
    assert {p.name for p in (run / "checkpoints").iterdir()} == {"4", "8"}
    assert verify_run(run).damage == []
    assert len(RunDirectory(run).losses()) == 8
    assert train(rules).metrics["n"]


def test_the_first_tensor_that_is_not_finite_is_found(tiny: ModelSpec):
    variables = {
        "params": {"a": np.zeros(2, np.int32), "b": np.ones(2, jax.numpy.bfloat16)},
        "batch_stats": {"c": np.array([0, np.nan], np.float32)},
    }

    class State:
        def __init__(self) -> None:
            self.variables = variables

    assert first_bad_tensor(State()) == "batch_stats/c"
    variables["batch_stats"]["c"][1] = 0
    assert first_bad_tensor(State()) is None
    variables["params"]["b"][0] = np.inf
    assert first_bad_tensor(State()) == "params/b"
