import hashlib
import io
import json
import os
import pickle
import re
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from refusals import read, refusal

from jft.errors import InputError
from jft.weights.files import read_tensors

WEIGHT = np.arange(6, dtype=np.float32).reshape(2, 3)
DTYPES = (
    *(np.float16, np.float32, np.float64, ml_dtypes.bfloat16, np.bool_),
    *(np.int8, np.int16, np.int32, np.int64),
    *(np.uint8, np.uint16, np.uint32, np.uint64),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.pth"


def test_safetensors_keeps_dtypes_metadata_and_digest(tmp_path: Path):
    arrays = {np.dtype(kind).name: np.arange(6).astype(kind) for kind in DTYPES}
    arrays |= {"scalar": np.array(3.0), "empty": np.zeros((0, 2))}
    path = tmp_path / "weights.bin"  # the content decides, not the extension
    path.write_bytes(safetensors.numpy.save(arrays, metadata={"made by": "jft"}))
    checkpoint = read_tensors(path)
    assert checkpoint.metadata == {"made by": "jft"}
    assert checkpoint.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert list(checkpoint.tensors) == sorted(arrays)
    for name, array in arrays.items():
        assert checkpoint.tensors[name].dtype == array.dtype
        np.testing.assert_array_equal(checkpoint.tensors[name], array)


def safetensors_bytes(body: bytes, **entry: Any) -> bytes:
    header = json.dumps({"w": {"data_offsets": [0, len(body)], **entry}}).encode()
    return struct.pack("<Q", len(header)) + header + body


def test_bad_safetensors_are_refused(path: Path):
    good = safetensors_bytes(bytes(8), dtype="F32", shape=[2])
    assert read(path, good)["w"].shape == (2,)
    for end in range(1, len(good)):
        refusal(path, good[:end])
    vast = safetensors_bytes(b"12", dtype="F32", shape=[1 << 60])
    assert "data_offsets are (0, 2)" in refusal(path, vast)
    refusal(path, safetensors_bytes(b"12", dtype="F\n" * 500, shape=[2]))
    float8 = safetensors_bytes(b"12", dtype="F8_E4M3", shape=[2])
    assert "tensor 'w' has dtype 'F8_E4M3'; valid are BF16" in refusal(path, float8)
    vast = safetensors_bytes(b"", dtype="F32", shape=[0, 1 << 62, 1 << 62])
    assert "tensor 'w' has the impossible shape" in refusal(path, vast)
    assert "contains no tensors" in refusal(path, struct.pack("<Q", 2) + b"{}")


def test_tensors_are_read_when_they_are_asked_for(tmp_path: Path):
    path = tmp_path / "weights.safetensors"
    first = {"a": WEIGHT, "b": np.zeros(1000, np.float32)}
    safetensors.numpy.save_file(first, path)
    tensors = read_tensors(path).tensors
    assert tensors["a"] is not tensors["a"]
    assert len(tensors) == 2
    assert "a" in tensors
    assert "c" not in tensors
    tensors["a"][:] = 0  # an array of its own, not the file
    np.testing.assert_array_equal(tensors["a"], WEIGHT)
    with pytest.raises(KeyError):
        tensors["c"]


def test_a_file_that_takes_another_s_place_does_no_harm(tmp_path: Path):
    path = tmp_path / "weights.safetensors"
    safetensors.numpy.save_file({"a": WEIGHT}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    found = read_tensors(path)
    safetensors.numpy.save_file({"a": WEIGHT + 1}, tmp_path / "other")
    (tmp_path / "other").replace(path)
    np.testing.assert_array_equal(found.tensors["a"], WEIGHT)
    path.unlink()
    assert found.sha256 == digest


@pytest.mark.parametrize("size", [100, 1000, 1200])
def test_a_file_that_changes_in_place_is_an_error(tmp_path: Path, size: int):
    path = tmp_path / "weights.safetensors"
    safetensors.numpy.save_file({"a": np.zeros(250, np.float32)}, path)
    found = read_tensors(path)
    os.truncate(path, size)
    message = f"{path}: tensor 'a' changed while it was read"
    with pytest.raises(InputError, match=re.escape(message)):
        found.tensors["a"]
    with pytest.raises(InputError, match="changed while it was read"):
        _ = found.sha256


def test_reading_takes_one_copy_of_the_tensors(tmp_path: Path):
    path = tmp_path / "weights.safetensors"
    arrays = {f"w{i}": np.ones(1 << 18, np.float32) for i in range(16)}
    safetensors.numpy.save_file(arrays, path)
    tracemalloc.start()
    found = read_tensors(path)
    _, opened = tracemalloc.get_traced_memory()
    kept = dict(found.tensors)
    _, peak = tracemalloc.get_traced_memory()
    _ = found.sha256
    _, hashed = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert opened < 100_000
    assert peak < 1.1 * sum(array.nbytes for array in kept.values())
    assert hashed < peak + (2 << 20)


def other_zip() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("readme.txt", "no weights")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "is empty"),
        (b"<script>{}</script>", "an HTML or XML page"),
        (b"\n <!DOCTYPE html><html>", "an HTML or XML page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\x93NUMPY" + bytes(64), "a NumPy array"),
        (pickle.dumps({"w": WEIGHT}), "a pickle that torch.save did not write"),
        (bytes(100), "100 bytes of an unknown format named .pth"),
        (other_zip(), "a zip archive but not a torch file"),
    ],
)
def test_other_files_are_told_apart(path: Path, data: bytes, found: str):
    message = refusal(path, data)
    assert found in message
    assert "safetensors" in message or "torch" in message


def test_a_path_without_a_file_is_explained(tmp_path: Path):
    (tmp_path / "resnet18.pth").write_bytes(b"x")
    with pytest.raises(InputError, match=r"did you mean 'resnet18\.pth'") as caught:
        read_tensors(tmp_path / "resnet81.pth")
    assert str(caught.value).startswith(str(tmp_path / "resnet81.pth"))
    with pytest.raises(InputError, match="is a directory; name a file in it"):
        read_tensors(str(tmp_path))
    with pytest.raises(InputError, match="is not a regular file"):
        read_tensors("/dev/null")
    with pytest.raises(InputError, match="cannot be read: File name too long"):
        read_tensors("x" * 5000)


SHARED = Path(__file__).parents[3] / "shared" / "data" / "weights"


@pytest.mark.real_data
@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared")
class TestRealFiles:
    @pytest.mark.parametrize(("blocks", "tensors"), [(3, 97), (5, 157)])
    def test_akamaster(self, blocks: int, tensors: int):
        (path,) = SHARED.glob(f"resnet{6 * blocks + 2}-*.th")
        found = read_tensors(path)
        assert len(found.tensors) == tensors
        assert found.tensors["conv1.weight"].shape == (16, 3, 3, 3)
        assert found.sha256.startswith(path.stem.split("-")[1])
        assert all(np.isfinite(array).all() for array in found.tensors.values())

    @pytest.mark.parametrize("name", ["resnet18_w16", "resnet50_w16", "vgg16_bn_w16"])
    def test_keys_shapes_and_dtypes(self, name: str):
        folder = SHARED / "torchvision_layout"
        keys = json.loads((folder / f"{name}.keys.json").read_text())
        found = read_tensors(folder / f"{name}.pth").tensors
        actual = {n: [list(a.shape), f"torch.{a.dtype}"] for n, a in found.items()}
        assert list(actual.items()) == list(keys.items())

    @pytest.mark.parametrize(
        "variant", ["legacy.pth", "sharedstorage.pth", "channels_last.pth"]
    )
    def test_variants_are_equal(self, variant: str):
        folder = SHARED / "torchvision_layout"
        plain = read_tensors(folder / "resnet18_w16.pth").tensors
        found = read_tensors(folder / f"resnet18_w16.{variant}").tensors
        assert list(found) == list(plain)
        for name, array in plain.items():
            assert found[name].dtype == array.dtype
            np.testing.assert_array_equal(found[name], array)

    def test_fp16_is_the_rounded_file(self):
        folder = SHARED / "torchvision_layout"
        plain = read_tensors(folder / "resnet18_w16.pth").tensors
        found = read_tensors(folder / "resnet18_w16.fp16.safetensors").tensors
        assert sorted(found) == sorted(plain)
        for name, array in plain.items():
            np.testing.assert_array_equal(found[name], array.astype(found[name].dtype))


@pytest.mark.oracle
@pytest.mark.parametrize("zipped", [True, False])
def test_torch_agrees(path: Path, zipped: bool):
    torch = pytest.importorskip("torch")
    base = torch.randn(40)
    names = ("float16", "float32", "float64", "bfloat16", "int64", "uint8", "bool")
    saved = {name: (base[:6] * 9).to(getattr(torch, name)) for name in names}
    saved |= {
        "offset": base[7:19].view(3, 4),
        "transposed": base.view(5, 8).t(),
        "scalar": base[3],
        "parameter": torch.nn.Parameter(base[::3]),
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    }
    torch.save({"model": saved}, path, _use_new_zipfile_serialization=zipped)
    found = read_tensors(path).tensors
    assert list(found) == list(saved)
    for name, tensor in saved.items():
        assert f"torch.{found[name].dtype}" == str(tensor.dtype)
        expected = tensor.detach().double().numpy()
        np.testing.assert_array_equal(found[name].astype(np.float64), expected)
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    torch.save(model, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match="Sequential: the file contains a whole model"):
        read_tensors(path)
