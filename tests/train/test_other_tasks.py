"""Labels, numbers and masks through the one trainer, evaluation and prediction."""

import csv
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jft import tree
from jft.config import AugmentConfig, ModelConfig, OptimConfig, TaskConfig, TrainConfig
from jft.errors import InputError
from jft.evaluate.run import evaluate_run
from jft.models import ModelSpec
from jft.predict.__main__ import main as predict
from jft.predict.predictor import Predictor
from jft.train.callbacks import Callback
from jft.train.loop import fit
from jft.train.setup import Setup

N = 24  # images, of which every third is for testing


def pictures(folder: Path) -> list[np.ndarray]:
    """Write and return noise images whose left and right halves may be bright."""
    draw = np.random.default_rng(0)
    images: list[np.ndarray] = []
    for i in range(N):
        image = draw.integers(0, 80, (32, 24, 3), np.uint8)
        image[:, :12] += np.uint8(120 * (i % 2))
        image[:, 12:] += np.uint8(120 * (i // 2 % 2))
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{i:02}.png")
        images.append(image)
    return images


def split_of(i: int) -> str:
    return "test" if i % 3 == 0 else "train"


def table(file: Path, columns: dict[str, Any]) -> str:
    """Write a CSV of the pictures; return it as `--data` has it."""
    with file.open("w", newline="") as text:
        writer = csv.writer(text)
        writer.writerow(["path", "split", *columns])
        for i in range(N):
            cells = [values[i] for values in columns.values()]
            writer.writerow([f"images/{i:02}.png", split_of(i), *cells])
    return f"csv:{file}?label={','.join(columns)}"


@pytest.fixture
def labels(tmp_path: Path) -> str:
    """Return data where each image has the labels left and right, or not."""
    pictures(tmp_path / "images")
    columns = {
        "left": [i % 2 for i in range(N)],
        "right": [i // 2 % 2 for i in range(N)],
    }
    return table(tmp_path / "labels.csv", columns)


@pytest.fixture
def numbers(tmp_path: Path) -> str:
    """Return data where each image has a brightness, in units of its own."""
    bright = [500 + float(image.mean()) / 10 for image in pictures(tmp_path / "images")]
    return table(tmp_path / "numbers.csv", {"brightness": bright})


@pytest.fixture
def masks(tmp_path: Path) -> str:
    """Return data whose masks are 1 in bright halves, and void in a strip."""
    for i, image in enumerate(pictures(tmp_path / "all")):
        place = tmp_path / "masks" / split_of(i)
        mask = (image.mean(axis=-1) > 85).astype(np.uint8)
        mask[:2] = 255
        for kind, pixels in (("images", image), ("masks", mask)):
            (place / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(place / kind / f"{i:02}.png")
    return f"masks:{tmp_path / 'masks'}"


def flat(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return metrics with those of each class beside the others, but no words."""
    leaves = tree.flatten(metrics).items()
    return {name: float(leaf) for name, leaf in leaves if not isinstance(leaf, str)}


def rules(data: str, tmp_path: Path, **changes: Any) -> TrainConfig:
    return dataclasses.replace(
        TrainConfig(
            data=data,
            weights="none",
            model=ModelConfig(name="tiny"),
            freeze="none",
            epochs=3,
            batch_size=8,
            image_size=32,
            label_smoothing=0.0,
            augment=AugmentConfig(crop_padding=0),
            optim=OptimConfig(learning_rate=0.02),
            devices="jit",
            workdir=str(tmp_path / "run"),
        ),
        **changes,
    )


def test_labels_are_learned_measured_and_predicted(
    tiny: ModelSpec, labels: str, tmp_path: Path
):
    result = fit(rules(labels, tmp_path))
    assert result.score == "mAP"
    assert result.metrics["AP"].keys() == {"left", "right"}
    again = evaluate_run(result.workdir, devices="jit", batch_size=3)
    assert flat(again) == pytest.approx(flat(result.metrics), rel=1e-5)
    predictor = Predictor.from_run(result.workdir)
    tests = [i for i in range(N) if split_of(i) == "test"]
    rows = predictor([tmp_path / "images" / f"{i:02}.png" for i in tests])
    truth = np.array([[i % 2, i // 2 % 2] for i in tests])
    # Average precision by its definition: the mean over positives of the precision
    # at their score.
    for k, name in enumerate(predictor.class_names):
        at = [rows[:, k] >= score for score in rows[truth[:, k] == 1, k]]
        precision = [truth[above, k].mean() for above in at]
        assert result.metrics["AP"][name] == pytest.approx(np.mean(precision), abs=1e-9)


@pytest.mark.thorough
def test_numbers_are_predicted_in_their_own_units(
    tiny: ModelSpec, numbers: str, tmp_path: Path
):
    result = fit(rules(numbers, tmp_path, epochs=40))
    assert result.score == "r2"
    predictor = Predictor.from_run(result.workdir)
    images = [f"{i:02}.png" for i in range(N) if split_of(i) == "test"]
    found = predictor([tmp_path / "images" / name for name in images])
    assert found.shape == (8, 1)
    with (tmp_path / "numbers.csv").open() as text:
        truth = [float(r["brightness"]) for r in csv.DictReader(text)]
    truth = np.array([truth[i] for i in range(N) if split_of(i) == "test"])
    error = np.abs(found[:, 0] - truth)
    # The metric is float32 sums of standardised numbers about 500 large.
    assert result.metrics["mae"] == pytest.approx(error.mean(), rel=1e-3)
    assert error.mean() < np.abs(truth - truth.mean()).mean()


@pytest.mark.thorough
def test_crops_of_masked_images_are_taken_from_larger_ones(
    tiny: ModelSpec, masks: str, tmp_path: Path
):
    # Its candidates are judged on training images, which are brought to size whole.
    augment = AugmentConfig(crop_padding=0, resized_crop=0.3)
    config = rules(masks, tmp_path, augment=augment, phases="1*none@0.01|0.02; 1*none")
    seen: list[tuple[int, ...]] = []

    class Sizes(Callback):
        def on_begin(self, setup: Setup) -> None:
            splits = setup.splits
            seen.extend(np.shape(split[0][1]) for split in (splits.train, splits.test))

    result = fit(config, callbacks=[Sizes()])
    assert seen == [(59, 59), (32, 32)]  # 32 / sqrt(0.3)
    lines = (result.workdir / "metrics.jsonl").read_text().splitlines()
    judged = [one for line in lines if (one := json.loads(line))["split"] == "held-out"]
    assert len(judged) == 2
    assert all(0 < one["pixel_accuracy"] < 1 for one in judged)


@pytest.mark.thorough
def test_masks_are_learned_measured_and_predicted(
    tiny: ModelSpec, masks: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    augment = AugmentConfig(crop_padding=2, flip=True, rotate=5.0)
    result = fit(rules(masks, tmp_path, epochs=40, augment=augment))
    assert result.score == "mIoU"
    assert result.metrics["mIoU"] > 0.6
    output = tmp_path / "found"
    tests = tmp_path / "masks" / "test"
    capsys.readouterr()
    args = [str(result.workdir), str(tests / "images"), "--output", str(output)]
    assert predict([*args, "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    confusion = np.zeros((2, 2))
    for line in lines:
        mask = np.asarray(Image.open(line["mask"]))
        truth = np.asarray(Image.open(tests / "masks" / Path(line["mask"]).name))
        assert mask.shape == truth.shape == (32, 24)
        places = {"background": 0, "foreground": 1}
        shares = {n: float((mask == places[n]).mean()) for n in line["fractions"]}
        assert line["fractions"] == pytest.approx(shares, abs=1e-6)
        known = truth < 2
        np.add.at(confusion, (truth[known], mask[known]), 1)
    # Images of 32 pixels are seen at their own size, so pixels agree one by one.
    union = confusion.sum(0) + confusion.sum(1) - confusion.diagonal()
    iou = confusion.diagonal() / union
    assert result.metrics["mIoU"] == pytest.approx(iou.mean(), abs=1e-9)


class StopAfter(Callback):
    """Breaks a run off after some steps."""

    def __init__(self, steps: int) -> None:
        self._steps = steps

    def on_step(self, step: int, totals: Mapping[str, Any]) -> None:
        if step == self._steps:
            raise RuntimeError("crash")


@pytest.mark.thorough
def test_a_run_on_masks_that_was_broken_off_ends_as_the_whole_one(
    tiny: ModelSpec, masks: str, tmp_path: Path
):
    whole = fit(rules(masks, tmp_path))
    broken = rules(
        masks, tmp_path, workdir=str(tmp_path / "broken"), checkpoint_every=1
    )
    with pytest.raises(RuntimeError, match="crash"):
        fit(broken, callbacks=[StopAfter(4)])
    resumed = fit(broken)
    assert resumed.params_digest == whole.params_digest
    assert resumed.metrics == whole.metrics


@pytest.mark.thorough
def test_masks_on_several_devices_are_measured_as_on_one(
    tiny: ModelSpec, masks: str, tmp_path: Path
):
    run = fit(rules(masks, tmp_path, epochs=1)).workdir
    one = evaluate_run(run, devices="jit", batch_size=8)
    many = evaluate_run(run, devices="pmap", batch_size=8)
    assert many["n"] == one["n"]
    # Sums in another order; a pixel whose logits are all but equal may turn.
    assert flat(many) == pytest.approx(flat(one), rel=1e-3)


@pytest.mark.thorough
def test_labels_on_several_devices_keep_every_row(
    tiny: ModelSpec, labels: str, tmp_path: Path
):
    run = fit(rules(labels, tmp_path, epochs=1)).workdir
    one = evaluate_run(run, devices="jit", batch_size=8)
    many = evaluate_run(run, devices="pmap", batch_size=8)
    assert flat(many) == pytest.approx(flat(one), rel=1e-5)


@pytest.mark.parametrize(
    ("data", "changes", "reason"),
    [
        ("masks", {"augment": AugmentConfig(mixup=0.2)}, "masks are never blended"),
        ("masks", {"sampling": "balanced"}, "balanced needs one class or label"),
        ("masks", {"task": TaskConfig(loss="mse")}, "valid: cross-entropy, dice"),
        ("numbers", {"task": TaskConfig(loss="focal")}, "valid: mse, mae, huber"),
        ("numbers", {"task": TaskConfig(class_weights="balanced")}, "no classes"),
        ("numbers", {"augment": AugmentConfig(cutmix=1.0)}, "use augment.mixup"),
        ("labels", {"model": ModelConfig(name="tiny", decoder="unet")}, "has none"),
        ("masks", {"model": ModelConfig(name="tiny", decoder="none")}, "decoder"),
    ],
)
def test_rules_that_do_not_fit_the_data_are_refused_before_training(
    data: str,
    changes: dict[str, Any],
    reason: str,
    tiny: ModelSpec,
    tmp_path: Path,
    request: pytest.FixtureRequest,
):
    with pytest.raises(InputError, match=reason):
        fit(rules(request.getfixturevalue(data), tmp_path, **changes))
