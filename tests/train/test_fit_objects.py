"""`fit` with objects in place of settings: data, task, optimizer."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import grain
import jax
import numpy as np
import numpy.typing as npt
import optax
import pytest
from PIL import Image
from test_loop import images, rules

import jft
from jft import tree
from jft.config import TrainConfig
from jft.errors import InputError
from jft.tasks import Classification, Regression
from jft.train.loop import fit

__all__ = ["images", "rules"]  # fixtures
Pairs = list[tuple[npt.NDArray[np.uint8], str]]


def read(folder: Path) -> Pairs:
    """Return the images of one split with their labels, in the order of the folder."""
    files = sorted(folder.glob("*/*.png"))
    return [(np.asarray(Image.open(file)), file.parent.name) for file in files]


def as_arrays(pairs: Pairs) -> tuple[npt.NDArray[np.uint8], list[str]]:
    return np.stack([image for image, _ in pairs]), [label for _, label in pairs]


def test_arrays_a_grain_dataset_and_a_folder_give_one_digest(
    rules: TrainConfig, images: Path, tmp_path: Path
):
    whole = fit(rules)
    train, test = read(images / "train"), read(images / "test")
    given = dataclasses.replace(rules, data="digits", workdir=str(tmp_path / "arrays"))
    arrays = fit(given, train=as_arrays(train), test=as_arrays(test))
    given = dataclasses.replace(given, workdir=str(tmp_path / "grain"))
    sets = [grain.MapDataset.source(pairs) for pairs in (train, test)]
    lazily = fit(given, train=sets[0], test=sets[1])
    assert arrays.params_digest == lazily.params_digest == whole.params_digest
    assert arrays.metrics == lazily.metrics == whole.metrics
    manifest = json.loads((arrays.workdir / "manifest.json").read_text())
    assert manifest["not_repeatable"] == ["data (object: tuple)"]
    run = jft.Run(arrays.workdir)
    assert run.config.data == "objects"
    assert run.result == arrays
    assert run.metrics == arrays.history
    with pytest.raises(InputError, match="was trained on data from Python: give"):
        run.evaluate(devices="jit")
    again = run.evaluate(as_arrays(test), devices="jit")
    assert again["accuracy"] == arrays.metrics["accuracy"]
    assert run.predictor()(test[0][0]).shape == (1, 2)
    assert run.export(str(tmp_path / "net.safetensors")).file.is_file()


@dataclasses.dataclass(frozen=True)
class HalfLoss(Classification):
    """Cross-entropy times a half."""

    def loss(self, logits: jax.Array, target: jax.Array) -> jax.Array:
        return super().loss(logits, target) * np.float32(0.5)


@pytest.mark.thorough
def test_a_task_and_an_optimizer_of_ones_own_train(rules: TrainConfig, tmp_path: Path):
    # With plain gradient descent, half the loss at twice the rate is the same run, but
    # for rounding: XLA compiles the two losses to different sums.
    names = ("dark", "light")
    smoothed = dataclasses.replace(rules, label_smoothing=0.1)
    whole = fit(smoothed, optimizer=optax.sgd(0.25))
    other = dataclasses.replace(smoothed, workdir=str(tmp_path / "half"))
    half = fit(
        other,
        task=HalfLoss(class_names=names, label_smoothing=0.1),
        optimizer=optax.sgd(0.5),
        callbacks=[jft.Callback(), jft.Printer()],
    )
    assert "learning_rate" not in half.history[0]
    manifest = json.loads((half.workdir / "manifest.json").read_text())
    assert [name.split()[0] for name in manifest["not_repeatable"]] == [
        "task",
        "optimizer",
        "callback",
    ]
    after = tree.flatten(jft.Run(half.workdir).predictor().variables)
    same = tree.flatten(jft.Run(whole.workdir).predictor().variables)
    for name, leaf in same.items():
        np.testing.assert_allclose(after[name], leaf, rtol=1e-4, atol=1e-5)
    start = jft.load_pretrained("tiny", "none", 2).variables
    for name, leaf in tree.flatten(start).items():
        frozen = "/stem/" in name
        assert np.array_equal(after[name], leaf) == frozen, name


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"test": ([], [])}, "test= without train="),
        ({"train": 3}, "train"),
        ({"callbacks": jft.Printer()}, "callbacks= must be a list of jft.Callback"),
        ({"callbacks": [jft.Printer]}, "callbacks= must be a list of jft.Callback"),
        ({"task": "classification"}, "task= must be a jft.Task, got str, which has no"),
        ({"optimizer": "adam"}, r"such as optax.adam\(1e-3\), got str"),
        (
            {"task": Classification(class_names=("a", "b"))},
            "outputs a, b, and",
        ),
    ],
)
def test_a_wrong_object_is_one_clear_error(
    rules: TrainConfig, given: dict[str, Any], message: str
):
    config = dataclasses.replace(rules, data="digits") if "train" in given else rules
    with pytest.raises(InputError, match=message):
        fit(config, **given)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (3, "must be a jft.TrainConfig, got int"),
        (TrainConfig(data=3), "data must be str, got 3"),  # pyright: ignore
        (TrainConfig(optim={"lr": 1.0}), "optim.lr is not a setting"),  # pyright: ignore
        (TrainConfig(optim=3), "optim must be OptimConfig, got 3"),  # pyright: ignore
        (TrainConfig(data="objects"), "give jft.fit the data again, as train="),
        (TrainConfig(epochs=1.5), "epochs must be int, got 1.5"),  # pyright: ignore
    ],
)
def test_a_wrong_configuration_is_one_clear_error(config: Any, message: str):
    with pytest.raises(InputError, match=message):
        fit(config)


def test_paths_and_mappings_are_taken_for_settings(rules: TrainConfig):
    config = dataclasses.replace(
        rules,
        workdir=Path(str(rules.workdir)),  # pyright: ignore[reportArgumentType]
        optim=vars(rules.optim),  # pyright: ignore[reportArgumentType]
        freeze="until:stagee1",
    )
    with pytest.raises(InputError, match="did you mean 'stage1'"):
        fit(config)


@pytest.mark.thorough
def test_a_regression_task_takes_whole_numbers_written_with_decimals(
    rules: TrainConfig, tmp_path: Path
):
    config = dataclasses.replace(rules, data="digits", epochs=1)
    numbers = [float(i % 4) for i in range(24)]
    pixels = np.arange(24 * 8 * 8 * 3).reshape(24, 8, 8, 3).astype(np.uint8)
    with pytest.raises(InputError, match="classes as int, and for numbers task="):
        fit(config, train=(pixels, numbers))
    task = Regression(class_names=("label",), mean=(1.5,), std=(1.1,))
    assert fit(config, train=(pixels, numbers), task=task).score == "r2"
