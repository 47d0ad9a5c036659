"""A damaged file of any format gives arrays of the same shapes, or an InputError."""

import io
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import safetensors.numpy
from torch_opcodes import container, legacy, one, tensor

from jft.errors import InputError
from jft.weights.files import read_tensors

ARRAYS = {
    "layers/dense/vars/0": np.arange(6, dtype=np.float32).reshape(2, 3),
    "layers/dense/vars/1": np.arange(5, dtype=np.float16),
}


def hdf5() -> bytes:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as f:
        for name, array in ARRAYS.items():
            f[name] = array
        f["layers/dense/vars"].attrs["name"] = "predictions"
    return stream.getvalue()


def npz(save=np.savez) -> bytes:
    stream = io.BytesIO()
    save(stream, **ARRAYS)
    return stream.getvalue()


def keras() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("config.json", '{"config": {"layers": []}}')
        archive.writestr("model.weights.h5", hdf5())
    return stream.getvalue()


FORMATS = {
    "safetensors": lambda: safetensors.numpy.save(ARRAYS, {"made by": "jft"}),
    "torch zip": lambda: container(one(tensor())),
    "torch legacy": lambda: legacy(one(tensor())),
    "npz stored": npz,
    "npz deflated": lambda: npz(np.savez_compressed),
    "hdf5": hdf5,
    "keras": keras,
}


def shapes(path: Path, data: bytes) -> list[tuple[int, ...]] | None:
    """Return the shapes of the tensors, all read; None if the file is refused."""
    path.write_bytes(data)
    message = ""
    found: list[tuple[int, ...]] = []
    try:
        found = sorted(a.shape for a in read_tensors(path).tensors.values())
    except InputError as error:
        message = str(error)
    assert not message or (message.startswith(f"{path}: ") and "\n" not in message)
    return None if message else found


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_is_cut_is_refused(tmp_path: Path, name: str):
    good = FORMATS[name]()
    assert shapes(tmp_path / "file", good)
    # A legacy file may end in the 8-byte padding of nothing: every byte counts there.
    for end in np.unique(np.linspace(0, len(good) - 1, 150).astype(int)):
        assert shapes(tmp_path / "file", good[:end]) is None


@pytest.mark.parametrize("name", FORMATS)
def test_changed_bits_change_no_shape(tmp_path: Path, name: str):
    good = FORMATS[name]()
    expected = shapes(tmp_path / "file", good)
    assert expected
    rng = np.random.default_rng(0)
    # Most of an HDF5 file is zeros that stand for nothing.
    indices = [i for i, byte in enumerate(good) if byte] + list(range(len(good)))
    for _ in range(600):
        changed = bytearray(good)
        for _ in range(rng.integers(1, 4)):
            changed[indices[rng.integers(len(indices))]] ^= 1 << rng.integers(8)
        found = shapes(tmp_path / "file", bytes(changed))
        if name == "torch legacy":  # it has no checksum: a size may become smaller
            assert found is None or sum(map(np.prod, found)) <= 6
        elif found is not None:  # a lost name is a lost tensor
            assert set(found) <= set(expected)
            assert len(found) <= len(expected)
