"""Damage of every kind to every file of a run is found, by whoever reads it first."""

import contextlib
import dataclasses
import json
import os
import random
import shutil
from pathlib import Path

import pytest
from flips import files_of, flip, harms

from jft.__main__ import main
from jft.config import ModelConfig, TrainConfig
from jft.errors import DamageError, InputError, StorageError
from jft.predict.predictor import Predictor
from jft.runs import sums
from jft.runs.directory import RunDirectory
from jft.runs.saved import load_model, save_model
from jft.runs.sums import SUMS, damaged, recover, replacing
from jft.train.loop import fit
from jft.verify.run import verify_run

CONFIG = TrainConfig(
    weights="none",
    model=ModelConfig(name="resnet20", width=4),
    freeze="all-but:head",
    epochs=2,
    batch_size=512,
    devices="jit",
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return two finished runs that differ in their seed."""
    folder = tmp_path_factory.mktemp("runs")
    made: list[Path] = []
    for seed in (0, 1):
        workdir = str(folder / str(seed))
        config = dataclasses.replace(CONFIG, seed=seed, workdir=workdir)
        made.append(fit(config).workdir)
    return made[0], made[1]


@pytest.fixture
def run(runs: tuple[Path, Path], tmp_path: Path) -> Path:
    return shutil.copytree(runs[0], tmp_path / "run")


def test_a_sound_run_is_sound(run: Path, capsys: pytest.CaptureFixture[str]):
    verdict = verify_run(run)
    assert verdict.damage == []
    hidden = {".lock"}
    assert verdict.files == len([p for p in files_of(run) if p.name not in hidden])
    assert main(["verify", str(run)]) == 0
    assert "files are as they were saved" in capsys.readouterr().out
    # The record is in the format of coreutils, which skip the first line.
    head, *lines = (run / "final" / SUMS).read_text().splitlines()
    assert head.startswith("# ")
    assert all(len(line.split("  ")[0]) == 64 for line in lines)


@pytest.mark.parametrize(
    "part",
    [
        "*.json*",
        "final/**/*",
        pytest.param("**/*", marks=pytest.mark.thorough),
    ],
)
def test_every_harm_to_every_file_is_found(
    part: str, runs: tuple[Path, Path], run: Path
):
    silent: list[tuple[str, str]] = []
    for path in [p for p in run.glob(part) if p in files_of(run)]:
        name = path.relative_to(run)
        for kind in harms(path, runs[1] / name):
            try:
                found = verify_run(run).damage
            except (DamageError, InputError) as error:
                found = [str(error)]
            if not found:
                silent.append((str(name), kind))
    assert silent == []
    assert verify_run(run).damage == []


@pytest.mark.thorough
def test_no_flipped_bit_is_silent(run: Path):
    draw = random.Random(0)
    files = files_of(run)
    silent: list[str] = []
    for _ in range(300):
        path = draw.choice(files)
        content = path.read_bytes()
        flip(path, draw)
        try:
            found = verify_run(run).damage
        except DamageError as error:
            found = [str(error)]
        if not found:
            silent.append(str(path))
        path.write_bytes(content)
    assert silent == []


@pytest.mark.parametrize("name", ["model.json", "tensors.json", SUMS])
def test_a_flipped_bit_of_a_saved_model_is_an_error(run: Path, name: str):
    draw = random.Random(0)
    path = run / "final" / name
    content = path.read_bytes()
    for _ in range(10):
        flip(path, draw)
        with pytest.raises(DamageError, match="final"):
            load_model(run / "final")
        path.write_bytes(content)
    load_model(run / "final")


def test_the_tensor_in_a_damaged_file_is_named(run: Path):
    # Its largest file has the arrays.
    files = files_of(run / "final" / "variables")
    path = max(files, key=lambda path: path.stat().st_size)
    content = bytearray(path.read_bytes())
    named = 0
    for at in range(40, len(content), len(content) // 12):
        damage = bytearray(content)
        damage[at] ^= 1
        path.write_bytes(damage)
        with pytest.raises(DamageError) as caught:
            Predictor.from_run(run)
        message = str(caught.value)
        assert path.relative_to(run / "final").as_posix() in message
        named += "(tensor " in message
    assert named > 3


def test_whole_folders_of_another_run_are_found(
    runs: tuple[Path, Path], run: Path, capsys: pytest.CaptureFixture[str]
):
    step = max(int(path.name) for path in (run / "checkpoints").iterdir())
    for name in ("final", "best", f"checkpoints/{step}"):
        shutil.rmtree(run / name)
        shutil.copytree(runs[1] / name, run / name)
        assert main(["verify", str(run), "--json"]) == 77
        record = json.loads(capsys.readouterr().out)
        assert [str(run / name) in line for line in record["damage"]] == [True]
        shutil.rmtree(run / name)
        if "/" not in name:
            assert f"{run / name} is missing" in verify_run(run).damage
        shutil.copytree(runs[0] / name, run / name)


def test_a_damaged_settings_file_is_an_error_of_the_run(run: Path):
    (run / "config.json").write_text((run / "config.json").read_text() + " ")
    with pytest.raises(DamageError, match=r"config.json is damaged: its bytes"):
        RunDirectory(run).config()
    (run / "config.json").unlink()
    with pytest.raises(DamageError, match=r"config.json is missing"):
        verify_run(run)


def test_a_kill_between_record_and_file_is_no_damage(
    run: Path, monkeypatch: pytest.MonkeyPatch
):
    def killed(*args: object) -> None:
        raise KeyboardInterrupt

    directory = RunDirectory(run)
    with monkeypatch.context() as patch:
        patch.setattr("jft.runs.directory.write_file", killed)
        with pytest.raises(KeyboardInterrupt):
            directory.write("plan.json", {"new": True})
    assert verify_run(run).damage == []
    directory.write("plan.json", {"new": True})
    assert directory.read("plan.json") == {"new": True}
    assert verify_run(run).damage == []


def test_a_folder_is_replaced_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    place = tmp_path / "model"
    with replacing(place) as part:
        (part / "a").write_text("old")
    replace = os.replace
    # A kill at each rename; the next start puts back what was moved away.
    for stop in range(3):
        count = 0

        def until(old: Path, new: Path, stop: int = stop) -> None:
            nonlocal count
            count += 1
            if count > stop:
                raise KeyboardInterrupt
            replace(old, new)

        with monkeypatch.context() as patch:
            patch.setattr(sums.os, "replace", until)
            with pytest.raises(KeyboardInterrupt), replacing(place) as part:
                (part / "a").write_text("new")
        recover(tmp_path)
        assert (place / "a").read_text() == "old"
        assert damaged(place) == []
        assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_what_a_killed_save_left_is_removed(tmp_path: Path):
    for name in (".6.part", ".9.old"):
        (tmp_path / name).mkdir()
    (tmp_path / "9").mkdir()
    (tmp_path / ".config.json.part").write_text("{")
    recover(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["9"]


def test_a_disk_that_fills_up_leaves_what_was_there(
    run: Path, monkeypatch: pytest.MonkeyPatch
):
    """Each write of a save fails in turn, as on a full disk."""
    fsync = os.fsync
    saved = load_model(run / "final")
    for failing in range(1, 30, 4):
        left = failing

        def full(descriptor: int) -> None:
            nonlocal left
            left -= 1
            if not left:
                raise OSError(28, "No space left on device")
            fsync(descriptor)

        with monkeypatch.context() as patch:
            patch.setattr(sums.os, "fsync", full)
            with contextlib.suppress(StorageError):
                save_model(run / "final", saved.variables, saved.card)
                assert left > 0
        assert verify_run(run).damage == []
        assert not list(run.glob(".*.part"))
