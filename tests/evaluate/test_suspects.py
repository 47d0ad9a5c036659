"""Labels that look wrong are found from images that a classifier has not seen."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression

from jft.config import AugmentConfig, ModelConfig, OptimConfig, TrainConfig
from jft.errors import DataError, InputError
from jft.evaluate import __main__ as evaluate
from jft.evaluate import suspects
from jft.evaluate.suspects import find_suspects, out_of_fold, suspicious
from jft.train.loop import fit

NAN = float("nan")


def test_an_image_is_suspicious_above_the_mean_confidence_of_another_class():
    # Means of the own class: a (0.9 + 0.2) / 2 = 0.55, b (0.8 + 0.6) / 2 = 0.7.
    probabilities = np.array(
        [[0.9, 0.1], [0.2, 0.8], [0.2, 0.8], [0.4, 0.6], [NAN, NAN]]
    )
    labels = np.array([0, 0, 1, 1, 1])
    assert suspicious(probabilities, labels) == [(1, 1)]
    # 0.69 is below the threshold of b; and the last row has no class to look like.
    probabilities[1] = 0.31, 0.69
    assert suspicious(probabilities, labels) == []


def test_the_least_confident_label_comes_first():
    probabilities = np.array([[0.9, 0.1], [0.1, 0.9], [0.3, 0.7], [0.1, 0.9]])
    labels = np.array([0, 0, 0, 1])
    # Means: a 0.433, b 0.9. The third image is not confident enough.
    assert suspicious(probabilities, labels) == [(1, 1)]
    labels = np.array([0, 1, 0, 1])
    probabilities[2] = 0.05, 0.95
    assert suspicious(probabilities, labels) == [(2, 1)]


def test_probabilities_are_those_of_a_classifier_that_did_not_see_the_image():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 10)
    features = rng.normal(size=(30, 4)).astype(np.float32) + labels[:, None]
    found = out_of_fold(features, labels, 4)
    np.testing.assert_allclose(found.sum(1), 1)
    assert (found[:, 3] == 0).all()  # no image of the fourth class
    # By hand: the images that share a fold with the first are those whose
    # probabilities change when its features do not matter.
    from sklearn.model_selection import StratifiedKFold

    folds = StratifiedKFold(suspects.FOLDS, shuffle=True, random_state=0)
    for train, test in folds.split(features, labels):
        x = features[train].astype(np.float64)
        mean, std = x.mean(0), x.std(0)
        model = LogisticRegression(C=0.01, max_iter=200)
        model.fit((x - mean) / std, labels[train])
        expected = model.predict_proba((features[test] - mean) / std)
        # Both solvers stop at a gradient of 1e-4.
        np.testing.assert_allclose(found[test][:, :3], expected, atol=1e-4)


def test_a_class_of_one_image_is_not_judged():
    rng = np.random.default_rng(0)
    labels = np.array([0, 0, 0, 1, 1, 1, 2])
    found = out_of_fold(rng.normal(size=(7, 2)).astype(np.float32), labels, 3)
    assert np.isnan(found[6]).all()
    assert np.isfinite(found[:6]).all()
    assert (found[:6, 2] == 0).all()
    with pytest.raises(DataError, match="at least two classes of two images"):
        out_of_fold(np.zeros((3, 2), np.float32), np.array([0, 0, 1]), 2)


def pictures(folder: Path, bright: bool, n: int, name: str = "") -> None:
    rng = np.random.default_rng(n + bright)
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        image = rng.integers(0, 60, (32, 32, 3), np.uint8) + np.uint8(150 * bright)
        Image.fromarray(image).save(folder / f"{name}{i}.png")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run on dark and light images, two of which are in the wrong folder."""
    folder = tmp_path_factory.mktemp("suspects")
    for split, n in (("train", 8), ("test", 4)):
        for name in ("dark", "light"):
            pictures(folder / "images" / split / name, name == "light", n)
    pictures(folder / "images" / "train" / "dark", True, 1, "wrong")
    pictures(folder / "images" / "test" / "light", False, 1, "wrong")
    rules = TrainConfig(
        data=f"folder:{folder / 'images'}",
        model=ModelConfig(name="resnet20"),
        freeze="all-but:head",
        epochs=1,
        batch_size=8,
        devices="jit",
        augment=AugmentConfig(flip=False, crop_padding=0),
        optim=OptimConfig(learning_rate=0.01),
        workdir=str(folder / "run"),
    )
    return fit(rules).workdir


def test_images_in_the_wrong_folder_are_found(
    run: Path, capsys: pytest.CaptureFixture[str]
):
    assert evaluate.main([str(run), "--suspects"]) == 0
    shown = capsys.readouterr().out
    assert "all 2 are in" in shown
    with (run / "suspects.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(r["file"], r["label"], r["suggestion"]) for r in rows} == {
        ("train/dark/wrong0.png", "dark", "light"),
        ("test/light/wrong0.png", "light", "dark"),
    }
    for row in rows:
        assert float(row["probability"]) < 0.5 < float(row["suggested_probability"])
        assert row["file"] in shown
    with Image.open(run / "suspects.png") as sheet:
        assert sheet.size == (2 * suspects.SIDE, suspects.SIDE + 34)
    assert evaluate.main([str(run), "--suspects", "--json"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert [one["file"] for one in records] == [row["file"] for row in rows]


def test_the_pictures_are_those_of_the_files(run: Path):
    for one in find_suspects(run):
        with Image.open(run.parent / "images" / one.file) as image:
            np.testing.assert_array_equal(one.pixels, np.asarray(image))


def test_nothing_suspicious_is_one_sentence(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    for split in ("train", "test"):
        for name in ("dark", "light"):
            pictures(tmp_path / split / name, name == "light", 6)
    args = [str(run), "--suspects", "--data", f"folder:{tmp_path}"]
    assert evaluate.main(args) == 0
    assert capsys.readouterr().out == "no label looks wrong\n"


def test_what_cannot_be_judged_is_refused(run: Path, tmp_path: Path):
    assert evaluate.main([str(run), "--suspects", "--tta", "flip"]) == 2
    with pytest.raises(InputError, match="is not a run"):
        find_suspects(tmp_path)
