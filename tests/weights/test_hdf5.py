"""Keras's three formats: what h5py writes is read, and named."""

import io
import json
import zipfile
from pathlib import Path

import h5py
import ml_dtypes
import numpy as np
import pytest

from jft.errors import InputError
from jft.weights.files import read_tensors

RNG = np.random.default_rng(0)
KERNEL = RNG.normal(size=(3, 3, 3, 4)).astype(np.float32)
LEGACY = {
    "conv1_conv/conv1_conv/kernel:0": ("conv1_conv/kernel", KERNEL),
    "conv1_conv/conv1_conv/bias:0": ("conv1_conv/bias", KERNEL[0, 0, 0]),
    "conv1_bn/sequential/conv1_bn/gamma": ("conv1_bn/gamma", KERNEL[0, 0, 1]),
    "inner/inner/d1/kernel": ("d1/kernel", KERNEL[0, 0]),
    "block1_conv1/block1_conv1_W_1:0": ("block1_conv1/kernel", KERNEL[1]),
    "block1_conv1/block1_conv1_b_1:0": ("block1_conv1/bias", KERNEL[1, 0, 0]),
    "bn/bn_running_mean_1:0": ("bn/running_mean", KERNEL[1, 0, 1]),
}
MODERN = {
    "layers/conv2d/vars/0": ("conv2d/0", KERNEL),
    "layers/conv2d_1/vars/0": ("conv2d_1/0", KERNEL[0]),
    "layers/conv2d_1/vars/1": ("conv2d_1/1", KERNEL[0, 0, 0]),
    "layers/sequential/layers/dense/vars/0": ("sequential/dense/0", KERNEL[0, 0]),
    "_layer_checkpoint_dependencies/old/vars/0": ("old/0", KERNEL[1]),
}
NAMES = {"conv2d": "conv1_conv", "conv2d_1": "conv2_block1_1_conv"}
NAMED = {
    path: (f"{NAMES.get(layer, layer)}/{leaf}", array)
    for path, (name, array) in MODERN.items()
    for layer, _, leaf in (name.rpartition("/"),)
}


def check(path: Path, expected: dict[str, tuple[str, np.ndarray]]) -> None:
    found = read_tensors(path).tensors
    assert sorted(found) == sorted(name for name, _ in expected.values())
    for name, array in expected.values():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("root", ["", "model_weights/"])
def test_old_files_are_named_by_the_layers_own_names(tmp_path: Path, root: str):
    path = tmp_path / "resnet50.h5"
    with h5py.File(path, "w") as f:
        f.attrs["model_config"] = "{}" * 30_000
        f.attrs["layer_names"] = np.array([b"conv1_conv", b"conv1_bn"])
        for name, (_, array) in LEGACY.items():
            f[root + name] = array
        f[f"{root}top_level_model_weights/w"] = KERNEL
        f["optimizer_weights/adam/iteration"] = np.array(3)
    check(path, LEGACY)
    assert read_tensors(path).metadata == {}


def modern(names: dict[str, str]) -> bytes:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as f:
        for name, (_, array) in MODERN.items():
            f[name] = array
        for layer, own in names.items():
            f[f"layers/{layer}/vars"].attrs["other"] = np.arange(3)
            f[f"layers/{layer}/vars"].attrs["name"] = own
        f["optimizer/vars/0"] = KERNEL
        f.create_group("vars").attrs["name"] = "resnet50"
    return stream.getvalue()


def test_keras_3_weights_are_named_by_the_layers_if_the_file_does(tmp_path: Path):
    path = tmp_path / "resnet50.weights.h5"
    path.write_bytes(modern(NAMES))
    check(path, NAMED)
    path.write_bytes(modern({}))
    check(path, MODERN)


CONFIG = {
    "class_name": "Functional",
    "config": {
        "layers": [
            {"class_name": kind, "config": {"name": own}}
            for kind, own in (
                ("Conv2D", "conv1_conv"),
                ("BatchNormalization", "conv1_bn"),
                ("Conv2D", "conv2_block1_1_conv"),
            )
        ]
    },
}


def write_keras(path: Path, weights: bytes, config: object = CONFIG) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.15.1"}')
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", weights)
    return path


@pytest.mark.parametrize("names", [NAMES, {}])
def test_the_layers_of_a_keras_archive_have_names(tmp_path: Path, names):
    check(write_keras(tmp_path / "m.keras", modern(names)), NAMED)


def test_the_names_in_the_weights_go_before_those_of_the_configuration(tmp_path: Path):
    names = NAMES | {"conv2d": "other"}
    path = write_keras(tmp_path / "m.keras", modern(names))
    assert "other/0" in read_tensors(path).tensors


@pytest.mark.parametrize("config", [{"config": {"layers": [3]}}, {"config": {}}, {}])
def test_without_a_list_of_layers_their_counts_remain(tmp_path: Path, config):
    check(write_keras(tmp_path / "m.keras", modern({}), config), MODERN)


def test_dtypes_keep_their_bits(tmp_path: Path):
    kinds = ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]
    arrays = {f"l/{kind}": np.arange(-3, 3).astype(kind) for kind in kinds}
    arrays |= {"l/scalar": np.array(2.5), "l/empty": np.zeros((0, 3), "f4")}
    arrays["l/compact"] = np.arange(4, dtype="f4")
    half = np.arange(6).astype(ml_dtypes.bfloat16)
    with h5py.File(tmp_path / "w.h5", "w") as f:
        for name, array in arrays.items():
            if name != "l/compact":
                f[name] = array
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((4,))
        kind = h5py.h5t.IEEE_F32LE
        compact = h5py.h5d.create(f["l"].id, b"compact", kind, space, plist)
        compact.write(h5py.h5s.ALL, h5py.h5s.ALL, arrays["l/compact"])
        f.create_dataset("l/half", data=half).attrs["dtype"] = "bfloat16"
    check(tmp_path / "w.h5", {n: (n, a) for n, a in {**arrays, "l/half": half}.items()})


def test_groups_of_any_size_are_read_in_the_order_of_their_names(tmp_path: Path):
    names = sorted(f"layer_{i}/w" for i in range(300))
    with h5py.File(tmp_path / "w.h5", "w") as f:
        for i, name in enumerate(names):
            f[name] = np.float32(i)
    found = read_tensors(tmp_path / "w.h5").tensors
    assert list(found) == names
    assert [float(array) for array in found.values()] == list(range(300))


@pytest.mark.parametrize(
    ("options", "culprit"),
    [
        ({"data": KERNEL, "chunks": (1, 3, 3, 4)}, "'l/w' is stored in chunks"),
        ({"data": KERNEL, "compression": "gzip"}, "'l/w' is compressed"),
        ({"data": KERNEL.astype(">f4")}, "'l/w' is big-endian"),
        ({"data": "text"}, "'l/w' has neither integers nor floating-point"),
        ({"data": np.zeros(3, "V2")}, "'l/w' has an unknown type"),
        ({"shape": (1 << 40,), "dtype": "f4"}, "'l/w' has no data in the file"),
        ({"data": h5py.Empty("f4")}, "'l/w' has a shape that Keras never writes"),
    ],
)
def test_what_keras_never_writes_is_refused(tmp_path: Path, options, culprit: str):
    with h5py.File(tmp_path / "w.h5", "w") as f:
        f.create_dataset("l/w", **options)
    with pytest.raises(InputError, match=culprit):
        read_tensors(tmp_path / "w.h5")


def test_one_name_for_two_tensors_is_refused(tmp_path: Path):
    with h5py.File(tmp_path / "w.h5", "w") as f:
        f["a/d/kernel:0"], f["b/d/kernel:0"] = KERNEL, KERNEL
    with pytest.raises(InputError, match="two tensors named 'd/kernel'"):
        read_tensors(tmp_path / "w.h5")
