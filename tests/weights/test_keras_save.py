"""Keras's files that are written: read again to the bit, ordered as Keras orders."""

import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from networks import SMALL, numbered, shapes_of

from jft.errors import InputError
from jft.models import MODELS, ModelSpec
from jft.weights.export import find_layout, layout_in, to_layout, write_weights
from jft.weights.files import read_tensors
from jft.weights.load import assign
from jft.weights.names import layouts

ENDINGS = (".weights.h5", ".h5")
NETWORKS = ("keras", "keras_v2", "vgg")


def write(path: Path, spec: ModelSpec, variables: dict[str, np.ndarray]) -> None:
    layout = layout_in(path, find_layout("keras", spec), spec)
    write_weights(path, to_layout(variables, layout, spec), {})


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("name", NETWORKS)
def test_out_and_in_again_is_the_same_to_the_bit(
    name: str, ending: str, tmp_path: Path
):
    spec, path = SMALL[name], tmp_path / f"net{ending}"
    variables = numbered(spec)
    write(path, spec, variables)
    shapes = shapes_of(spec.build(5))
    placed, ignored = assign(shapes, read_tensors(path).tensors, "file", spec)
    assert ignored == ()
    assert set(placed) == set(variables)
    for ours, array in variables.items():
        np.testing.assert_array_equal(placed[ours], array, err_msg=ours)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("ending", ENDINGS)
def test_equal_weights_are_equal_files(ending: str, tmp_path: Path):
    one, two = tmp_path / f"one{ending}", tmp_path / f"two{ending}"
    for path in (one, two):
        write(path, SMALL["keras"], numbered(SMALL["keras"]))
    assert one.read_bytes() == two.read_bytes()


# As Keras 3.15 lists the layers that have tensors.
FIRST = {
    "keras_resnet50": (
        "conv1_conv conv1_bn conv2_block1_1_conv conv2_block1_1_bn conv2_block1_2_conv "
        "conv2_block1_2_bn conv2_block1_0_conv conv2_block1_3_conv conv2_block1_0_bn "
        "conv2_block1_3_bn conv2_block2_1_conv"
    ),
    "keras_resnet50v2": (
        "conv1_conv conv2_block1_preact_bn conv2_block1_1_conv conv2_block1_1_bn "
        "conv2_block1_2_conv conv2_block1_2_bn conv2_block1_0_conv "
        "conv2_block1_3_conv conv2_block2_preact_bn"
    ),
    "vgg16": "block1_conv1 block1_conv2 block2_conv1",
}
LAST = {
    "keras_resnet50": "conv5_block3_3_conv conv5_block3_3_bn predictions",
    "keras_resnet50v2": "conv5_block3_3_conv post_bn predictions",
    "vgg16": "block5_conv3 fc1 fc2 predictions",
}


@pytest.mark.parametrize("layout", ["keras", "keras3"])
@pytest.mark.parametrize("name", list(FIRST))
def test_layers_are_in_the_order_of_keras(name: str, layout: str):
    spec = MODELS[name]
    found = next(one for one in layouts(spec) if layout in one.names)
    ours = sorted(shapes_of(spec.build(spec.num_classes)), key=found.position)
    layers = [found.name(one, spec).rpartition("/")[0] for one in ours]
    layers = list(dict.fromkeys(layers))
    first, last = FIRST[name].split(), LAST[name].split()
    assert layers[: len(first)] == first
    assert layers[-len(last) :] == last


def test_a_file_of_keras_3_counts_the_layers_of_a_class(tmp_path: Path):
    path = tmp_path / "net.weights.h5"
    write(path, SMALL["keras"], numbered(SMALL["keras"]))
    with h5py.File(path) as file:
        layers: Any = file["layers"]
        kinds = {key.rstrip("0123456789").rstrip("_") for key in layers}
        assert kinds == {"conv2d", "batch_normalization", "dense"}
        assert list(layers["batch_normalization/vars"]) == ["0", "1", "2", "3"]
        assert list(layers["conv2d_1/vars"]) == ["0", "1"]
        assert layers["conv2d/vars"].attrs["name"] == "conv1_conv"
        assert layers["conv2d_3/vars"].attrs["name"] == "conv2_block1_0_conv"
        assert layers["dense/vars/0"].shape == (32, 5)


def test_a_file_of_old_lists_layers_and_tensors(tmp_path: Path):
    path = tmp_path / "net.h5"
    write(path, SMALL["keras"], numbered(SMALL["keras"]))
    with h5py.File(path) as file:
        layers: Any = file.attrs["layer_names"]
        assert list(layers[:2]) == [b"conv1_conv", b"conv1_bn"]
        assert list(file["conv1_bn"].attrs["weight_names"]) == [
            b"conv1_bn/gamma",
            b"conv1_bn/beta",
            b"conv1_bn/moving_mean",
            b"conv1_bn/moving_variance",
        ]
        assert file.attrs["keras_version"] != b"1"


@pytest.mark.parametrize(
    ("network", "hint"), [("keras", "give --to keras"), ("bottleneck", "name another")]
)
def test_another_layout_does_not_go_into_a_file_of_keras(network: str, hint: str):
    spec = SMALL[network]
    layout = find_layout("safetensors", spec)
    with pytest.raises(InputError, match=f"the layout keras, not safetensors: {hint}"):
        layout_in(Path("net.h5"), layout, spec)
    assert layout_in(Path("net.pth"), layout, spec) is layout


def test_without_h5py_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match=r"pip install '\.\[keras\]'"):
        write(tmp_path / "net.h5", SMALL["keras"], numbered(SMALL["keras"]))
    assert list(tmp_path.iterdir()) == []
