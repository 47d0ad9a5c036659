"""Weights out of a run and in again, through the doors."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from networks import SMALL, numbered
from PIL import Image

from jft import convert, tasks, tree
from jft.config import ModelConfig, TrainConfig
from jft.errors import InputError
from jft.export import __main__ as export
from jft.export.exported import WORDS, Exported
from jft.export.write import convert_weights, export_run
from jft.models import CIFAR_PREPROCESS, MODELS, ModelSpec
from jft.predict.predictor import Predictor
from jft.preprocess import Crop
from jft.runs.directory import RunDirectory
from jft.train.loop import fit
from jft.train.resolve import resolve
from jft.weights.export import write_weights
from jft.weights.files import read_tensors
from jft.weights.pretrained import load_pretrained

pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished run of the bundled network on digits."""
    path = tmp_path_factory.mktemp("exporting") / "run"
    fit(
        TrainConfig(
            epochs=1,
            batch_size=128,
            freeze="all-but:head",
            devices="jit",
            workdir=str(path),
        )
    )
    return path


def digest(run: Path) -> str:
    return json.loads((run / "result.json").read_text())["params_digest"]


def test_a_run_is_weights(run: Path):
    loaded = load_pretrained(weights=run)
    assert loaded.spec.name == "resnet20"
    assert loaded.report.sha256 == digest(run)
    assert tree.digest(loaded.variables) == digest(run)
    assert loaded.class_names == tuple("0123456789")
    with pytest.raises(InputError, match="has weights of resnet20, not of resnet32"):
        load_pretrained("resnet32", run)


def test_an_exported_file_is_the_run_with_all_that_predict_needs(
    run: Path, capsys: pytest.CaptureFixture[str]
):
    assert export.main([str(run)]) == 0
    file = run / "export" / "resnet20-safetensors.safetensors"
    shown = capsys.readouterr().out
    assert shown.startswith(f"{file}: resnet20, 97 tensors, safetensors layout\n")
    assert "classes   10: 0, 1, 2, 3, 4, 5, 6, 7, ...\n" in shown
    assert "load      python -m jft.train --weights " in shown
    assert shown.endswith(" --data folder:IMAGES\n")
    loaded = load_pretrained(weights=file)
    assert tree.digest(loaded.variables) == digest(run)
    assert loaded.class_names == tuple("0123456789")
    metadata = read_tensors(file).metadata
    assert metadata["params_digest"] == digest(run)
    assert metadata["test_images"] == "359"
    recipe = json.loads(metadata["recipe"])
    assert recipe["workdir"] is None
    assert recipe["weights"] == "resnet20-cifar10"


@pytest.mark.parametrize(
    ("to", "suffix"), [("torchvision", ".pth"), ("akamaster", ".pth")]
)
def test_another_layout_goes_out_and_in_again(run: Path, to: str, suffix: str):
    exported = export_run(str(run), to=to)
    assert exported.file == run / "export" / f"resnet20-{to}{suffix}"
    loaded = load_pretrained("resnet20", exported.file)
    assert tree.digest(loaded.variables) == digest(run)


def test_a_folder_for_timm_has_its_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    spec = dataclasses.replace(SMALL["deep"], name="small_resnet_d")
    monkeypatch.setitem(MODELS, spec.name, spec)
    metadata = {
        "jft": "0",
        "model": spec.name,
        "class_names": json.dumps(list("abcde")),
    }
    source = tmp_path / "net.safetensors"
    write_weights(source, numbered(spec), metadata)
    exported = convert_weights(str(source), str(tmp_path / "net"), "timm")
    assert exported.file == tmp_path / "net" / "model.safetensors"
    config = json.loads((tmp_path / "net" / "config.json").read_text())
    assert config["architecture"] == spec.name
    assert config["label_names"] == list("abcde")
    assert config["pretrained_cfg"]["input_size"] == [3, 224, 224]
    assert config["pretrained_cfg"]["crop_pct"] == 0.875
    assert config["pretrained_cfg"]["crop_mode"] == "center"
    assert f'timm.create_model("local-dir:{tmp_path / "net"}"' in str(exported)
    # The folder states what its file, with names of torch, does not need to.
    loaded = load_pretrained(weights=tmp_path / "net")
    assert loaded.preprocess == spec.preprocess
    assert loaded.class_names == tuple("abcde")


@pytest.mark.parametrize(
    ("crop", "mode"), [("squash", "squash"), ("letterbox", "border")]
)
def test_the_crop_goes_to_timm_and_comes_back(
    crop: Crop, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    spec = dataclasses.replace(SMALL["deep"], name="small_resnet_d")
    monkeypatch.setitem(MODELS, spec.name, spec)
    preprocess = dataclasses.replace(spec.preprocess, crop=crop, crop_fraction=0.9)
    metadata = {
        "jft": "0",
        "model": spec.name,
        "class_names": json.dumps(list("abcde")),
        "preprocess": json.dumps(dataclasses.asdict(preprocess)),
    }
    source = tmp_path / "net.safetensors"
    write_weights(source, numbered(spec), metadata)
    exported = convert_weights(str(source), str(tmp_path / "net"), "timm")
    assert exported.network.preprocess == preprocess
    config = json.loads((tmp_path / "net" / "config.json").read_text())
    assert config["pretrained_cfg"]["crop_mode"] == mode
    assert config["pretrained_cfg"]["crop_pct"] == 0.9
    assert load_pretrained(weights=tmp_path / "net").preprocess == preprocess


def test_conversion_between_layouts_leaves_every_value(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    there, back = tmp_path / "there.pth", tmp_path / "back.npz"
    source = str(export_run(str(run)).file)
    assert convert.main([source, str(there), "--to", "akamaster"]) == 0
    assert "akamaster layout" in capsys.readouterr().out
    tensors = read_tensors(there).tensors
    assert "linear.weight" in tensors
    assert tensors["bn1.num_batches_tracked"].dtype == np.int64
    convert_weights(str(there), str(back), "safetensors", "resnet20")
    assert tree.digest(load_pretrained("resnet20", back).variables) == digest(run)


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        (ModelConfig(name="small_vgg", pooled_head=True), "small_vgg"),
        (ModelConfig(name="small_bit", width=64), "small_bit"),
    ],
)
def test_a_changed_network_is_weights_too(
    wanted: ModelConfig, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for known, kind in (("small_vgg", "vgg"), ("small_bit", "bit")):
        spec = dataclasses.replace(SMALL[kind], name=known, preprocess=CIFAR_PREPROCESS)
        monkeypatch.setitem(MODELS, known, spec)
    run = tmp_path / "run"
    config = TrainConfig(
        model=wanted,
        weights="none",
        freeze="all-but:head",
        epochs=1,
        batch_size=256,
        devices="jit",
        workdir=str(run),
    )
    fit(config)
    for weights in (run, export_run(str(run)).file):
        loaded = load_pretrained(weights=weights)
        assert tree.digest(loaded.variables) == digest(run)
        assert loaded.report.reinitialised == ()
        known = resolve(TrainConfig(weights=str(weights), freeze="none")).config
        assert known.model == wanted
    exported = export_run(str(run), to="timm", file=str(tmp_path / "net.pth"))
    assert "load " not in str(exported)
    with pytest.raises(InputError, match=f"timm has no {name} of this width"):
        export_run(str(run), str(tmp_path / "folder"), to="timm")


def test_a_run_whose_metrics_are_lost_is_still_exported(run: Path, tmp_path: Path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / "result.json").unlink()
    assert "accuracy" not in read_tensors(export_run(str(copy)).file).metadata


def test_the_best_epoch_is_exported_with_its_own_score(run: Path, tmp_path: Path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    result = json.loads((run / "result.json").read_text())
    better = {"epoch": 7, "accuracy": 0.98765}
    RunDirectory(copy).write("result.json", result | {"best": better})
    final = read_tensors(export_run(str(copy)).file).metadata
    best = read_tensors(export_run(str(copy), which="best").file).metadata
    assert final["accuracy"] == f"{result['accuracy']:.4f}"
    assert (best["accuracy"], best["test_images"]) == ("0.9877", "359")


def test_only_a_file_of_jft_is_said_to_load_into_jft(run: Path, tmp_path: Path):
    exported = export_run(str(run), str(tmp_path / "net.pth"))
    assert "load " not in str(exported)


@pytest.mark.parametrize(
    ("args", "answer"),
    [
        ([], "give SOURCE, the weights to read, and DESTINATION, the file to write"),
        (["none", "x.pth"], "random weights cannot be converted"),
        (["resnet20-cifar10", "x.keras"], "not .keras"),
        (["resnet20-cifar10", "x.onnx"], ".onnx files are not written"),
        (["resnet20-cifar10", "x.phh"], "not written; did you mean '.pth'"),
        (["resnet20-cifar10", "x.h5"], ".h5 files need the layout keras"),
        (
            ["resnet20-cifar10", "x.pth", "--to", "torchvison"],
            "resnet20 has no layout 'torchvison'; did you mean 'torchvision'?",
        ),
        (["--list", "--match", "resnet5O"], "'resnet5O' in their name"),
    ],
)
def test_mistakes_in_converting_are_answered(
    args: list[str], answer: str, capsys: pytest.CaptureFixture[str]
):
    assert convert.main(args) == 2
    assert answer in capsys.readouterr().err


def test_a_converted_file_keeps_the_task(tmp_path: Path):
    names = tuple("abcdefghij")
    task = tasks.Regression(class_names=names, mean=(1.5,) * 10, std=(0.5,) * 10)
    notes = {"jft": "0", "model": "resnet20", "class_names": json.dumps(names)}
    notes["task"] = json.dumps(tasks.to_dict(task))
    source = load_pretrained()
    flat = {n: np.asarray(a) for n, a in tree.flatten(source.variables).items()}
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    write_weights(first, flat, notes)
    exported = convert_weights(str(first), str(second), "safetensors")
    assert exported.task == task
    assert json.loads(read_tensors(second).metadata["task"]) == tasks.to_dict(task)


def test_the_list_names_what_is_published(capsys: pytest.CaptureFixture[str]):
    assert convert.main(["--list", "--match", "torchvision:resnet50"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [
        *("name", "network", "top-1", "labels", "licence", "pixels", "file")
    ]
    assert len(lines) == 3
    assert lines[2].startswith("torchvision:resnet50/IMAGENET1K_V2  resnet50  80.86")
    assert "resize 232 bilinear, crop 224, RGB 0..1" in lines[2]
    assert lines[2].endswith("/resnet50-11ad3fa6.pth")


@pytest.mark.parametrize(
    ("size", "shape"), [(224, ""), (96, "input_shape=(96, 96, 3), ")]
)
def test_a_file_for_keras_comes_with_the_words_that_load_it(
    size: int, shape: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    spec = dataclasses.replace(SMALL["keras_v2"], name="keras_resnet50v2")
    spec = dataclasses.replace(
        spec, preprocess=dataclasses.replace(spec.preprocess, size=size)
    )
    monkeypatch.setitem(MODELS, spec.name, spec)
    source, file = tmp_path / "net.safetensors", tmp_path / "net.weights.h5"
    write_weights(source, numbered(spec), {"jft": "0", "model": spec.name})
    assert str(convert_weights(str(source), str(file), "keras")).endswith(
        "load      net = keras.applications.ResNet50V2"
        f"(weights=None, {shape}classes=5, classifier_activation=None)\n"
        f'load      net.load_weights("{file}")'
    )
    back = load_pretrained(spec.name, file)
    assert tree.digest(back.variables) == tree.digest(tree.unflatten(numbered(spec)))


def test_a_network_that_a_library_has_not_is_not_written_in_its_layout(run: Path):
    with pytest.raises(InputError, match="resnet20 has no layout 'bit'"):
        export_run(str(run), to="bit")


@pytest.fixture
def masks(tmp_path: Path) -> str:
    """Write eight images, half of each bright, which their masks have as class 1."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 2)):
        for i in range(count):
            mask = np.zeros((32, 24), np.uint8)
            mask[:, : rng.integers(6, 18)] = 1
            image = rng.integers(0, 80, (32, 24, 3), np.uint8)
            image += 120 * mask[..., None]
            for kind, pixels in (("images", image), ("masks", mask)):
                file = tmp_path / "road" / split / kind / f"{i}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(file)
    return f"masks:{tmp_path / 'road'}"


@pytest.fixture
def numbers(tmp_path: Path) -> str:
    """Write eight images, and a table of two numbers, one of which is far from 0."""
    rng, lines = np.random.default_rng(0), ["path,split,level,height"]
    for i in range(8):
        image = rng.integers(0, 30 * i + 20, (32, 32, 3), np.uint8)
        Image.fromarray(image).save(tmp_path / f"{i}.png")
        split = "test" if i % 4 == 0 else "train"
        lines.append(f"{i}.png,{split},{image.mean():.3f},{1000.5 + i / 8}")
    (tmp_path / "levels.csv").write_text("\n".join(lines) + "\n")
    return f"csv:{tmp_path / 'levels.csv'}?label=level,height&root={tmp_path}"


def trained(data: str, workdir: Path, **changes: Any) -> Path:
    config = TrainConfig(
        data=data,
        weights="none",
        model=ModelConfig(name="tiny"),
        freeze="none",
        epochs=1,
        batch_size=4,
        image_size=32,
        devices="jit",
        workdir=str(workdir),
    )
    return fit(dataclasses.replace(config, **changes)).workdir


def exported_and_trained_on(run: Path, data: str, kind: str) -> Exported:
    """Return a run's file, which was trained on the same data, with its command."""
    exported = export_run(str(run))
    command = f"python -m jft.train --weights {exported.file} --data {kind}:"
    assert command in str(exported)
    stated = read_tensors(exported.file).metadata["task"]
    learned = Predictor.from_run(run).task
    assert tasks.from_dict(json.loads(stated)) == learned == exported.task
    again = run.parent / "again"
    trained(data, again, weights=str(exported.file), model=ModelConfig())
    manifest = json.loads((again / "manifest.json").read_text())
    assert manifest["weights"]["reinitialised"] == []
    assert Predictor.from_run(again).task == learned
    return exported


def test_every_task_has_words():
    assert WORDS.keys() == tasks.TASKS.keys()


def test_a_network_for_masks_is_told_as_one_and_goes_on_learning(
    tiny: ModelSpec, masks: str, tmp_path: Path
):
    run = trained(masks, tmp_path / "run")
    shown = str(exported_and_trained_on(run, masks, "masks"))
    assert "\npixels    longer side 32 bilinear, crop 32 centred on " in shown
    assert (
        "\nclasses   2: background, foreground\noutputs   logits of each pixel" in shown
    )
    with pytest.raises(InputError, match="tiny with unet has no layout 'torchvision'"):
        export_run(str(run), to="torchvision")


def test_numbers_come_back_from_a_file_by_what_it_says_of_them(
    tiny: ModelSpec, numbers: str, tmp_path: Path
):
    run = trained(numbers, tmp_path / "run")
    exported = exported_and_trained_on(run, numbers, "csv")
    metadata = read_tensors(exported.file).metadata
    assert (
        metadata["outputs"] == "standardised numbers; output * std + mean is the number"
    )
    assert "\nnumbers   2: level, height\noutputs   standardised numbers; " in str(
        exported
    )
    assert f"\n          height: mean {1000.5 + 4 / 8:.9g}, std " in str(exported)
    recipe = json.loads(metadata["recipe"])
    assert recipe["data"] == f"csv:levels.csv?label=level,height&root={tmp_path.name}"
    loaded, predictor = load_pretrained(weights=exported.file), Predictor.from_run(run)
    images = np.stack([np.asarray(Image.open(tmp_path / f"{i}.png")) for i in range(8)])
    task = json.loads(metadata["task"])
    found = np.asarray(loaded(images)) * np.array(task["std"]) + task["mean"]
    # The mean is a float32 there.
    np.testing.assert_allclose(found, predictor(images), rtol=1e-6)


@pytest.mark.parametrize("name", ["torchvision", "timm"])
def test_the_name_of_a_layout_is_not_taken_for_a_file(name: str, tmp_path: Path):
    with pytest.raises(InputError, match=f"give --to {name}"):
        export_run(str(tmp_path), name)
