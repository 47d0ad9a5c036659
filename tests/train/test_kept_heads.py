"""A head of other weights: what it predicts is kept, or it is a new one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, r2_score
from test_other_tasks import N, pictures, rules, split_of, table

from jft.config import ModelConfig, OptimConfig
from jft.evaluate.run import evaluate_alphas, evaluate_run
from jft.export.write import export_run
from jft.models import ModelSpec
from jft.predict.predictor import Predictor
from jft.train.loop import fit

HARDLY = OptimConfig(learning_rate=1e-9, schedule="constant")


def brightness(folder: Path, scale: float, offset: float, at: str) -> str:
    """Return data of the pictures' brightness in some unit."""
    values = [float(image.mean()) for image in pictures(folder / "images")]
    numbers = {"brightness": [offset + scale * value for value in values]}
    return table(folder / f"{at}.csv", numbers)


def truth_of(data: str, which: str = "test") -> np.ndarray:
    lines = Path(data.removeprefix("csv:").partition("?")[0]).read_text().splitlines()
    rows = [line.split(",") for line in lines[1:]]
    return np.array([float(row[2]) for row in rows if row[1] == which])


def predicted(source: Any, folder: Path) -> np.ndarray:
    tests = [
        folder / "images" / f"{i:02}.png" for i in range(N) if split_of(i) == "test"
    ]
    return Predictor.from_run(source)(tests)[:, 0]


@pytest.fixture
def trained(tiny: ModelSpec, tmp_path: Path) -> tuple[Path, str]:
    """Return a run on numbers of 5.4e6 and its data."""
    data = brightness(tmp_path, scale=0.01, offset=5.4e6, at="first")
    config = rules(data, tmp_path, epochs=30, workdir=str(tmp_path / "first"))
    return fit(config).workdir, data


@pytest.mark.thorough
def test_a_kept_head_predicts_the_same_numbers_under_another_standardisation(
    trained: tuple[Path, str], tmp_path: Path
):
    run, data = trained
    found, truth = predicted(run, tmp_path), truth_of(data)
    metrics = evaluate_run(run, devices="jit")
    # Standardised float32 numbers of about 1 and a spread of 0.4 in the data's units.
    assert metrics["mae"] == pytest.approx(mean_absolute_error(truth, found), rel=1e-5)
    assert metrics["r2"] == pytest.approx(r2_score(truth, found), rel=1e-5)
    assert metrics["r2"] > 0.5
    # The same numbers, but the training images are the dark ones: another mean and std.
    lines = Path(data.removeprefix("csv:").partition("?")[0]).read_text().splitlines()
    middle = float(np.median(truth_of(data, "train")))
    kept = [
        line
        for line in lines
        if not ("train" in line and float(line.split(",")[2]) > middle)
    ]
    (tmp_path / "second.csv").write_text("\n".join(kept) + "\n")
    other = f"csv:{tmp_path / 'second.csv'}?label=brightness"
    weights = [str(run), str(export_run(str(run)).file)]
    for i, source in enumerate(weights):
        again = fit(
            rules(
                other,
                tmp_path,
                weights=source,
                epochs=1,
                optim=HARDLY,
                norm="stored",
                workdir=str(tmp_path / f"again{i}"),
            )
        )
        # Kernel and bias are rounded to float32 once more, at a tenth of the spread.
        np.testing.assert_allclose(
            predicted(again.workdir, tmp_path), found, rtol=0, atol=1e-5
        )
        assert again.metrics["r2"] == pytest.approx(metrics["r2"], abs=1e-4)
    (zero,) = evaluate_alphas(tmp_path / "again0", [0.0], devices="jit")
    assert zero["r2"] == pytest.approx(metrics["r2"], abs=1e-4)


@pytest.mark.thorough
def test_a_head_of_another_kind_is_a_new_one(trained: tuple[Path, str], tmp_path: Path):
    run, data = trained
    shared: dict[str, Any] = {"epochs": 1, "optim": HARDLY, "weights": str(run)}
    labels = table(tmp_path / "labels.csv", {"brightness": [i % 2 for i in range(N)]})
    yes_or_no = f"{labels}&task=multilabel"
    for i, (given, model, new) in enumerate(
        (
            (yes_or_no, ModelConfig(name="tiny"), True),
            (data, ModelConfig(name="tiny", new_head=True), True),
            (data, ModelConfig(name="tiny"), False),
        )
    ):
        out = tmp_path / f"kind{i}"
        result = fit(rules(given, tmp_path, model=model, workdir=str(out), **shared))
        manifest = (result.workdir / "manifest.json").read_text()
        assert ("params/head/kernel" in manifest) == new
