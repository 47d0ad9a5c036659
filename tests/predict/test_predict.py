"""Prediction: which file a mask goes to, what is said of an image, views, memory."""

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax.core import FrozenDict
from hypothesis import given
from hypothesis import strategies as st
from networks import variables_of
from PIL import Image
from rich.cells import cell_len

from jft import tree
from jft.augment import VIEWS
from jft.augment.views import apply, undo
from jft.config import ModelConfig
from jft.data.geometry import inner, most_probable
from jft.data.masks.output import mask_paths, save_mask
from jft.errors import IO, InputError
from jft.models import CIFAR_PREPROCESS, ModelSpec, configured
from jft.predict import predictor as inference
from jft.predict.__main__ import main as predict
from jft.predict.predictor import Predictor
from jft.predict.records import class_fractions
from jft.runs.saved import ModelCard, save_model
from jft.step import make_predict_step
from jft.tasks import (
    Classification,
    MultiLabel,
    Regression,
    Segmentation,
    Task,
    to_dict,
)

CLASSES = ("ground", "crack", "line")
MASKS = Segmentation(CLASSES)
Runs = Callable[[Task], Path]


@pytest.fixture
def runs(tiny: ModelSpec, tmp_path: Path) -> Runs:
    """Return what makes the folder of a finished run, whose network is random."""

    def make(task: Task) -> Path:
        decoder = "unet" if task.dense else "none"
        spec = configured(ModelConfig(name="tiny", decoder=decoder))
        outputs = len(task.class_names)
        variables = FrozenDict(variables_of(spec.build(outputs)))
        card = ModelCard(
            model=ModelConfig(name="tiny", decoder=decoder),
            task=to_dict(task),
            class_names=task.class_names,
            preprocess=CIFAR_PREPROCESS,
            digest=tree.digest(variables),
        )
        run = tmp_path / "run"
        run.mkdir()
        (run / "config.json").write_text("{}")
        save_model(run / "final", variables, card)
        return run

    return make


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where a network is built."""

    def built(*args: Any, **options: Any) -> None:
        raise AssertionError("the network was built")

    monkeypatch.setattr(Predictor, "from_run", built)


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, np.uint8)


def photos(folder: Path, *names: str) -> Path:
    """Write pictures, each of another size."""
    for i, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw(20 + i, 31, 3)).save(path)
    return folder


def said(args: Sequence[object], capsys: pytest.CaptureFixture[str]) -> list[Any]:
    """Return what the door says as JSON."""
    assert predict([*map(str, args), "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def written(folder: Path) -> set[str]:
    """Return the files below a folder, hidden ones too."""
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


# Where masks go.


@pytest.mark.parametrize(
    ("names", "masks"),
    [
        (["a.jpg", "b/a.jpg", "b/c.tif"], ["a.png", "b/a.png", "b/c.png"]),
        (["s-2.png", "s.jpg", "s.png"], ["s-2.png", "s.png", "s-3.png"]),
        (["x.png", "x.png", "x-2.png"], ["x.png", "x-3.png", "x-2.png"]),
        (["A.jpg", "a.JPG", "a.png"], ["A.png", "a-2.png", "a-3.png"]),
        (["F/a.jpg", "f/A.jpg"], ["F/a.png", "f/A-2.png"]),
        (["a.png/b.jpg", "a.jpg"], ["a.png/b.png", "a-2.png"]),
        (["frame.001", "frame.002", "bare"], ["frame.png", "frame-2.png", "bare.png"]),
    ],
)
def test_masks_lie_as_the_images_do_and_numbers_tell_the_rest_apart(
    names: list[str], masks: list[str]
):
    found = mask_paths([Path(name) for name in names], Path("out"))
    assert [str(path) for path in found] == [f"out/{mask}" for mask in masks]


@given(
    st.lists(
        st.from_regex(r"((a|B)/)?[xX](-2|-3)?\.(jpg|png)", fullmatch=True), max_size=12
    )
)
def test_every_image_has_a_mask_of_its_own_whatever_they_are_called(names: list[str]):
    found = [str(p) for p in mask_paths([Path(name) for name in names], Path("out"))]
    assert len({mask.casefold() for mask in found}) == len(names)
    plain = [f"out/{name[:-4]}.png" for name in names]
    for mask, own in zip(found, plain, strict=True):
        alone = [p.casefold() for p in plain].count(own.casefold()) == 1
        assert mask == own or not alone


def test_each_image_gets_its_mask_where_the_table_says(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run = runs(MASKS)
    names = ("s-2.png", "s.jpg", "s.png", "deep/er/s.png")
    photos(tmp_path / "in", *names)
    (tmp_path / "in" / "s.bmp").write_text("no image")
    output = tmp_path / "new" / "out"
    args = [str(run), str(tmp_path / "in"), "--output", str(output), "--json"]
    assert predict(args) == 1
    shown = capsys.readouterr()
    assert "s.bmp" in shown.err
    lines = [json.loads(line) for line in shown.out.splitlines()]
    assert {line["path"] for line in lines} == {str(tmp_path / "in" / n) for n in names}
    assert {line["mask"] for line in lines} == {
        str(output / n) for n in written(output)
    }
    for line in lines:
        with Image.open(line["mask"]) as mask, Image.open(line["path"]) as image:
            assert (mask.size, mask.mode) == (image.size, "P")
            places = np.asarray(mask)
        assert line["fractions"] == class_fractions(places, CLASSES)
        assert sum(line["fractions"].values()) == pytest.approx(1)


@pytest.mark.usefixtures("no_network")
def test_no_image_is_replaced_by_its_mask(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = photos(tmp_path / "in", "a.jpg", "photo.png", "b/c.png")
    before = {name: (folder / name).read_bytes() for name in written(folder)}
    (tmp_path / "link").symlink_to(folder)
    run = runs(MASKS)
    for output in (folder, tmp_path / "link"):
        assert predict([str(run), str(folder), "--output", str(output)]) == 2
        error = capsys.readouterr().err
        assert f"a mask would replace '{output}/b/c.png' and 1 more" in error
        assert "give another folder" in error
    assert {name: (folder / name).read_bytes() for name in written(folder)} == before


def test_earlier_masks_stay_as_they_are(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run, folder = runs(MASKS), photos(tmp_path / "in", "a.jpg", "b.jpg")
    args = [run, folder, "--output", tmp_path / "out"]
    said(args, capsys)
    mask = tmp_path / "out" / "b.png"
    mask.unlink()
    mask.symlink_to("nowhere")
    before = (tmp_path / "out" / "a.png").stat().st_mtime_ns
    assert predict([*map(str, args)]) == 2
    assert "out/a.png' and 1 more" in capsys.readouterr().err
    assert (tmp_path / "out" / "a.png").stat().st_mtime_ns == before
    assert mask.is_symlink()


@pytest.mark.usefixtures("no_network")
def test_an_output_that_cannot_be_is_answered_before_the_network_is_built(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = photos(tmp_path / "in", "deep/a.jpg")
    run = runs(MASKS)
    assert predict([str(run), str(folder)]) == 2
    assert "give --output FOLDER" in capsys.readouterr().err
    file = tmp_path / "out"
    file.write_text("")
    for output in (file, file / "below"):
        assert predict([str(run), str(folder), "--output", str(output)]) == IO
        assert "cannot make the folder" in capsys.readouterr().err


@pytest.mark.usefixtures("no_network")
def test_a_folder_for_masks_is_refused_where_there_are_none(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder, output = photos(tmp_path / "in", "a.jpg"), tmp_path / "out"
    run = runs(Classification(CLASSES))
    assert predict([str(run), str(folder), "--output", str(output)]) == 2
    assert (
        "--output is for masks, and this run predicts classes"
        in capsys.readouterr().err
    )
    assert not output.exists()


def test_a_mask_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def half(image: Image.Image, path: Path, form: str) -> None:
        path.write_text("half")
        raise OSError("no space left")

    path = tmp_path / "mask.png"
    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", half)
        with pytest.raises(OSError, match="no space"):
            save_mask(draw(3, 4), path)
    assert written(tmp_path) == set()
    path.write_text("another's")
    with pytest.raises(InputError, match=r"mask\.png' did not exist before"):
        save_mask(draw(3, 4), path)
    assert path.read_text() == "another's"
    assert written(tmp_path) == {"mask.png"}


# What is in masks.


def test_masks_are_of_the_size_of_the_image_as_a_viewer_shows_it(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "in"
    folder.mkdir()
    turned = Image.Exif()
    turned[0x0112] = 6  # a quarter turn clockwise
    tall, grey, deep = draw(21, 37, 3), draw(45, 19), draw(33, 51).astype(np.uint16)
    Image.fromarray(tall).save(folder / "a.png", exif=turned)
    Image.fromarray(grey).save(folder / "b.png")
    Image.fromarray(deep * 257).save(folder / "c.png")
    seen = [np.rot90(tall, -1), *(np.stack([g] * 3, -1) for g in (grey, draw(33, 51)))]
    run = runs(MASKS)
    lines = said([run, folder, "--output", tmp_path / "out"], capsys)
    predictor = Predictor.from_run(run)
    several: set[int] = set()
    for line, image in zip(lines, seen, strict=True):
        mask = np.asarray(Image.open(line["mask"]))
        # Twice as the image of the right size is, but for the order of additions.
        expected = predictor.class_map(predictor(image)[0], image.shape[:2])
        assert mask.shape == image.shape[:2]
        assert (mask != expected).mean() < 0.005
        several |= {*mask.ravel().tolist()}
    assert len(several) > 1


def by_pillow(probabilities: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return each class's map [H, W, K] at an image's size."""
    top, left, height, width = inner(shape, len(probabilities))
    cut = probabilities[top : top + height, left : left + width]
    maps = [Image.fromarray(cut[..., k].copy()) for k in range(cut.shape[-1])]
    size, form = shape[::-1], Image.Resampling.BILINEAR
    return np.stack([np.asarray(m.resize(size, form)) for m in maps], axis=-1)


@pytest.mark.parametrize("rough", [False, True])
@pytest.mark.parametrize(
    "shape", [(24, 24), (150, 301), (301, 7), (1, 90), (17, 11), (24, 23)]
)
def test_the_most_probable_class_is_that_of_maps_enlarged_by_pillow(
    shape: tuple[int, int], rough: bool
):
    # Smooth ones leave out classes in most tiles, rough ones in none.
    side = 24 if rough else 4
    few = np.random.default_rng(0).normal(size=(side, side, 5)).astype(np.float32)
    logits = 8 * np.asarray(jax.image.resize(few, (24, 24, 5), "linear"))
    probabilities = np.asarray(jax.nn.softmax(logits))
    found, maps = most_probable(probabilities, shape), by_pillow(probabilities, shape)
    assert found.shape == shape
    assert found.dtype == np.uint8
    chosen = np.take_along_axis(maps, found[..., None].astype(int), -1)[..., 0]
    # Sums of products of float32 in another order.
    np.testing.assert_allclose(chosen, maps.max(-1), rtol=0, atol=1e-6)


def test_of_equal_classes_the_first_is_taken_and_nan_is_no_error():
    equal = np.full((8, 8, 3), 1 / 3, np.float32)
    assert not most_probable(equal, (90, 70)).any()
    equal[..., 0] = 0
    assert (most_probable(equal, (90, 70)) == 1).all()
    assert not most_probable(np.full((8, 8, 3), np.nan, np.float32), (9, 7)).any()


# Views and batches.


@pytest.mark.parametrize("task", [MASKS, Classification(CLASSES)])
@pytest.mark.parametrize("views", VIEWS)
def test_predictions_are_of_logits_averaged_over_the_views(
    runs: Runs, task: Task, views: str
):
    run, images = runs(task), draw(3, 32, 32, 3)
    plain = Predictor.from_run(run)
    step = jax.jit(make_predict_step(plain.model, plain.preprocess))
    shown = ((view, np.asarray(apply(view, images))) for view in VIEWS[views])
    logits = [undo(view, step(plain.variables, image)) for view, image in shown]
    mean = np.mean(np.asarray(logits, np.float64), axis=0)
    expected = np.exp(mean) / np.exp(mean).sum(axis=-1, keepdims=True)
    found = Predictor.from_run(run, views=views)(images)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert views == "none" or np.abs(plain(images) - found).max() > 1e-3


def test_the_door_averages_over_views(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run, folder = runs(Classification(CLASSES)), photos(tmp_path / "in", "a.png")
    for views in ("none", "flips"):
        (line,) = said([run, folder, "--tta", views], capsys)
        row = Predictor.from_run(run, views=views)(folder / "a.png")[0]
        assert line["probability"] == float(row.max())
        assert line["class"] == CLASSES[row.argmax()]


def test_views_that_there_are_none_of_are_answered_with_the_nearest(runs: Runs):
    with pytest.raises(InputError, match="'flipp'; did you mean 'flip'"):
        Predictor.from_run(runs(MASKS), views="flipp")


@pytest.mark.parametrize(
    ("limit", "value", "views", "sizes"),
    [
        ("IMAGES", 32, "none", {8}),
        ("IMAGES", 3, "none", {2, 1}),
        ("PIXELS", 4 * 32 * 32, "none", {4}),
        # An image's output is 32 x 32 x 3 numbers of 4 bytes.
        ("OUTPUT_BYTES", 12288 * 5, "none", {4}),
        ("OUTPUT_BYTES", 12288 * 5, "flip", {2, 1}),
        ("OUTPUT_BYTES", 1, "none", {1}),
    ],
)
def test_a_batch_takes_no_more_images_than_memory_is_meant_for(
    runs: Runs,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    value: int,
    views: str,
    sizes: set[int],
):
    monkeypatch.setattr(inference, limit, value)
    seen: set[int] = set()

    def spied(*args: Any) -> Callable[..., jax.Array]:
        step = make_predict_step(*args)

        def traced(variables: Any, image: jax.Array) -> jax.Array:
            seen.add(image.shape[0])  # once for each size that is compiled
            return step(variables, image)

        return traced

    monkeypatch.setattr(inference, "make_predict_step", spied)
    predictor = Predictor.from_run(runs(MASKS), views=views)
    images = draw(7, 32, 32, 3)
    found = predictor(images)
    assert seen == sizes
    one_by_one = np.concatenate([predictor(image) for image in images])
    np.testing.assert_allclose(found, one_by_one, rtol=0, atol=1e-5)
    assert predictor([]).shape == (0, 32, 32, 3)


# Images that are in memory.


def pictures() -> dict[str, tuple[Any, np.ndarray]]:
    """Return images of every kind, each beside its RGB pixels by hand."""
    grey, colour = draw(9, 7), draw(9, 7, 3)
    opacity = draw(9, 7)[..., None]
    over_white = np.rint(colour * (opacity / 255) + 255 - opacity).astype(np.uint8)
    rgba = np.concatenate([colour, opacity], -1)
    palette = Image.fromarray(colour).quantize(16)
    turned = Image.fromarray(colour)
    turned.getexif()[0x0112] = 6
    three = np.stack([grey] * 3, -1)
    return {
        "RGB": (colour, colour),
        "grey": (grey, three),
        "one channel": (grey[..., None], three),
        "RGBA": (rgba, over_white),
        "PIL RGB": (Image.fromarray(colour), colour),
        "PIL L": (Image.fromarray(grey), three),
        "PIL 1": (Image.fromarray(grey > 99), np.where(three > 99, 255, 0)),
        "PIL RGBA": (Image.fromarray(rgba), over_white),
        "PIL P": (palette, np.asarray(palette.convert("RGB"))),
        "PIL I;16": (Image.fromarray(grey.astype(np.uint16) * 257), three),
        "PIL turned": (turned, np.rot90(colour, -1)),
        "list": (jax.numpy.asarray(colour), colour),
    }


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    """Return a random network of two small stages."""
    spec = configured(ModelConfig(name="resnet20", width=4))
    model = spec.build(len(CLASSES))
    variables = FrozenDict(variables_of(model))
    return Predictor(spec, model, variables, CIFAR_PREPROCESS, Classification(CLASSES))


@pytest.mark.parametrize("kind", pictures())
def test_images_of_every_kind_are_seen_as_rgb(kind: str, predictor: Predictor):
    image, pixels = pictures()[kind]
    # One part of 255 where opacity is rounded by Pillow.
    difference = predictor.load(image).astype(int) - pixels.astype(int)
    assert np.abs(difference).max() <= ("RGBA" in kind)
    row = predictor(predictor.load(image))
    np.testing.assert_array_equal(predictor(image), row)
    # Another batch size is another program, which adds in another order.
    both = predictor([image, image])
    np.testing.assert_allclose(both, np.repeat(row, 2, 0), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((4, 4, 3)), "uint8 in 0..255, not float64; multiply by 255"),
        (np.zeros((4, 4, 3), np.int64), "uint8 in 0..255, not int64"),
        (np.zeros((3, 8, 8), np.uint8), "transpose"),
        (np.zeros((0, 4, 3), np.uint8), "an image is"),
        (np.zeros((1, 2, 4, 4, 3), np.uint8), "an image is"),
        (np.uint8(3), "uint8 is not an image"),
        (3, "int is not an image"),
        (None, "NoneType is not an image"),
        ([None], "uint8"),
        ([[1, 2], [3, 4]], "uint8"),
        ("no.png", "'no.png': no such file"),
        (Path("no.png"), "'no.png': no such file"),
        (["no.png"], "'no.png': no such file"),
        (Image.new("F", (3, 3)), "float or 32-bit pixels"),
        ({"image": 1}, "'image': no such file"),
        (object(), "object is not an image"),
    ],
)
def test_what_is_no_image_gets_a_clear_error(
    images: Any, message: str, predictor: Predictor
):
    with pytest.raises(InputError, match=message):
        predictor(images)


def test_a_predictor_shows_itself_in_one_line(predictor: Predictor):
    assert repr(predictor) == (
        "Predictor(resnet20, classification of 3 classes: ground, crack, line; "
        "32 x 32 pixels)"
    )
    many = replace(predictor, task=Classification(tuple(map(str, range(1000)))))
    assert "0, 1, 2, 3, 4, ...; 32 x 32" in repr(many)


def test_the_nearest_name_of_a_saved_model_is_suggested(runs: Runs):
    with pytest.raises(InputError, match="got 'besst'; did you mean 'best'"):
        Predictor.from_run(runs(MASKS), "besst")


# What is printed.


def test_top_names_the_most_probable_classes_first(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run, folder = runs(Classification(CLASSES)), photos(tmp_path / "in", "a.png")
    row = Predictor.from_run(run)(folder / "a.png")[0]
    order = [int(i) for i in np.argsort(-row)]
    expected = {CLASSES[i]: float(row[i]) for i in order}
    (line,) = said([run, folder], capsys)
    assert line["probabilities"] == expected
    assert list(line["probabilities"]) == list(expected)
    (line,) = said([run, folder, "--top", 2], capsys)
    assert list(line["probabilities"]) == list(expected)[:2]
    assert line["class"] == CLASSES[order[0]]
    assert predict([str(run), str(folder), "--top", "2"]) == 0
    head, table = capsys.readouterr().out.splitlines()
    assert head.split() == ["image", "probabilities"]
    words = [f"{CLASSES[i]} {row[i]:.1%}" for i in order[:2]]
    assert table.endswith("  " + ", ".join(words))


@pytest.mark.parametrize("value", ["0", "-1"])
def test_top_is_at_least_one(
    value: str, runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run, folder = runs(Classification(CLASSES)), photos(tmp_path / "in", "a.png")
    assert predict([str(run), str(folder), "--top", value]) == 2
    assert "--top must be at least 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("task", "columns"),
    [
        (
            Classification(CLASSES),
            ["path", "class", "probability", "p_ground", "p_crack", "p_line"],
        ),
        (MultiLabel(('a "b"', "c,d")), ["path", 'p_a "b"', "p_c,d"]),
        (
            Regression(("x", "y"), mean=(3e-7, 5.4e6), std=(1e-8, 1.0)),
            ["path", "x", "y"],
        ),
    ],
    ids=["classes", "labels", "numbers"],
)
def test_csv_has_a_column_for_every_output_in_full_digits(
    task: Task,
    columns: list[str],
    runs: Runs,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    run, folder = runs(task), photos(tmp_path / "in", "a,b.png", 'c"d.png')
    assert predict([str(run), str(folder), "--csv"]) == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    paths = sorted(folder.iterdir())
    assert [row["path"] for row in table] == [str(path) for path in paths]
    assert list(table[0]) == columns
    outputs = columns[-len(task.class_names) :]
    found = [[float(row[name]) for name in outputs] for row in table]
    np.testing.assert_array_equal(np.array(found), Predictor.from_run(run)(paths))


def test_csv_of_masks_has_the_fraction_of_every_class(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run, folder = runs(MASKS), photos(tmp_path / "in", "a.png")
    args = [str(run), str(folder), "--output", str(tmp_path / "out"), "--csv"]
    assert predict(args) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    mask = np.asarray(Image.open(row["mask"]))
    for i, name in enumerate(CLASSES):
        assert float(row[f"fraction_{name}"]) == (mask == i).mean()


def test_a_table_has_each_image_on_one_line_whatever_its_name(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    names = ("x" * 120 + ".png", "道路.png", "a.png")
    run, folder = runs(Classification(CLASSES)), photos(tmp_path / "in", *names)
    assert predict([str(run), str(folder)]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    ends = {cell_len(line) for line in (head, *lines)}
    assert len(ends) == 1


@pytest.mark.process
@pytest.mark.thorough
def test_names_beyond_ascii_are_escaped_on_an_ascii_terminal(
    runs: Runs, tmp_path: Path
):
    run = runs(Classification(("été", "hiver", "道")))
    # Another process does not know the network "tiny".
    card = json.loads((run / "final" / "model.json").read_text())
    assert card["model"]["name"] == "tiny"
    code = (
        "import sys, conftest\n"
        "from jft import models\n"
        "models.MODELS['tiny'] = conftest.TINY\n"
        "from jft.predict.__main__ import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    photos(tmp_path / "in", "été.png")
    env = os.environ | {
        "PYTHONIOENCODING": "ascii",
        "PYTHONPATH": os.pathsep.join(
            [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
        ),
    }
    for more in ([], ["--json"], ["--csv"], ["--top", "3"]):
        command = [sys.executable, "-c", code, str(run), str(tmp_path / "in"), *more]
        done = subprocess.run(command, capture_output=True, text=True, env=env)
        assert done.returncode == 0, done.stderr
        assert "\\xe9t\\xe9" in done.stdout or "\\u00e9" in done.stdout


def test_json_has_every_label_and_the_table_those_that_are_likely(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    names = ("odd\nname", "left", "right", "top", "bottom", "middle")
    run, folder = runs(MultiLabel(names)), photos(tmp_path / "in", "a.png", "b.png")
    lines = said([run, folder], capsys)
    rows = Predictor.from_run(run)([folder / "a.png", folder / "b.png"])
    for line, row in zip(lines, rows.tolist(), strict=True):
        assert line["labels"] == dict(zip(names, row, strict=True))
    assert predict([str(run), str(folder)]) == 0
    table = capsys.readouterr().out
    likely = [p for row in rows.tolist() for p in row if p >= 0.5]
    assert 0 < len(likely) < rows.size
    assert table.count("%") == len(likely)


def test_small_numbers_keep_their_digits(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    task = Regression(("tiny", "large"), mean=(3e-7, 1e6), std=(1e-8, 5.0))
    run, folder = runs(task), photos(tmp_path / "in", "a.png")
    (line,) = said([run, folder], capsys)
    row = Predictor.from_run(run)(folder / "a.png")[0]
    assert line["tiny"] == float(row[0]) != 0
    assert line["large"] == float(row[1])
    assert predict([str(run), str(folder)]) == 0
    printed = capsys.readouterr().out.splitlines()[1].split()
    assert printed[1:] == [f"{value:.10g}" for value in row]


def test_what_is_not_finite_is_null(
    runs: Runs,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    run = runs(Regression(("length",), mean=(0.0,), std=(1.0,)))
    folder = photos(tmp_path / "in", "a.png")
    monkeypatch.setattr(
        Regression, "predict", lambda self, logits: np.full(logits.shape, np.nan)
    )
    (line,) = said([run, folder], capsys)
    assert line["length"] is None
    assert predict([str(run), str(folder)]) == 0
    assert "nan" in capsys.readouterr().out
