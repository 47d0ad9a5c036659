"""Two runs to the bit: the verdict, the first difference, and its cause."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jft.__main__ import main
from jft.config import ModelConfig, OptimConfig, TrainConfig
from jft.errors import DamageError, InputError
from jft.evaluate.run import evaluate_run
from jft.reproduce.compare import compare, equal_steps, first_leaf
from jft.reproduce.run import reproduce_run
from jft.runs.directory import DIGESTS, RunDirectory
from jft.runs.moved import found_data, found_weights
from jft.train.loop import fit


def write_images(folder: Path) -> None:
    draw = np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 3)):
        for name, level in (("dark", 60), ("light", 190)):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = draw.integers(level - 50, level + 50, (32, 32, 3), np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{i}.png")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with images, and a finished run of 2 epochs of 3 steps."""
    folder = tmp_path_factory.mktemp("project")
    write_images(folder / "images")
    fit(config(folder, "run"))
    return folder


def config(folder: Path, name: str, seed: int = 0) -> TrainConfig:
    return TrainConfig(
        data=f"folder:{folder / 'images'}",
        weights="none",
        model=ModelConfig(name="resnet20", width=4),
        freeze="until:stage2",
        epochs=2,
        batch_size=4,
        optim=OptimConfig(learning_rate=0.02),
        devices="jit",
        seed=seed,
        workdir=str(folder / "runs" / name),
    )


@pytest.fixture
def flags(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the flags of this process back, which `reproduce_run` sets."""
    monkeypatch.setenv("XLA_FLAGS", "")


@pytest.mark.usefixtures("flags")
@pytest.mark.thorough
def test_a_moved_run_is_repeated_to_the_bit(project: Path, tmp_path: Path):
    moved = shutil.copytree(project, tmp_path / "moved")
    (project / "images").rename(project / "gone")
    try:
        run = RunDirectory(moved / "runs" / "run")
        assert found_data(run) == f"folder:{moved / 'images'}"
        assert found_weights(run) == "none"
        assert evaluate_run(run.path, devices="jit")["n"] == 6
        found = reproduce_run(run.path)
        assert (found.verdict, found.steps, found.status) == ("bit-identical", 6, 0)
        again = RunDirectory(moved / "runs" / "run-again")
        assert again.path.is_dir()
        shutil.move(moved / "images", moved / "elsewhere")
        with pytest.raises(InputError, match="if the data has moved, give --data"):
            evaluate_run(run.path, devices="jit")
        data = f"folder:{moved / 'elsewhere'}"
        found = reproduce_run(run.path, data=data, workdir=str(moved / "third"))
        assert found.verdict == "bit-identical"
    finally:
        (project / "gone").rename(project / "images")


def test_a_changed_pixel_is_named_as_the_cause(project: Path, tmp_path: Path):
    images = shutil.copytree(project / "images", tmp_path / "images")
    path = sorted((images / "train").rglob("*.png"))[0]
    pixels = np.asarray(Image.open(path)).copy()
    pixels[16, 16, 0] ^= 128  # the corners are cropped away
    Image.fromarray(pixels).save(path)
    other = fit(config(tmp_path, "run")).workdir
    found = compare(RunDirectory(project / "runs" / "run"), RunDirectory(other))
    assert found.verdict != "bit-identical"
    assert found.causes[0].startswith("data fingerprint: ")
    assert len([cause for cause in found.causes if "config" in cause]) == 0


def test_a_changed_seed_is_named_with_the_first_leaf(
    project: Path, capsys: pytest.CaptureFixture[str]
):
    other = fit(config(project, "seed", seed=1)).workdir
    run = str(project / "runs" / "run")
    status = main(["reproduce", run, "--against", str(other), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert status == 2
    assert found["verdict"] == "differs"
    assert found["causes"][0] == "config seed: 0 -> 1"
    assert (found["steps"], found["epoch"]) == (0, 1)
    assert found["leaf"]
    assert main(["reproduce", run, "--against", run]) == 0
    assert capsys.readouterr().out.startswith("bit-identical: 6 steps")
    assert main(["reproduce", run, "--against", run, "--data", "digits"]) == 2


def test_the_environment_is_ranked(project: Path, tmp_path: Path):
    first = RunDirectory(project / "runs" / "run")
    second = RunDirectory(shutil.copytree(first.path, tmp_path / "run"))
    manifest = first.read("manifest.json")
    assert manifest is not None
    session = dict(manifest["sessions"][-1])
    session |= {"cores": 99, "xla_flags": "--other", "platform": "Plan 9"}
    session["versions"] = {**session["versions"], "jaxlib": "9.9", "optax": "9.9"}
    second.write("manifest.json", {**manifest, "sessions": [session]})
    losses = first.losses().copy()
    losses[4] = np.nextafter(losses[4], np.float32(9))
    second.write_bytes("losses.f32", losses.tobytes())
    found = compare(first, second)
    assert (found.verdict, found.steps, found.status) == ("identical until", 4, 1)
    names = [cause.split(":")[0] for cause in found.causes]
    assert names == ["jaxlib", "cores", "xla_flags", "optax", "platform"]
    assert "identical until step 4" in found.lines()[0]


def test_steps_are_compared_by_their_bits():
    zero = np.array([1, 0.0, np.nan, 2], np.float32)
    assert equal_steps(zero, zero.copy()) == 4
    assert equal_steps(zero, zero[:2]) == 2
    assert equal_steps(zero, np.array([1, -0.0, np.nan, 2], np.float32)) == 1
    assert equal_steps(zero[:0], zero) == 0


def test_the_first_leaf_is_found_where_only_changes_are_listed():
    def lines(*epochs: dict[str, str]) -> list[dict[str, object]]:
        return [
            {"epoch": i, "chain": json.dumps(epochs[:i]), "leaves": leaves}
            for i, leaves in enumerate(epochs, start=1)
        ]

    one = lines({"a": "1", "b": "1"}, {"b": "2"})
    assert first_leaf(one, one) == (None, None)
    assert first_leaf(one, lines({"a": "1", "b": "1"}, {"b": "3"})) == (2, "b")
    # One that did not change where the other did is a difference too.
    assert first_leaf(one, lines({"a": "1", "b": "1"}, {})) == (2, "b")


@pytest.mark.thorough
def test_losses_and_digests_survive_an_interruption(project: Path):
    rules = dataclasses.replace(config(project, "broken"), checkpoint_every=2)
    from jft.train.callbacks import Callback

    class Crash(Callback):
        def on_step(self, step: int, totals: object) -> None:
            if step == 5:
                raise RuntimeError("crash")

    with pytest.raises(RuntimeError, match="crash"):
        fit(rules, callbacks=[Crash()])
    run = fit(rules).workdir
    found = compare(RunDirectory(project / "runs" / "run"), RunDirectory(run))
    assert found.verdict == "bit-identical"
    lines = RunDirectory(run).lines(DIGESTS)
    assert [line["step"] for line in lines] == [3, 6]
    (run / "losses.f32").write_bytes(b"\0" * 24)
    with pytest.raises(DamageError, match=r"losses\.f32 is damaged"):
        RunDirectory(run).losses()
