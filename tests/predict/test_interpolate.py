"""Networks between the pretrained and the fine-tuned one of a run."""

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TINY
from flax.core import FrozenDict
from PIL import Image

from jft import config as configs
from jft import tree
from jft.config import ModelConfig, OptimConfig, TrainConfig
from jft.errors import InputError
from jft.evaluate import __main__ as evaluate
from jft.evaluate import run as evaluation
from jft.evaluate.run import evaluate_alphas, evaluate_run
from jft.export import __main__ as export
from jft.export.write import export_run
from jft.models import MODELS
from jft.predict.interpolate import interpolate, pretrained_variables
from jft.predict.predictor import Predictor
from jft.runs.directory import RunDirectory
from jft.train.loop import fit
from jft.weights.export import write_weights
from jft.weights.files import read_tensors
from jft.weights.pretrained import load_pretrained

pytestmark = pytest.mark.thorough

HEAD = {"params/head/kernel", "params/head/bias"}
ALPHAS = (0.0, 0.1, 0.25, 0.5, 0.9, 1.0)


@pytest.fixture(scope="module", autouse=True)
def known() -> Iterator[None]:
    """Make the small network known by the name "tiny"."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, TINY.name, TINY)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with images of two classes, and weights for three others."""
    folder, draw = tmp_path_factory.mktemp("interpolate"), np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 4)):
        for name, level in (("dark", 60), ("light", 190)):
            place = folder / "images" / split / name
            place.mkdir(parents=True)
            for i in range(count):
                pixels = draw.integers(level - 50, level + 50, (32, 32, 3), np.uint8)
                Image.fromarray(pixels).save(place / f"{i}.png")
    random = load_pretrained(TINY.name, "none", 3, seed=1).variables
    # A new network's statistics are all 0 and 1.
    values = {
        name: leaf + draw.uniform(0, 0.5, leaf.shape).astype(np.float32)
        if name.startswith("batch_stats/")
        else leaf
        for name, leaf in flat(random).items()
    }
    write_weights(folder / "began.safetensors", values, {"model": TINY.name})
    return folder


def rules(folder: Path, weights: str, name: str) -> TrainConfig:
    return TrainConfig(
        data=f"folder:{folder / 'images'}",
        weights=weights,
        model=ModelConfig(name=TINY.name),
        freeze="until:stem",
        epochs=4,
        batch_size=8,
        optim=OptimConfig(learning_rate=0.2),
        devices="jit",
        workdir=str(folder / name),
    )


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    """Return a finished run with a new head and a frozen stem."""
    return fit(rules(folder, str(folder / "began.safetensors"), "run")).workdir


@pytest.fixture(scope="module")
def again(folder: Path, run: Path) -> Path:
    """Return a run that began with the first one, head included."""
    return fit(rules(folder, str(run), "again")).workdir


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    """Return a copy of the run, whose weights are a copy too."""
    shutil.copytree(run, tmp_path / "run")
    weights = shutil.copy(run.parent / "began.safetensors", tmp_path)
    config = configs.from_dict(json.loads((run / "config.json").read_text()))
    moved = configs.to_dict(dataclasses.replace(config, weights=str(weights)))
    RunDirectory(tmp_path / "run").write("config.json", moved)
    return tmp_path / "run"


def flat(variables: Any) -> dict[str, np.ndarray]:
    return {name: np.asarray(leaf) for name, leaf in tree.flatten(variables).items()}


def between(run: Path, alpha: float | None) -> dict[str, np.ndarray]:
    return flat(Predictor.from_run(run, alpha=alpha).variables)


def same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    return one.dtype == other.dtype and one.tobytes() == other.tobytes()


@pytest.mark.parametrize("alpha", ALPHAS)
def test_every_pretrained_variable_lies_at_the_share_of_the_way(
    run: Path, alpha: float
):
    began = read_tensors(run.parent / "began.safetensors").tensors
    tuned, mixed = between(run, None), between(run, alpha)
    assert set(mixed) == set(tuned)
    for name, leaf in mixed.items():
        assert leaf.dtype == np.float32
        if name in HEAD:
            assert same_bits(leaf, tuned[name])
            continue
        start, end = (x.astype(np.longdouble) for x in (began[name], tuned[name]))
        expected = (start + alpha * (end - start)).astype(np.float32)
        # Both round once to float32, from sums that differ in their last bit.
        np.testing.assert_array_max_ulp(leaf, expected, maxulp=1)
    moved = {n for n in tuned if n not in HEAD and not same_bits(tuned[n], began[n])}
    assert any("/mean" in name for name in moved)
    assert any("/kernel" in name for name in moved)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_frozen_variables_are_the_pretrained_bits_at_every_share(
    run: Path, alpha: float
):
    began = read_tensors(run.parent / "began.safetensors").tensors
    mixed = between(run, alpha)
    stem = {name for name in mixed if "/stem/" in name}
    assert len(stem) == 5
    assert all(same_bits(mixed[name], began[name]) for name in stem)


def test_the_ends_are_both_networks_to_the_bit(run: Path):
    digest = json.loads((run / "result.json").read_text())["params_digest"]
    assert tree.digest(Predictor.from_run(run, alpha=1).variables) == digest
    began = read_tensors(run.parent / "began.safetensors").tensors
    start = between(run, 0)
    assert all(same_bits(start[name], began[name]) for name in set(start) - HEAD)


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.3, 0.7, 1.0])
def test_equal_values_and_signs_of_zero_survive(alpha: float):
    draw = np.random.default_rng(0)
    equal = draw.normal(size=4096).astype(np.float32) * np.float32(1e-38)
    equal[:4] = -0.0, 0.0, np.finfo(np.float32).max, np.finfo(np.float32).tiny
    one, other = np.array([1.0, -0.0], np.float32), np.array([-0.0, 1.0], np.float32)
    began = {"params/frozen": equal, "params/trained": one}
    tuned = FrozenDict({"params": {"frozen": equal, "trained": other}})
    mixed = flat(interpolate(began, tuned, alpha))
    assert same_bits(mixed["params/frozen"], equal)
    if alpha in (0, 1):
        assert same_bits(mixed["params/trained"], other if alpha else one)


def test_a_head_that_was_pretrained_is_interpolated_too(run: Path, again: Path):
    assert set(pretrained_variables(again, Predictor.from_run(again).task)) == set(
        between(again, None)
    )
    start, end = between(run, None), between(again, None)
    middle = between(again, 0.5)["params/head/kernel"]
    expected = (start["params/head/kernel"] + end["params/head/kernel"]) / 2
    # Half a sum is exact but for the sum's own rounding.
    np.testing.assert_array_max_ulp(middle, expected, maxulp=1)
    assert not same_bits(middle, end["params/head/kernel"])


@pytest.mark.parametrize("alpha", [-0.01, 1.01, float("nan"), float("inf")])
def test_alphas_outside_0_and_1_are_refused(run: Path, alpha: float):
    for use in (
        lambda: Predictor.from_run(run, alpha=alpha),
        lambda: evaluate_alphas(run, [0.5, alpha]),
        lambda: export_run(str(run), alpha=alpha),
    ):
        with pytest.raises(InputError, match=rf"must be in \[0, 1\], got {alpha}"):
            use()


def test_weights_that_have_changed_are_refused_with_both_digests(copy: Path):
    file = copy.parent / "began.safetensors"
    before = read_tensors(file)
    write_weights(file, before.tensors, {**before.metadata, "note": "x"})
    with pytest.raises(InputError) as caught:
        Predictor.from_run(copy, alpha=0.5)
    after = read_tensors(file).sha256
    assert f"its sha256 is {after}, and was {before.sha256}" in str(caught.value)
    assert after != before.sha256


def test_weights_that_are_gone_are_named(copy: Path):
    (copy.parent / "began.safetensors").unlink()
    answer = r"cannot be read: no weights .*/began\.safetensors'"
    with pytest.raises(InputError, match=answer):
        pretrained_variables(copy, Predictor.from_run(copy).task)
    assert Predictor.from_run(copy).class_names == ("dark", "light")


def test_a_run_from_random_weights_has_nothing_to_interpolate_from(folder: Path):
    random = fit(rules(folder, "none", "random")).workdir
    with pytest.raises(InputError, match="started from random weights"):
        Predictor.from_run(random, alpha=1)


def test_each_share_is_measured_as_that_network_predicts(
    run: Path, monkeypatch: pytest.MonkeyPatch
):
    traced, opened = [], []
    make, open_splits = evaluation.make_eval_step, evaluation.open_splits

    def counted(*args: Any) -> Any:
        step = make(*args)
        return lambda *inputs: (traced.append(1), step(*inputs))[1]

    def counted_splits(*args: Any) -> Any:
        opened.append(1)
        return open_splits(*args)

    monkeypatch.setattr(evaluation, "make_eval_step", counted)
    monkeypatch.setattr(evaluation, "open_splits", counted_splits)
    found = evaluate_alphas(run, ALPHAS, devices="jit")
    assert (len(traced), len(opened)) == (1, 1)
    assert [metrics["alpha"] for metrics in found] == list(ALPHAS)
    paths = sorted((run.parent / "images" / "test").rglob("*.png"))
    labels = [int(path.parent.name == "light") for path in paths]
    for alpha, metrics in zip(ALPHAS, found, strict=True):
        rows = Predictor.from_run(run, alpha=alpha)(paths)
        assert metrics["n"] == 8
        assert metrics["accuracy"] == np.mean(rows.argmax(axis=1) == labels)
        losses = -np.log(rows[np.arange(8), labels])
        # float32 softmax and logarithm, compiled in another program.
        assert metrics["loss"] == pytest.approx(losses.mean(), rel=1e-4)
    assert len({metrics["loss"] for metrics in found}) == len(ALPHAS)
    assert found[-1] == {"alpha": 1.0, **evaluate_run(run, devices="jit")}


def test_evaluate_prints_a_line_or_an_object_per_share(
    run: Path, capsys: pytest.CaptureFixture[str]
):
    args = [str(run), "--devices", "jit", "--interpolate", "0", "0.25", "1"]
    assert evaluate.main([*args, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == evaluate_alphas(run, [0, 0.25, 1], devices="jit")
    assert evaluate.main(args) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["alpha", "accuracy", "loss"]
    assert [line.split() for line in lines] == [
        [alpha, f"{100 * m['accuracy']:.2f}%", f"{m['loss']:.4f}"]
        for alpha, m in zip(("0", "0.25", "1"), found, strict=True)
    ]
    assert len({len(line) for line in (head, *lines)}) == 1
    assert evaluate.main([str(run), "--interpolate", "0", "nan"]) == 2
    assert "must be in [0, 1], got nan" in capsys.readouterr().err


def test_an_exported_network_between_both_says_so_and_loads_again(
    run: Path, capsys: pytest.CaptureFixture[str]
):
    assert export.main([str(run), "--interpolate", "0.5"]) == 0
    file = run / "export" / "tiny-safetensors-alpha0.5.safetensors"
    shown = capsys.readouterr().out
    assert shown.startswith(f"{file}: tiny, ")
    assert "alpha     0.5 (0 is pretrained, 1 fine-tuned)\n" in shown
    loaded, middle = flat(load_pretrained(weights=file).variables), between(run, 0.5)
    assert set(loaded) == set(middle)
    assert all(same_bits(loaded[name], middle[name]) for name in loaded)
    notes = read_tensors(file).metadata
    assert notes["interpolated"] == "0.5"
    assert json.loads(notes["recipe"])["weights"] == "began.safetensors"
    # The run measured another network than this one.
    assert "accuracy" not in notes
    assert export.main([str(run)]) == 0
    assert "alpha" not in capsys.readouterr().out
    whole = read_tensors(run / "export" / "tiny-safetensors.safetensors").metadata
    assert "interpolated" not in whole
    assert "accuracy" in whole
    assert export.main([str(run), "--interpolate", "2"]) == 2
    assert "must be in [0, 1], got 2.0" in capsys.readouterr().err
