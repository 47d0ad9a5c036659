"""Measuring a run: names in another order, views of an image, what is printed."""

import csv
import json
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
from conftest import TINY
from PIL import Image
from sklearn.metrics import confusion_matrix

from jft.augment import VIEWS
from jft.config import AugmentConfig, ModelConfig, TrainConfig
from jft.data.listing import TaskName
from jft.data.sources import Source
from jft.errors import InputError
from jft.evaluate import __main__ as evaluate
from jft.evaluate import run as evaluation
from jft.evaluate.run import evaluate_run, relabel
from jft.evaluate.source import mistakes
from jft.export import __main__ as export
from jft.models import MODELS
from jft.predict import __main__ as predict
from jft.predict.predictor import Predictor
from jft.tasks import Classification, MultiLabel, Regression, Segmentation, Task
from jft.train.loop import fit
from jft.train.printer import Printer

NAN = float("nan")
CLASSES = Classification(("a", "b", "c"))
LABELS = MultiLabel(("a", "b", "c"))
MASKS = Segmentation(("a", "b", "c"))
NUMBERS = Regression(("a", "b", "c"), mean=(0.0,) * 3, std=(1.0,) * 3)


def source(task: TaskName, labels: Any, names: tuple[str, ...]) -> Source:
    n = len(labels)
    images, weights = np.zeros((n, 2, 2, 3), np.uint8), np.ones(n, np.float32)
    return Source(images, labels, weights, names, task)


def test_the_same_names_in_the_same_order_change_nothing():
    same = source("regression", np.zeros((2, 3), np.float32), ("a", "b", "c"))
    assert relabel(same, NUMBERS) is same


@pytest.mark.parametrize(
    ("task", "names", "labels", "expected"),
    [
        (CLASSES, ("c", "a"), np.array([0, 1, 0], np.int32), [2, 0, 2]),
        (
            LABELS,
            ("c", "a", "b"),
            np.array([[1, 0, -1], [0, 1, 1]], np.int32),
            [[0, -1, 1], [1, 1, 0]],
        ),
        (LABELS, ("c",), np.array([[1], [-1]], np.int32), [[-1, -1, 1], [-1, -1, -1]]),
        (
            NUMBERS,
            ("b", "a", "c"),
            np.array([[1.5, 2.5, np.nan]], np.float32),
            [[2.5, 1.5, np.nan]],
        ),
        (NUMBERS, ("b",), np.array([[1.5]], np.float32), [[np.nan, 1.5, np.nan]]),
        (
            MASKS,
            ("b", "c", "a"),
            np.array([[[0, 1], [2, 255]]], np.uint8),
            [[[1, 2], [0, 255]]],
        ),
        (MASKS, ("c",), np.array([[[0, 0], [255, 0]]], np.uint8), [[[2, 2], [255, 2]]]),
    ],
    ids=[
        *("classes", "labels", "fewer labels", "numbers", "fewer numbers", "masks"),
        "fewer classes of masks",
    ],
)
def test_labels_are_found_by_their_names(
    task: Task, names: tuple[str, ...], labels: np.ndarray, expected: list[Any]
):
    given = source(task.name, labels, names)
    found = relabel(given, task)
    assert found.class_names == task.class_names
    assert len(found.labels) == len(found) == len(labels)
    places = [found[i][1] for i in range(len(found))]
    np.testing.assert_array_equal(places, expected)
    assert np.asarray(places[0]).dtype == labels.dtype


@pytest.mark.parametrize(
    ("task", "labels", "what"),
    [
        (CLASSES, np.zeros(1, np.int32), "classes"),
        (LABELS, np.zeros((1, 3), np.int32), "labels"),
        (MASKS, np.zeros((1, 2, 2), np.uint8), "classes"),
        (NUMBERS, np.zeros((1, 3), np.float32), "numbers"),
    ],
    ids=["classes", "labels", "masks", "numbers"],
)
def test_what_the_run_does_not_know_is_named(task: Task, labels: np.ndarray, what: str):
    with pytest.raises(InputError) as caught:
        relabel(source(task.name, labels, ("z", "a", "y")), task)
    assert str(caught.value) == (
        f"the data has {what} that the run was not trained on: y, z\n"
        f"the run's {what}: a, b, c"
    )
    other = NUMBERS if task is CLASSES else CLASSES
    with pytest.raises(InputError, match=f"trained for {other.name}, and the data is"):
        relabel(source(task.name, labels, other.class_names), other)


def test_the_door_has_the_views_that_there_are():
    assert get_args(get_type_hints(evaluate.Flags)["tta"]) == tuple(VIEWS)


@pytest.fixture(scope="module", autouse=True)
def known() -> Iterator[None]:
    """Make the small network known by the name "tiny"."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, TINY.name, TINY)
        yield


def rules(data: str, run: Path) -> TrainConfig:
    return TrainConfig(
        data=data,
        weights="none",
        model=ModelConfig(name="tiny"),
        freeze="none",
        epochs=1,
        batch_size=8,
        image_size=32,
        augment=AugmentConfig(crop_padding=0),
        devices="jit",
        workdir=str(run),
    )


def pictures(folder: Path, seed: int) -> None:
    """Write four images whose right halves are bright."""
    draw = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for i in range(4):
        image = draw.integers(0, 256, (32, 32, 3), np.uint8)
        image[:, :16] //= 2
        Image.fromarray(image).save(folder / f"{i}.png")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run on two classes, whose test images lie beside it."""
    folder = tmp_path_factory.mktemp("evaluation")
    for seed, split in enumerate(("train", "test")):
        for name in ("dark", "light"):
            pictures(folder / "images" / split / name, seed + 2 * (name == "dark"))
    return fit(rules(f"folder:{folder / 'images'}", folder / "run")).workdir


def test_views_are_averaged_through_the_door(
    run: Path, capsys: pytest.CaptureFixture[str]
):
    args = [str(run), "--devices", "jit", "--json"]
    assert evaluate.main([*args, "--tta", "flip"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert evaluate.main(args) == 0
    plain = json.loads(capsys.readouterr().out)
    assert found["score"] == plain["score"] == "accuracy"
    assert found["loss"] != plain["loss"]
    paths = sorted((run.parent / "images" / "test").rglob("*.png"))
    images = [np.asarray(Image.open(path)) for path in paths]
    predictor = Predictor.from_run(run)
    # Logarithms of probabilities are logits but for a constant of each image.
    logits = np.log(predictor(images)) + np.log(predictor([i[:, ::-1] for i in images]))
    logits = logits.astype(np.float64) / 2
    labels = [int(path.parent.name == "light") for path in paths]
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(8), labels]
    assert found["loss"] == pytest.approx(losses.mean(), rel=1e-4)
    called = predictor(images).argmax(axis=1)
    assert plain["classes"] == ["dark", "light"]
    assert plain["confusion"] == confusion_matrix(labels, called).tolist()
    result = json.loads((run / "result.json").read_text())
    for name in ("precision", "F1", "support", "roc_auc", "trivial"):
        assert result[name] == plain[name]
    assert result["trivial"] == 0.5
    assert evaluate.main(args[:-1]) == 0
    assert "confusion: a row for each class" in capsys.readouterr().out


def test_a_run_lists_the_images_whose_class_is_wrong(run: Path):
    paths = sorted((run.parent / "images" / "test").rglob("*.png"))
    found = Predictor.from_run(run)(paths)
    expected = {
        f"{path.parent.name}/{path.name}": (name, row.max())
        for path, row in zip(paths, found, strict=True)
        if (name := ("dark", "light")[row.argmax()]) != path.parent.name
    }
    with (run / "mistakes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(expected) > 0
    for row in rows:
        name, probability = expected["/".join(row["file"].split("/")[-2:])]
        assert row["label"] == row["file"].split("/")[-2]
        assert row["predicted"] == name
        # Six digits of a float32 softmax.
        assert float(row["probability"]) == pytest.approx(probability, abs=2e-6)


def test_mistakes_are_sorted_and_skip_examples_without_weight():
    given = source("classification", np.int32([0, 1, 2, 1]), ("a", "b,c", "d"))
    weights = np.float32([1, 0, 1, 0.5])
    given = replace(given, weights=weights, keys=("0.png", "1.png", "2.png", "3.png"))
    rows = {
        "label": np.int32([0, 2, 1]),
        "predicted": np.int32([1, 3, 1]),
        "probability": np.float32([0.5, 0.75, 1]),
    }
    assert mistakes(given, rows).splitlines() == [
        "file,label,predicted,probability",
        "2.png,d,,0.750000",
        '0.png,a,"b,c",0.500000',
    ]
    assert mistakes(given, None) == mistakes(given, {"label": weights}) == ""


def test_what_is_not_finite_is_null_in_json(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    measured = {"score": "r2", "n": 1, "loss": NAN, "r2": NAN, "each_r2": {"a": NAN}}
    monkeypatch.setattr(evaluation, "evaluate_run", lambda *args, **rules: measured)
    assert evaluate.main([str(run), "--json"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("null") == 3
    assert "NaN" not in shown


def test_views_that_there_are_not_are_answered_with_the_nearest(run: Path):
    with pytest.raises(InputError, match="did you mean 'flip'"):
        evaluate_run(run, views="flipp", devices="jit")


def test_a_run_that_has_not_ended_is_no_traceback(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "config.json").write_bytes((run / "config.json").read_bytes())
    for more in ([], ["--interpolate", "0.5"]):
        assert evaluate.main([str(tmp_path), *more]) == 2
        assert "has no saved model: run the same" in capsys.readouterr().err


@pytest.fixture
def masks(tmp_path: Path) -> str:
    """Return data whose masks are 1 in bright halves."""
    mask = np.zeros((32, 32), np.uint8)
    mask[:, 16:] = 1
    for seed, split in enumerate(("train", "test")):
        folder = tmp_path / "masks" / split
        pictures(folder / "images", seed)
        (folder / "masks").mkdir()
        for i in range(4):
            Image.fromarray(mask).save(folder / "masks" / f"{i}.png")
    return f"masks:{tmp_path / 'masks'}"


@pytest.mark.thorough
def test_what_is_said_after_training_can_be_done(
    masks: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    fit(rules(masks, tmp_path / "run"), callbacks=[Printer()])
    shown = capsys.readouterr().out
    commands = [shlex.split(line) for line in shown.split("next:\n")[1].splitlines()]
    assert [words[2] for words in commands] == [
        *("jft.predict", "jft.evaluate", "jft.export")
    ]
    doors = {"predict": predict, "evaluate": evaluate, "export": export}
    found = tmp_path / "found"
    values = {
        "IMAGE_OR_FOLDER": str(tmp_path / "masks" / "test" / "images"),
        "FOLDER_FOR_MASKS": str(found),
    }
    for _, _, door, *args in commands:
        assert doors[door[4:]].main([values.get(arg, arg) for arg in args]) == 0
    assert len(list(found.glob("*.png"))) == 4
    epoch, result = (
        next(line for line in shown.splitlines() if line.startswith(word))
        for word in ("    1/1", "test mIoU")
    )
    # One way of writing a score, wherever it stands.
    score = result.split()[2]
    assert epoch.split()[4] == score
    assert f"mIoU {score} (4 images), loss" in capsys.readouterr().out


@pytest.mark.thorough
def test_masks_whose_values_come_in_another_order_measure_the_same(
    masks: str, tmp_path: Path
):
    run = fit(rules(f"{masks}?classes=dark,light&values=0,1", tmp_path / "run")).workdir
    turned = f"{masks}?classes=light,dark&values=1,0"
    found = evaluate_run(run, turned, devices="jit", batch_size=3)
    assert found == evaluate_run(run, devices="jit", batch_size=3)
