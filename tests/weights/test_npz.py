"""What np.savez and np.savez_compressed write is read; the rest is refused."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from jft.errors import InputError
from jft.weights.files import read_tensors

DTYPES = ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_read_as_they_were_saved(tmp_path: Path, save):
    rng = np.random.default_rng(0)
    arrays = {f"as_{kind}": np.arange(6).astype(kind) for kind in DTYPES} | {
        "resnet/root_block/standardized_conv2d/kernel": rng.normal(size=(7, 7, 3, 8)),
        "fortran": np.asfortranarray(rng.normal(size=(3, 5))),
        "scalar": np.array(3.0),
        "empty": np.zeros((0, 2)),
        "many": rng.normal(size=(600, 600)),
    }
    save(tmp_path / "R50x1.npz", **arrays)
    found = read_tensors(tmp_path / "R50x1.npz")
    assert sorted(found.tensors) == sorted(arrays)
    for name, array in arrays.items():
        assert found.tensors[name].dtype == array.dtype
        np.testing.assert_array_equal(found.tensors[name], array)


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_each_version_of_the_array_format_is_read(tmp_path: Path, version):
    stream = io.BytesIO()
    array = np.arange(6.0).reshape(2, 3)
    np.lib.format.write_array(stream, array, version)
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
        archive.writestr("w.npy", stream.getvalue())
    np.testing.assert_array_equal(read_tensors(tmp_path / "w.npz").tensors["w"], array)


def test_headers_of_python_2_are_read(tmp_path: Path):
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 3L), }"
    length = len(header).to_bytes(2, "little")
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
        body = np.arange(6, dtype="<f4").tobytes()
        archive.writestr("w.npy", b"\x93NUMPY\1\0" + length + header + body)
    assert read_tensors(tmp_path / "w.npz").tensors["w"].shape == (2, 3)


@pytest.mark.parametrize(
    ("array", "culprit"),
    [
        (np.array([{}]), "member 'w.npy' contains Python objects"),
        (np.zeros(2, ">f4"), "has dtype '>f4'; valid are <f2"),
        (np.zeros(2, "c8"), "has dtype '<c8'"),
        (np.zeros(2, [("a", "f4")]), "has dtype"),
        (np.array("text"), "has dtype '<U4'"),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, array: np.ndarray, culprit: str):
    np.savez(tmp_path / "w.npz", w=array)
    with pytest.raises(InputError, match=culprit):
        read_tensors(tmp_path / "w.npz")


def test_damage_is_found_when_the_array_is_read(tmp_path: Path):
    path = tmp_path / "w.npz"
    np.savez(path, w=np.full(9000, 7.5, np.float32))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    found = read_tensors(path)
    with pytest.raises(
        InputError, match=r"tensor 'w' its member 'w\.npy' is cut short"
    ):
        found.tensors["w"]


def test_a_member_that_is_no_array_is_refused(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
        archive.writestr("w.npy", b"")
    with pytest.raises(InputError, match=r"member 'w\.npy' is not a NumPy array"):
        read_tensors(tmp_path / "w.npz")
