"""Every example runs, and does what it claims."""

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from jft import tree
from jft.runs.saved import load_model

EXAMPLES = Path(__file__).parents[1] / "examples"


def run_notebook(path: Path) -> dict[str, Any]:
    """Run the code of a notebook, cell by cell; return its variables."""
    names: dict[str, Any] = {}
    for i, cell in enumerate(json.loads(path.read_text())["cells"]):
        if cell["cell_type"] == "code":
            code = compile("".join(cell["source"]), f"{path.name}, cell {i}", "exec")
            exec(code, names)
    return names


def test_notebooks_hold_no_outputs():
    for path in EXAMPLES.glob("*.ipynb"):
        for cell in json.loads(path.read_text())["cells"]:
            assert not cell.get("outputs")
            assert cell.get("execution_count") is None


@pytest.mark.thorough
def test_the_tutorial_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    names = run_notebook(EXAMPLES / "tutorial.ipynb")
    assert names["result"].metrics["accuracy"] > 0.9
    frozen = [layer for layer, moved in names["moved"].items() if not moved]
    first = [f"stage1/block{i}" for i in range(3)] + ["stage2/block0"]
    assert sorted(frozen) == [*first, "stem/conv", "stem/norm"]
    predicted = names["predictor"].class_names[names["probabilities"].argmax()]
    assert predicted == str(names["digits"].target[0])


@pytest.mark.thorough
def test_own_data_is_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    result = runpy.run_path(str(EXAMPLES / "own_data.py"))["main"]()
    assert result.metrics["n"] == 80
    assert result.metrics["accuracy"] > 0.75  # chance is 0.5


@pytest.mark.thorough
def test_own_model_is_learned_and_its_frozen_parts_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    runs = runpy.run_path(str(EXAMPLES / "own_model.py"))["main"]()
    assert [run.result.metrics["accuracy"] > 0.9 for run in runs] == [True, True]
    before, after = (run.predictor().variables for run in runs)
    for part, moved in (("conv1", False), ("norm1", False), ("conv2", True)):
        digests = {tree.digest(each["params"][part]) for each in (before, after)}
        assert len(digests) == 1 + moved, part


@pytest.mark.thorough
def test_the_loop_of_ones_own_trains_freezes_and_saves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    path = EXAMPLES / "loop.py"
    assert len(path.read_text().splitlines()) <= 60
    names = runpy.run_path(str(path))
    assert names["accuracy"] > 0.8
    before, after = names["net"].variables, names["state"].variables
    digest = names["digest"]
    for part in ("stem", "stage1"):
        for kind in ("params", "batch_stats"):
            assert digest(before[kind][part]) == digest(after[kind][part])
    assert digest(before["params"]["stage2"]) != digest(after["params"]["stage2"])
    saved = load_model(tmp_path / "digits_model")
    assert digest(saved.variables) == digest(after)
