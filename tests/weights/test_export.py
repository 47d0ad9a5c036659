"""Files that are written: whole, equal for equal weights, and read again."""

import re
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from jft.errors import InputError
from jft.weights.export import write_weights
from jft.weights.files import read_tensors

TENSORS = {
    "a.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4) - 7,
    "b.half": np.array([1.5, -2], np.float16),
    "b.brain": np.array([1.5, -2], ml_dtypes.bfloat16),
    "c.count": np.zeros((), np.int64),
    "d.wide": np.array([[0.1]]),
    "e.empty": np.zeros((0, 3), np.float32),
}


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ".npz"])
def test_what_is_written_is_read_again(suffix: str, tmp_path: Path):
    path = tmp_path / "new" / f"weights{suffix}"
    # NumPy's own format has no name for bfloat16.
    tensors = {n: a for n, a in TENSORS.items() if suffix != ".npz" or n != "b.brain"}
    write_weights(path, tensors, {"note": "x"})
    read = read_tensors(path)
    assert sorted(read.tensors) == sorted(tensors)
    for name, array in tensors.items():
        assert read.tensors[name].dtype == array.dtype
        assert read.tensors[name].shape == array.shape
        assert read.tensors[name].tobytes() == array.tobytes()
    assert read.metadata == ({"note": "x"} if suffix == ".safetensors" else {})
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask()


def umask() -> int:
    import os

    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_equal_weights_are_equal_files(tmp_path: Path):
    one, two = tmp_path / "one.pth", tmp_path / "two.pth"
    for path in (one, two):
        write_weights(path, TENSORS, {})
    assert one.read_bytes() == two.read_bytes()


def test_torchs_container_has_the_members_that_torch_asks_for(tmp_path: Path):
    write_weights(tmp_path / "w.pth", TENSORS, {})
    with zipfile.ZipFile(tmp_path / "w.pth") as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert archive.read("archive/byteorder") == b"little"
        assert archive.read("archive/version") == b"3\n"
    assert {i.compress_type for i in archive.infolist()} == {zipfile.ZIP_STORED}
    data = [f"archive/data/{i}" for i in range(len(TENSORS))]
    assert sorted(names) == sorted(
        ["archive/data.pkl", "archive/byteorder", "archive/version", *data]
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("w.keras", "weights are written to FILES files, not .keras"),
        ("w", "weights are written to FILES files, not without a suffix"),
    ],
)
def test_other_files_are_not_written(name: str, message: str, tmp_path: Path):
    files = ".safetensors, .pth, .pt, .npz, .h5"
    with pytest.raises(InputError, match=re.escape(message.replace("FILES", files))):
        write_weights(tmp_path / name, TENSORS, {})


def test_a_failed_write_leaves_what_was_there(tmp_path: Path):
    path = tmp_path / "w.pth"
    path.write_bytes(b"old")
    strange = {"a": np.zeros(3, np.complex64)}
    with pytest.raises(KeyError):
        write_weights(path, strange, {})
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.oracle
def test_torch_loads_what_is_written(tmp_path: Path):
    torch = pytest.importorskip("torch")
    write_weights(tmp_path / "w.pth", TENSORS, {})
    for mmap in (False, True):
        state = torch.load(tmp_path / "w.pth", weights_only=True, mmap=mmap)
        assert list(state) == list(TENSORS)
        for name, array in TENSORS.items():
            tensor = state[name]
            assert tuple(tensor.shape) == array.shape
            assert tensor.dtype == getattr(torch, array.dtype.name)
            assert tensor.is_contiguous()
            raw = tensor.contiguous().view(-1).view(torch.uint8).numpy()
            assert raw.tobytes() == array.tobytes()
