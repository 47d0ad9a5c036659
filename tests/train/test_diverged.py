"""A run whose numbers are no longer finite ends at once, and keeps what was good."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.core import FrozenDict

from jft import tree
from jft.config import ModelConfig, OptimConfig, TrainConfig
from jft.errors import DivergedError
from jft.models import ModelSpec
from jft.runs.directory import RunDirectory
from jft.step import StepSpec, TrainState, make_train_step
from jft.step.skip import skip_nonfinite
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


@pytest.mark.thorough
def test_updates_that_are_not_finite_are_skipped_by_choice(
    tiny: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """One example spoils the step of each epoch that has it, and no other."""

    def spoiled(spec: StepSpec) -> Any:
        step = make_train_step(spec)

        def run(state: TrainState, batch: Any) -> Any:
            after, sums = step(state, batch)
            bad = jnp.any((batch["id"] == 3) & (batch["weight"] > 0))
            nan = jnp.where(bad, jnp.float32(np.nan), jnp.float32(0))
            params = jax.tree.map(lambda leaf: leaf + nan, after.params)
            return after.replace(params=params), {**sums, "loss": sums["loss"] + nan}

        return run

    monkeypatch.setattr("jft.train.compile.make_train_step", spoiled)
    with pytest.raises(DivergedError, match="the loss is no longer finite at step"):
        train(config(tiny, tmp_path))
    rules = config(tiny, tmp_path, skip_nonfinite=4)
    rules = dataclasses.replace(rules, workdir=str(tmp_path / "skips"))
    result = train(rules)
    records = [r for r in result.history if r["split"] == "train"]
    assert [record["skipped"] for record in records] == [1, 2, 3, 4]
    n = {record["n"] for record in records}
    assert max(n) < 16, "the examples of a skipped step do not count"
    losses = RunDirectory(result.workdir).losses()
    assert (losses == 0).sum() == 4
    assert np.isfinite(result.metrics["loss"])
    few = dataclasses.replace(rules, skip_nonfinite=1, workdir=str(tmp_path / "few"))
    with pytest.raises(DivergedError, match="--skip-nonfinite 1 allows no more"):
        train(few)


def test_a_skipped_update_leaves_every_array_as_before():
    def step(state: TrainState, batch: Any) -> tuple[TrainState, Any]:
        after = state.replace(
            step=state.step + 1,
            params=jax.tree.map(lambda x: x * batch["by"], state.params),
        )
        return after, {"loss": batch["by"], "grad_norm": jnp.ones(()), "weight": 2.0}

    params = FrozenDict({"a": jnp.array([1.0, -0.0])})
    state = TrainState.create({"params": params}, optax.sgd(0.1))
    skipping = jax.jit(skip_nonfinite(step))
    for by, skipped in ((3.0, 0), (np.nan, 1), (np.inf, 1)):
        after, sums = skipping(state, {"by": jnp.float32(by)})
        assert int(after.step) == 1
        assert int(sums["skipped"]) == skipped
        assert float(sums["weight"]) == (0 if skipped else 2)
        expected = np.float32([1, -0.0]) * np.float32(1 if skipped else by)
        assert np.asarray(after.params["a"]).tobytes() == expected.tobytes()
