"""Runs on kept features: the numbers of runs on images, and what they leave behind."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_loop import StopAfter, images, records, rules

from jft.config import AugmentConfig, TrainConfig
from jft.train.loop import fit

__all__ = ["images", "rules"]  # fixtures


@pytest.fixture
def head(rules: TrainConfig) -> TrainConfig:
    """Return a run of the head alone, on images that never change."""
    plain = AugmentConfig(crop_padding=0)
    return dataclasses.replace(rules, freeze="all-but:head", augment=plain)


def run(config: TrainConfig, folder: Path, **changes: Any) -> Path:
    changed = dataclasses.replace(config, workdir=str(folder), **changes)
    return fit(changed).workdir


def digest(path: Path) -> str:
    return json.loads((path / "result.json").read_text())["params_digest"]


def opened(path: Path) -> list[dict[str, Any]]:
    return json.loads((path / "features.json").read_text())["opened"]


def test_features_change_no_number_and_are_found_again(
    head: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("JFT_CACHE", str(tmp_path / "cache"))
    off = run(head, tmp_path / "off", features="off")
    assert not (off / "features.json").exists()
    disk = run(head, tmp_path / "disk", features="disk")
    memory = run(head, tmp_path / "memory", features="memory")
    # A convolution's last bits depend on the position of an image in its batch.
    for one, other in zip(records(off), records(disk), strict=True):
        for name in ("loss", "grad_norm"):
            if name in one:
                np.testing.assert_allclose(one[name], other[name], rtol=1e-5)
    assert digest(disk) == digest(memory)
    assert [record["hit"] for record in opened(disk)] == [False, False]
    faster = dataclasses.replace(head.optim, learning_rate=0.1)
    again = run(head, tmp_path / "again", features="disk", optim=faster)
    assert [record["hit"] for record in opened(again)] == [True, True]
    (phase,) = json.loads((disk / "plan.json").read_text())["phases"]
    assert phase["features"]["cut"] == "stage2"
    # The head alone, 8 features and 2 classes: forward, and the kernel's gradient.
    assert phase["flops"] == 2 * (2 * 6 * 8 * 2)


@pytest.mark.thorough
def test_a_crash_changes_no_bit(head: TrainConfig, tmp_path: Path):
    config = dataclasses.replace(head, features="disk", checkpoint_every=2)
    straight = run(config, tmp_path / "straight")
    broken = dataclasses.replace(config, workdir=str(tmp_path / "broken"))
    with pytest.raises(RuntimeError, match="crash"):
        fit(broken, callbacks=[StopAfter(5)])
    resumed = run(broken, tmp_path / "broken", features="memory")
    assert digest(resumed) == digest(straight)
    assert records(resumed) == records(straight)


@pytest.mark.thorough
@pytest.mark.parametrize("before", ["disk", "off"])
def test_a_resumed_run_goes_on_as_it_began(
    head: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str
):
    monkeypatch.setenv("JFT_CACHE", str(tmp_path / "cache"))
    config = dataclasses.replace(head, features=before, checkpoint_every=2)
    straight = run(config, tmp_path / "straight")
    broken = dataclasses.replace(config, workdir=str(tmp_path / "broken"))
    with pytest.raises(RuntimeError, match="crash"):
        fit(broken, callbacks=[StopAfter(5)])
    if before == "disk":  # there is no space any more, on disk or in memory
        monkeypatch.setattr("jft.features.store.space", lambda: 0)
        monkeypatch.setattr("jft.features.decide.memory", lambda: 0)
    resumed = run(broken, tmp_path / "broken", features="auto")
    assert digest(resumed) == digest(straight)
    (phase,) = json.loads((resumed / "plan.json").read_text())["phases"]
    where = {"disk": "memory", "off": "off"}[before]
    assert phase["features"]["where"] == where
