"""`fit`: what a run leaves behind, and that it can be broken off anywhere."""

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orbax.checkpoint as ocp
import pytest
from PIL import Image

from jft import config as configs
from jft import tree
from jft.config import AugmentConfig, ModelConfig, OptimConfig, TrainConfig
from jft.errors import DamageError, InputError
from jft.evaluate.run import evaluate_run
from jft.models import ModelSpec
from jft.predict.predictor import Predictor
from jft.runs.directory import RunDirectory
from jft.tasks import Classification
from jft.train.callbacks import Callback
from jft.train.checkpoints import Checkpoints
from jft.train.interrupt import Interrupted
from jft.train.loop import Run, fit
from jft.train.setup import Setup
from jft.verify.run import verify_run
from jft.weights.pretrained import load_pretrained

NAN = float("nan")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Write a folder of 24 small images in two classes that differ in brightness."""
    draw = np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 4)):
        for name, level in (("dark", 60), ("light", 190)):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = draw.integers(level - 50, level + 50, (32, 32, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return tmp_path / "images"


@pytest.fixture
def rules(tiny: ModelSpec, images: Path, tmp_path: Path) -> TrainConfig:
    """Return a run of 3 epochs of 3 steps, the last of each with padding."""
    return TrainConfig(
        data=f"folder:{images}",
        weights="none",
        model=ModelConfig(name=tiny.name),
        freeze="until:stem",
        epochs=3,
        batch_size=6,
        augment=AugmentConfig(flip=True, crop_padding=2),
        optim=OptimConfig(learning_rate=0.02, warmup_epochs=0.5, weight_decay=1e-3),
        devices="jit",
        workdir=str(tmp_path / "run"),
    )


class StopAfter(Callback):
    """Break a run off after some steps, as a crash would: nothing more is saved."""

    def __init__(self, step: int) -> None:
        self._step = step

    def on_step(self, step: int, totals: Mapping[str, Any]) -> None:
        if step == self._step:
            raise RuntimeError("crash")


def read(path: Path, name: str) -> Any:
    return json.loads((path / name).read_text())


def records(path: Path) -> list[dict[str, Any]]:
    """Return the metrics of a run without those that depend on the clock."""
    lines = (path / "metrics.jsonl").read_text().splitlines()
    timed = {"seconds", "images_per_second", "data"}
    return [
        {k: v for k, v in json.loads(line).items() if k not in timed} for line in lines
    ]


def test_a_run_leaves_everything_behind(rules: TrainConfig):
    result = fit(rules)
    run = result.workdir
    assert configs.from_dict(read(run, "config.json")) == rules
    saved = read(run, "result.json")
    for name in ("score", "params_digest", "seconds"):
        assert saved[name] == getattr(result, name)
    for name in ("n", "accuracy", "loss", "recall"):
        assert saved[name] == result.metrics[name]
    assert result.metrics["n"] == 8
    manifest = read(run, "manifest.json")
    assert manifest["sessions"][0]["versions"]["jax"]
    assert manifest["seed"] == 0
    assert manifest["fingerprint"] == configs.fingerprint(rules)
    assert manifest["data"]["train"] == 16
    assert read(run, "data_report.json")["found"] == 24
    lines = records(run)
    assert [(r["split"], r["epoch"], r["step"]) for r in lines] == [
        (split, epoch, 3 * epoch) for epoch in (1, 2, 3) for split in ("train", "test")
    ]
    assert [r["n"] for r in lines] == [16, 8] * 3
    assert lines[-1]["accuracy"] == result.metrics["accuracy"]
    rates = [r["learning_rate"] for r in lines if r["split"] == "train"]
    assert rates[1] > rates[2] > 0


def test_a_finished_run_predicts_and_evaluates_by_itself(
    rules: TrainConfig, images: Path
):
    result = fit(rules)
    predictor = Predictor.from_run(result.workdir)
    assert predictor.class_names == ("dark", "light")
    assert tree.digest(predictor.variables) == result.params_digest
    metrics = evaluate_run(result.workdir, devices="jit", batch_size=5)
    assert metrics["n"] == result.metrics["n"]
    assert metrics["accuracy"] == result.metrics["accuracy"]
    assert metrics["loss"] == pytest.approx(result.metrics["loss"], rel=1e-6)
    paths = sorted((images / "test").rglob("*.png"))
    probabilities = predictor(paths)
    assert probabilities.shape == (8, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    right = [predictor.class_names[row.argmax()] for row in probabilities]
    hits = [a == path.parent.name for a, path in zip(right, paths, strict=True)]
    assert np.mean(hits) == result.metrics["accuracy"]
    arrays = np.stack([np.asarray(Image.open(path)) for path in paths])
    np.testing.assert_array_equal(predictor(arrays), probabilities)
    # Compiled for one image instead of eight: another order of additions.
    np.testing.assert_allclose(predictor(arrays[0]), probabilities[:1], atol=1e-6)
    assert predictor([]).shape == (0, 2)
    best = Predictor.from_run(result.workdir, "best")
    assert best.variables["params"]["head"]["kernel"].shape == (8, 2)


def test_frozen_variables_are_the_same_bytes_after_the_run(rules: TrainConfig):
    result = fit(rules)
    after = tree.flatten(Predictor.from_run(result.workdir).variables)
    before = tree.flatten(load_pretrained("tiny", "none", 2).variables)
    same = {n for n in after if np.array_equal(after[n], before[n])}
    assert same == {n for n in after if "/stem/" in n}


@pytest.mark.parametrize("crash", [1, 4, 6, 8])
def test_a_run_that_was_broken_off_ends_as_the_whole_one(
    rules: TrainConfig, tmp_path: Path, crash: int
):
    whole = fit(rules)
    broken = dataclasses.replace(
        rules, workdir=str(tmp_path / "broken"), checkpoint_every=2
    )
    with pytest.raises(RuntimeError, match="crash"):
        fit(broken, callbacks=[StopAfter(crash)])
    resumed = fit(broken)
    assert resumed.params_digest == whole.params_digest
    assert resumed.metrics == whole.metrics
    assert records(resumed.workdir) == records(whole.workdir)


def test_a_signal_saves_and_the_same_command_goes_on(
    rules: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole = fit(rules)
    stopped = dataclasses.replace(rules, workdir=str(tmp_path / "stopped"))
    train = Run.train
    # Asked once a step: the signal comes during the fifth.
    asked = iter([False] * 4 + [True])
    with monkeypatch.context() as patch:
        patch.setattr(Run, "train", lambda run, _: train(run, lambda: next(asked)))
        with pytest.raises(Interrupted, match="stopped after 5 of 9 steps"):
            fit(stopped)
    seen: list[int] = []

    class Resumed(Callback):
        def on_resume(self, step: int, changes: list[str]) -> None:
            seen.append(step)

    assert fit(stopped, callbacks=[Resumed()]).params_digest == whole.params_digest
    assert seen == [5], "the middle of the second epoch"


def test_other_rules_in_the_same_folder_are_refused_with_the_difference(
    rules: TrainConfig,
):
    with pytest.raises(RuntimeError, match="crash"):
        fit(rules, callbacks=[StopAfter(5)])
    optim = dataclasses.replace(rules.optim, learning_rate=0.5)
    other = dataclasses.replace(rules, optim=optim, epochs=4, workers=1)
    with pytest.raises(InputError) as caught:
        fit(other)
    message = str(caught.value)
    assert "- epochs: 3 -> 4\n- optim.learning_rate: 0.02 -> 0.5" in message
    assert "workers" not in message
    assert "--workdir" in message


def test_other_data_behind_the_same_rules_is_refused(
    rules: TrainConfig, images: Path, tmp_path: Path
):
    with pytest.raises(RuntimeError, match="crash"):
        fit(rules, callbacks=[StopAfter(4)])
    shutil.copy(images / "train/dark/0.png", images / "train/light/new.png")
    with pytest.raises(InputError, match=r"data fingerprint: .* -> "):
        fit(rules)


def test_a_run_that_never_began_gives_its_folder_to_other_rules(
    rules: TrainConfig, images: Path
):
    wrong = dataclasses.replace(rules, freeze="stagee1/*")
    with pytest.raises(InputError, match="did you mean 'stage1"):
        fit(wrong)
    assert fit(rules).metrics["n"] == 8


@pytest.mark.thorough
def test_several_devices_come_to_the_same_parameters(
    rules: TrainConfig, tmp_path: Path
):
    one = fit(dataclasses.replace(rules, batch_size=8))
    eight = dataclasses.replace(
        rules, batch_size=8, devices="pmap", workdir=str(tmp_path / "eight")
    )
    many = fit(eight)
    assert many.metrics["accuracy"] == one.metrics["accuracy"]
    there = tree.flatten(Predictor.from_run(many.workdir).variables)
    here = tree.flatten(Predictor.from_run(one.workdir).variables)
    # Six steps of float32 additions in another order.
    for name in here:
        np.testing.assert_allclose(
            there[name], here[name], rtol=1e-3, atol=1e-4, err_msg=name
        )


def test_a_finished_run_is_not_run_again(rules: TrainConfig):
    class NoStep(Callback):
        def on_step(self, step: int, totals: Mapping[str, Any]) -> None:
            raise AssertionError("trained again")

    assert fit(rules) == fit(rules, callbacks=[NoStep()])


def test_a_folder_of_something_else_is_left_alone(rules: TrainConfig, tmp_path: Path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match="not empty and holds no run"):
        fit(rules)
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["thesis.tex"]


def test_a_loss_that_diverges_is_an_error_with_advice(rules: TrainConfig):
    optim = dataclasses.replace(rules.optim, learning_rate=1e30)
    with pytest.raises(
        InputError, match=r"no longer finite at step .*lower learning rate"
    ):
        fit(dataclasses.replace(rules, optim=optim))


@pytest.mark.parametrize(
    ("scores", "epoch", "best"),
    [([NAN, 0.5, 0.25], 2, 0.5), ([0.5, NAN, 0.75], 3, 0.75), ([NAN] * 3, 3, None)],
)
def test_an_epoch_whose_score_is_not_a_number_is_the_best_for_want_of_another(
    rules: TrainConfig, monkeypatch: pytest.MonkeyPatch, scores, epoch, best
):
    left = iter(scores)

    def changed(task: Any, total: Any, rows: Any = None) -> dict[str, Any]:
        record = summarise(task, total, rows)
        if rows is not None:
            record |= {"accuracy": next(left), "recall": {"dark": NAN}}
        return record

    summarise = Classification.summarise
    monkeypatch.setattr(Classification, "summarise", changed)
    # Stopped and resumed, the score of the first epoch has been JSON in between.
    stops = iter([False] * 4 + [True])
    train = Run.train
    with monkeypatch.context() as patch:
        patch.setattr(Run, "train", lambda run, _: train(run, lambda: next(stops)))
        with pytest.raises(Interrupted):
            fit(rules)
    run = fit(rules).workdir

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    result = json.loads((run / "result.json").read_text(), parse_constant=refuse)
    assert len(result["best"].pop("params_digest")) == 64
    assert result["best"] == {"epoch": epoch, "accuracy": best}
    assert result["recall"] == {"dark": None}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=refuse)
    again = fit(rules).metrics
    assert np.isnan(again["recall"]["dark"])
    assert again["accuracy"] == scores[2] or np.isnan(again["accuracy"])
    kept = Predictor.from_run(run, "best").variables
    same = tree.digest(kept) == tree.digest(Predictor.from_run(run).variables)
    assert same == (epoch == 3)


def table(folder: Path, images: Path, weight: float) -> str:
    """Write a table of the images with a weight, and every fourth one with none."""
    lines = ["path,label,split,weight"]
    for file in sorted(images.rglob("*.png")):
        split, label = file.parts[-3:-1]
        counts = 0 if file.name == "3.png" else weight
        lines.append(f"{file},{label},{split},{counts}")
    folder.mkdir()
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    return f"csv:{folder / 'table.csv'}"


def test_weights_count_in_averages_and_images_are_counted(
    rules: TrainConfig, images: Path, tmp_path: Path
):
    runs: list[Path] = []
    for name, weight in (("light", 0.3), ("whole", 1.0)):
        data, workdir = table(tmp_path / name, images, weight), str(tmp_path / "run")
        changed = dataclasses.replace(rules, data=data, workdir=workdir + name)
        runs.append(fit(changed).workdir)
    light, whole = (records(run)[-2:] for run in runs)
    for record, alike, n in zip(light, whole, (14, 6), strict=True):
        assert record.pop("n") == alike.pop("n") == n
        assert record.pop("weight") == pytest.approx(0.3 * n, rel=1e-6)
        assert "weight" not in alike
        assert record.keys() == alike.keys()
        for name in ("learning_rate", "accuracy", "balanced_accuracy", "loss"):
            if name in record:
                # Shares of a batch's weight are rounded otherwise.
                assert record[name] == pytest.approx(alike[name], rel=1e-4)
    line = json.loads((runs[0] / "metrics.jsonl").read_text().splitlines()[-2])
    assert line["images_per_second"] == pytest.approx(14 / line["seconds"])


def test_a_damaged_checkpoint_falls_back_on_the_one_before(
    rules: TrainConfig, tmp_path: Path
):
    whole = fit(rules)
    broken = dataclasses.replace(rules, workdir=str(tmp_path / "broken"))
    with pytest.raises(RuntimeError, match="crash"):
        fit(broken, callbacks=[StopAfter(8)])
    # One value changes in a file that Orbax finds well formed: no reader but the digest
    # can tell. (Which bits of a compressed file matter is left to chance.)
    folder = tmp_path / "broken" / "checkpoints" / "6"
    state = (folder / "state").absolute()
    with ocp.StandardCheckpointer() as checkpointer:
        saved = checkpointer.restore(state)
        saved["step"] = saved["step"] + 1
        checkpointer.save(state, saved, force=True)
    damage = verify_run(tmp_path / "broken").damage
    assert any("(tensor step)" in line for line in damage)
    seen: list[int] = []

    class Resumed(Callback):
        def on_resume(self, step: int, changes: list[str]) -> None:
            seen.append(step)

    assert fit(broken, callbacks=[Resumed()]).params_digest == whole.params_digest
    assert seen == [3]
    # What was saved after the fallback is there, and nothing that is damaged.
    steps = {p.name for p in (tmp_path / "broken" / "checkpoints").glob("[0-9]*")}
    assert steps == {"6", "9"}


def test_a_crash_before_the_first_checkpoint_leaves_no_trace(
    rules: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole = fit(rules)
    broken = dataclasses.replace(rules, workdir=str(tmp_path / "broken"))

    class Crash(Callback):
        def on_epoch(self, train: dict[str, Any], test: dict[str, Any]) -> None:
            raise RuntimeError("crash")

    with pytest.raises(RuntimeError, match="crash"):
        fit(broken, callbacks=[Crash()])
    assert records(fit(broken).workdir) == records(whole.workdir)


def test_another_machine_is_named_when_a_run_resumes(
    rules: TrainConfig, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(RuntimeError, match="crash"):
        fit(rules, callbacks=[StopAfter(5)])
    monkeypatch.setattr("os.cpu_count", lambda: 1234)
    seen: list[str] = []

    class Resumed(Callback):
        def on_resume(self, step: int, changes: list[str]) -> None:
            seen.extend(changes)

    result = fit(rules, callbacks=[Resumed()])
    assert len(seen) == 1
    assert seen[0].endswith("-> 1234")
    assert len(read(result.workdir, "manifest.json")["sessions"]) == 2


def test_two_processes_cannot_hold_one_run(rules: TrainConfig):
    with (
        RunDirectory(Path(str(rules.workdir))).claim(rules),
        pytest.raises(InputError, match="another process runs it"),
    ):
        fit(rules)


@pytest.mark.parametrize("below", ["file", "file/run"])
def test_a_folder_that_cannot_be_made_is_an_error(
    rules: TrainConfig, tmp_path: Path, below: str
):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="give another --workdir"):
        fit(dataclasses.replace(rules, workdir=str(tmp_path / below)))


def test_evaluation_of_changed_data_has_to_be_asked_for(
    rules: TrainConfig, images: Path
):
    result = fit(rules)
    shutil.copy(images / "test/dark/0.png", images / "test/light/new.png")
    with pytest.raises(InputError, match="give --data"):
        evaluate_run(result.workdir, devices="jit")
    assert evaluate_run(result.workdir, rules.data, devices="jit")["n"] == 9


def test_only_damaged_checkpoints_are_an_error(rules: TrainConfig, tmp_path: Path):
    with pytest.raises(RuntimeError, match="crash"):
        fit(rules, callbacks=[StopAfter(5)])
    for step in (tmp_path / "run" / "checkpoints").iterdir():
        if step.is_dir():
            shutil.rmtree(step / "state")
    with pytest.raises(InputError, match="every checkpoint of this run is damaged"):
        fit(rules)


def test_damaged_final_parameters_are_an_error_and_come_back(rules: TrainConfig):
    result = fit(rules)
    card = result.workdir / "final" / "model.json"
    values = json.loads(card.read_text())
    for text in (json.dumps({**values, "digest": "0" * 64}), "{"):
        card.write_text(text)
        with pytest.raises(DamageError, match=r"model\.json is damaged: its bytes"):
            Predictor.from_run(result.workdir)
    assert fit(rules).params_digest == result.params_digest
    assert Predictor.from_run(result.workdir).class_names == ("dark", "light")


def test_a_folder_that_is_no_run_is_an_error(tmp_path: Path):
    with pytest.raises(InputError, match="is not a run"):
        Predictor.from_run(tmp_path)


def test_too_many_unreadable_images_stop_the_run_before_training(
    rules: TrainConfig, images: Path, tmp_path: Path
):
    (images / "train" / "dark" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    with pytest.raises(InputError, match="1 of 25 images cannot be read"):
        fit(rules)
    report = read(tmp_path / "run", "data_report.json")
    assert report["found"] == report["used"] + len(report["rejected"])
    assert report["rejected"][0]["path"].endswith("broken.png")
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_evaluation_counts_labels_in_the_classes_of_the_run(
    rules: TrainConfig, images: Path, tmp_path: Path
):
    result = fit(rules)
    other = tmp_path / "other"
    shutil.copytree(images, other)
    for split in ("train", "test"):
        (other / split / "black").mkdir()
        shutil.copy(images / split / "dark" / "0.png", other / split / "black")
    with pytest.raises(InputError, match="not trained on: black"):
        evaluate_run(result.workdir, f"folder:{other}", devices="jit")


def test_checkpoints_come_back_to_the_bit(rules: TrainConfig, tmp_path: Path):
    seen: list[Setup] = []

    class Keep(Callback):
        def on_begin(self, setup: Setup) -> None:
            seen.append(setup)

    fit(rules, callbacks=[Keep()])
    state = seen[0].state
    with Checkpoints(tmp_path / "checkpoints", "a") as checkpoints:
        checkpoints.save(state, {"total": {"loss": 0.1}})
    with (
        Checkpoints(tmp_path / "checkpoints", "b") as other,
        pytest.raises(DamageError, match="is of another run"),
    ):
        other.restore(lambda step: state)
    with Checkpoints(tmp_path / "checkpoints", "a") as again:
        restored = again.restore(lambda step: state)
    assert restored is not None
    assert restored[1] == {"total": {"loss": 0.1}}
    assert type(restored[0].params) is type(state.params)


def test_a_finished_run_whose_data_has_changed_is_refused(
    rules: TrainConfig, images: Path
):
    fit(rules)
    shutil.copy(images / "train/dark/0.png", images / "train/light/new.png")
    with pytest.raises(InputError, match=r"and folder.* has changed since"):
        fit(rules)


@pytest.mark.thorough
def test_a_finished_run_continues_with_more_epochs(rules: TrainConfig):
    optim = dataclasses.replace(rules.optim, schedule="constant", warmup_epochs=0.0)
    config = dataclasses.replace(rules, optim=optim, epochs=2)
    first = fit(config)
    longer = fit(dataclasses.replace(config, epochs=3))
    assert longer.workdir == first.workdir
    assert longer.history[: len(first.history)] == first.history
    assert [r["epoch"] for r in longer.history[-2:]] == [3, 3]
    shutil.rmtree(first.workdir)
    # With a constant learning rate it is the run that was that long from the start.
    assert fit(dataclasses.replace(config, epochs=3)).params_digest == (
        longer.params_digest
    )
    with pytest.raises(InputError, match="- epochs: 3 -> 2"):
        fit(config)


def test_final_parameters_that_were_deleted_come_back(rules: TrainConfig):
    whole = fit(rules)
    shutil.rmtree(whole.workdir / "final")
    with pytest.raises(InputError, match="has no saved model: run the same"):
        Predictor.from_run(whole.workdir)
    assert fit(rules).params_digest == whole.params_digest
    saved = Predictor.from_run(whole.workdir).variables
    assert tree.digest(saved) == whole.params_digest
