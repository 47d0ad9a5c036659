"""Checkpoints in several files: an index, a folder, and what does not agree."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from torch_opcodes import container, one, tensor

from jft.errors import InputError
from jft.weights.files import read_tensors

ARRAYS = {name: np.full(3, i, np.float32) for i, name in enumerate("cab")}
FILES = {"a": "x-1.safetensors", "b": "x-2.safetensors", "c": "x-1.safetensors"}
INDEX = "model.safetensors.index.json"


def write(folder: Path, files_of: dict[str, str] = FILES, index: str = INDEX) -> Path:
    for shard in set(FILES.values()):
        own = {name: ARRAYS[name] for name in ARRAYS if FILES[name] == shard}
        safetensors.numpy.save_file(own, folder / shard, metadata={"format": "np"})
    notes = {"metadata": {"total_size": 36}, "weight_map": files_of}
    (folder / index).write_text(json.dumps(notes))
    return folder / index


def test_the_shards_are_read_as_one(tmp_path: Path):
    index = write(tmp_path)
    found = read_tensors(index)
    assert list(found.tensors) == ["a", "b", "c"]
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found.tensors[name], array)
    assert found.metadata == {"format": "np"}
    files = [index, *(tmp_path / shard for shard in set(FILES.values()))]
    digests = sorted(hashlib.sha256(f.read_bytes()).hexdigest() for f in files)
    assert found.sha256 == hashlib.sha256("\n".join(digests).encode()).hexdigest()


def test_torch_shards_and_prefixes(tmp_path: Path):
    for i in (1, 2):
        body = one(tensor()).replace(b"\1\0\0\0w", b"\x0a\0\0\0module.w%d_" % i)
        (tmp_path / f"{i}.bin").write_bytes(container(body))
    files_of = {"module.w1_": "1.bin", "module.w2_": "2.bin"}
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": files_of}))
    found = read_tensors(index)
    assert {n: a.shape for n, a in found.tensors.items()} == {
        "w1_": (2, 3),
        "w2_": (2, 3),
    }


def test_shards_may_be_links_as_in_a_hub_cache(tmp_path: Path):
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshot").mkdir()
    write(tmp_path / "blobs")
    for file in (tmp_path / "blobs").iterdir():
        (tmp_path / "snapshot" / file.name).symlink_to(Path("../blobs") / file.name)
    assert len(read_tensors(tmp_path / "snapshot" / INDEX).tensors) == 3


@pytest.mark.parametrize(
    ("files_of", "culprit"),
    [
        ({}, "no weight_map"),
        (
            {"a": "../x-1.safetensors"},
            r"'\.\./x-1.safetensors', which is not the plain",
        ),
        ({"a": "/x-1.safetensors"}, "is not the plain name"),
        ({"a": ".."}, "is not the plain name"),
        ({"a": ""}, "is not the plain name"),
        ({"a": INDEX}, "is not the plain name"),
        ({"a": None}, "lists None, which is not the plain name"),
        (FILES | {"d": "none.safetensors"}, "'none.safetensors': no such file"),
        (FILES | {"d": "x-2.safetensors"}, "'d', which the index assigns to it"),
        (
            FILES | {"c": "x-2.safetensors"},
            "'c', which the index does not assign to it",
        ),
        ({"a": "x-1.safetensors"}, "'c', which the index does not assign to it"),
    ],
)
def test_an_index_that_does_not_fit_is_refused(tmp_path: Path, files_of, culprit: str):
    index = write(tmp_path, files_of)
    with pytest.raises(InputError, match=culprit) as caught:
        read_tensors(index)
    assert str(caught.value).startswith(f"{index}: ")


def test_a_damaged_shard_is_named(tmp_path: Path):
    index = write(tmp_path)
    (tmp_path / "x-2.safetensors").write_bytes(b"\0" * 50)
    with pytest.raises(InputError, match=r"its file 'x-2\.safetensors': is 50 bytes"):
        read_tensors(index)
