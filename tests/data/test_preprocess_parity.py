"""Pixels and numbers of JPEG files against torchvision's and timm's, through a file."""

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import make_preprocess_oracle as oracle
import numpy as np
import pytest
from cpu_torchvision import import_torchvision

from jft.data.decode import decode
from jft.data.geometry import Square
from jft.models import MODELS
from jft.models.pixels import normalise
from jft.preprocess import Preprocess
from jft.weights.description import CROP_MODES

SHARED = Path(__file__).parents[3] / "shared" / "data"
NAMES = list(oracle.PICTURES)


@pytest.fixture(scope="module")
def expected() -> dict[str, dict[str, str]]:
    return json.loads(oracle.PATH.read_text())


def preprocess(case: oracle.Case) -> Preprocess:
    (crop,) = (ours for ours, theirs in CROP_MODES.items() if theirs == case.mode)
    return Preprocess(
        size=case.size,
        crop=crop,
        crop_fraction=case.fraction,
        interpolation=case.interpolation,
    )


@pytest.mark.parametrize("name", NAMES)
def test_squares_are_those_of_torchvision_and_timm(
    name: str, expected: dict[str, dict[str, str]]
):
    image = decode(oracle.JPEGS / f"{name}.jpg")
    found = {"decoded": oracle.digest(image)}
    for case in oracle.CASES:
        found[case.name] = oracle.digest(Square(preprocess(case)).image(image))
    assert found == expected[name]


def test_the_pictures_reach_every_path(expected: dict[str, dict[str, str]]):
    shapes = [decode(oracle.JPEGS / f"{name}.jpg").shape for name in NAMES]
    assert shapes == [(*oracle.PICTURES[name][:2], 3) for name in NAMES]
    # No two filters, fractions or crops give the same pixels, except that a square is
    # the same under all crops: each digest is of its own case.
    for name in ("wide", "tall", "small"):
        assert len(set(expected[name].values())) == len(expected[name])
    grey, modes = expected["grey"], sum(case.mode != "center" for case in oracle.CASES)
    assert len(set(grey.values())) == len(grey) - modes


PIXELS = np.arange(256 * 3, dtype=np.uint32).astype(np.uint8).reshape(1, 16, 16, 3)
KERAS = {"keras_resnet50": "resnet", "keras_resnet50v2": "resnet_v2"}


def test_numbers_are_those_that_keras_states():
    ours = {
        name: np.asarray(normalise(jnp.asarray(PIXELS), MODELS[name].preprocess))
        for name in KERAS
    }
    wide = PIXELS.astype(np.float64)
    # imagenet_utils: "caffe" is B, G, R less ImageNet's mean, "tf" is -1 to 1.
    caffe = wide[..., ::-1] - (103.939, 116.779, 123.68)
    np.testing.assert_allclose(ours["keras_resnet50"], caffe, rtol=1e-6, atol=1e-5)
    tf = wide / 127.5 - 1
    np.testing.assert_allclose(ours["keras_resnet50v2"], tf, rtol=0, atol=1e-6)


@pytest.mark.oracle
@pytest.mark.parametrize("name", KERAS)
def test_numbers_are_those_of_keras(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    pytest.importorskip("torch")
    keras = pytest.importorskip("keras")
    module = getattr(keras.applications, KERAS[name])
    theirs = module.preprocess_input(PIXELS.astype(np.float32))
    ours = normalise(jnp.asarray(PIXELS), MODELS[name].preprocess)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)


def compare(path: Path, case: oracle.Case) -> None:
    pixels, numbers = oracle.agreed(path, case)
    square = Square(preprocess(case)).image(decode(path))
    np.testing.assert_array_equal(square, pixels)
    ours = normalise(jnp.asarray(square[None]), preprocess(case))[0]
    np.testing.assert_allclose(ours, numbers, rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def libraries() -> Any:
    pytest.importorskip("torch")
    import_torchvision()
    pytest.importorskip("timm")


@pytest.mark.oracle
@pytest.mark.usefixtures("libraries")
def test_the_libraries_give_what_the_file_holds(expected: dict[str, dict[str, str]]):
    assert oracle.compute() == expected


@pytest.mark.oracle
@pytest.mark.usefixtures("libraries")
@pytest.mark.parametrize("case", oracle.CASES, ids=lambda case: case.name)
def test_committed_files_are_seen_as_the_libraries_see_them(case: oracle.Case):
    for name in NAMES:
        compare(oracle.JPEGS / f"{name}.jpg", case)


@pytest.mark.oracle
@pytest.mark.real_data
@pytest.mark.usefixtures("libraries")
@pytest.mark.parametrize("case", oracle.CASES, ids=lambda case: case.name)
def test_photographs_are_seen_as_the_libraries_see_them(case: oracle.Case):
    folders = "crackforest/test/images", "neu_cls/test/crazing", "neu_cls/test/patches"
    paths = [path for f in folders for path in sorted((SHARED / f).glob("*.jpg"))[:4]]
    if not paths:
        pytest.skip(f"no photographs in {SHARED}")
    for path in paths:
        compare(path, case)
