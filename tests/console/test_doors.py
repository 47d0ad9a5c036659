"""The command line: what it prints, and how it answers mistakes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jft.config import TrainConfig
from jft.evaluate import __main__ as evaluate
from jft.predict import __main__ as predict
from jft.train import __main__ as train
from jft.train.loop import fit

# One process after another asks for the same small run.
RUN = (
    *("--epochs", "1", "--batch-size", "128", "--freeze", "all-but:head"),
    *("--devices", "jit"),
)


def start(*args: str, **options: str) -> subprocess.Popen[str]:
    """Start `python -m ...` as a person would, on one device."""
    env = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"} | options
    return subprocess.Popen(
        [sys.executable, "-m", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished run of the bundled network on digits."""
    path = tmp_path_factory.mktemp("doors") / "run"
    config = TrainConfig(
        epochs=1,
        batch_size=128,
        freeze="all-but:head",
        devices="jit",
        workdir=str(path),
    )
    fit(config)
    return path


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """Return a folder with a picture, a file that is none, and a strange name."""
    draw = np.random.default_rng(0)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("one.png", "[red]two\n.png"):
        pixels = draw.integers(0, 256, (40, 50, 3), np.uint8)
        Image.fromarray(pixels).save(folder / name)
    (folder / "broken.jpg").write_text("no image")
    return folder


def test_a_pattern_that_matches_nothing_is_answered_with_near_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    args = ["--freeze", "stagee1/*", "--workdir", str(tmp_path), "--devices", "jit"]
    assert train.main(args) == 2
    assert "'stagee1/*'; did you mean 'stage1/*'" in capsys.readouterr().err


def test_training_says_what_happens(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    args = [*RUN, "--workdir", str(tmp_path / "run")]
    assert train.main(args) == 0
    first = capsys.readouterr().out
    for text in (
        "network   resnet20, 269,722 parameters",
        "weights   resnet20-cifar10",
        "a new head for 10 classes",
        "digits, 10 classes, 32 x 32 pixels",
        "1,438 images for training, 359 for testing",
        "trained   650 of 269,722 parameters (0.2%)",
        "epoch  train loss  accuracy  test loss  accuracy     time",
        "    1/1",
        "test accuracy",
        f"python -m jft.predict {tmp_path / 'run'}",
    ):
        assert text in first
    assert train.main(args) == 0
    assert "is finished already; nothing was done" in capsys.readouterr().out


def test_evaluate_prints_a_sentence_or_an_object(
    run: Path, capsys: pytest.CaptureFixture[str]
):
    result = json.loads((run / "result.json").read_text())
    assert evaluate.main([str(run), "--json", "--devices", "jit"]) == 0
    metrics = json.loads(capsys.readouterr().out)
    assert metrics["n"] == 359
    assert metrics["accuracy"] == result["accuracy"]
    assert metrics["loss"] == pytest.approx(result["loss"], rel=1e-6)
    assert evaluate.main([str(run), "--devices", "jit"]) == 0
    assert capsys.readouterr().out.startswith("accuracy ")
    assert evaluate.main([str(run), "--batch-size", "0"]) == 2
    assert "batch_size must be at least 1" in capsys.readouterr().err
    assert evaluate.main([str(run / "nothing")]) == 2
    assert "is not a run" in capsys.readouterr().err


def test_predict_prints_a_table_or_an_object_a_line(
    run: Path, picture: Path, capsys: pytest.CaptureFixture[str]
):
    # One file is no image: it is named, the others are predicted, the status shows it.
    assert predict.main([str(run), str(picture), "--json"]) == 1
    shown = capsys.readouterr()
    records = [json.loads(line) for line in shown.out.splitlines()]
    assert [Path(r["path"]).name for r in records] == ["[red]two\n.png", "one.png"]
    assert all(r["class"] in "0123456789" for r in records)
    assert all(0 < r["probability"] <= 1 for r in records)
    assert "broken.jpg" in shown.err
    assert predict.main([str(run), str(picture / "one.png")]) == 0
    table = capsys.readouterr().out.split("\n")
    assert table[0].split() == ["image", "class", "probability"]
    assert predict.main([str(run), str(picture / "[red]two\n.png")]) == 0
    assert r"[red]two\n.png" in capsys.readouterr().out.replace("\n", "")
    assert predict.main([str(run), "/no/image.png"]) == 2


@pytest.mark.thorough
@pytest.mark.process
def test_a_killed_run_ends_with_the_digest_of_the_whole_one(tmp_path: Path):
    # 90 steps, saved every 5, killed without warning in the middle of an epoch.
    rules = ("jft.train", "--epochs", "2", "--freeze", "until:stage2")
    whole = start(*rules, "--workdir", str(tmp_path / "whole"))
    _, errors = whole.communicate()
    assert whole.returncode == 0, errors
    killed = (*rules, "--checkpoint-every", "5", "--workdir", str(tmp_path / "killed"))
    process = start(*killed)
    checkpoints = tmp_path / "killed" / "checkpoints"
    while not any((checkpoints / str(s)).is_dir() for s in (5, 10, 15, 20, 30, 35)):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "killed" / "result.json").exists()
    again = start(*killed)
    output, errors = again.communicate()
    assert again.returncode == 0, errors
    assert "resuming after step" in output
    digests = [
        json.loads((tmp_path / name / "result.json").read_text())["params_digest"]
        for name in ("whole", "killed")
    ]
    assert digests[0] == digests[1]


@pytest.mark.process
@pytest.mark.thorough
def test_an_interrupt_saves_and_says_how_to_go_on(tmp_path: Path):
    process = start("jft.train", "--epochs", "50", "--workdir", str(tmp_path / "run"))
    metrics = tmp_path / "run" / "metrics.jsonl"
    while not metrics.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 75
    assert "the same command resumes from there" in errors
    assert "Traceback" not in errors
