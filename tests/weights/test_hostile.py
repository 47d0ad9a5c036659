"""Hostile files end in a one-line error, soon, in little memory, and run nothing."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hostile_files import safetensors, write_all
from hypothesis import given, settings
from hypothesis import strategies as st

import jft
from jft.errors import InputError
from jft.weights.files import read_tensors

RUNNER = Path(__file__).parent / "hostile_runner.py"
# Half of it is usual; a busy machine takes more.
SECONDS = 3.0
BESIDE = 32 << 20
"""Bytes of memory that any file may take, besides twice its size."""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Read every hostile file in one other process, which a crash would end."""
    folder = tmp_path_factory.mktemp("hostile")
    files = folder / "files"
    files.mkdir()
    paths = write_all(files)
    (files / "good.safetensors").rename(folder / "good.safetensors")
    (files / "good.safetensors").symlink_to(folder / "good.safetensors")
    run = subprocess.run(
        [sys.executable, "-W", "error", str(RUNNER), str(files)],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(jft.__file__).parents[1])},
        timeout=600,
    )
    assert run.returncode == 0, run.stderr
    assert sorted(os.listdir(folder)) == ["files", "good.safetensors"]
    found = json.loads(run.stdout)
    return {str(path): (*found[path.name], path.stat().st_size) for path in paths}


@pytest.mark.process
def test_each_hostile_file_is_refused_in_one_line(results: dict[str, Any]):
    assert len(results) >= 40
    wrong = {
        path: message
        for path, (message, *_) in results.items()
        if not message.startswith(f"{path}: ")
        or "\n" in message
        or len(message) > len(path) + 600
    }
    assert not wrong


@pytest.mark.process
def test_each_hostile_file_is_refused_soon(results: dict[str, Any]):
    assert {p: s for p, (_, s, _, _) in results.items() if s > SECONDS} == {}


@pytest.mark.process
def test_each_hostile_file_takes_little_memory(results: dict[str, Any]):
    swollen = {
        path: peak
        for path, (_, _, peak, size) in results.items()
        if peak > 2 * size + BESIDE
    }
    assert swollen == {}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=9,
)
WHOLE = st.sampled_from([0, 1, 2, 3, 6, 8, 12, 24, -1, 1 << 62, 1 << 64])
ENTRY = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "BF16", "U8", "BOOL", "F99"]) | JSON,
        "shape": st.lists(WHOLE, max_size=3) | JSON,
        "data_offsets": st.lists(WHOLE, min_size=2, max_size=2) | JSON,
    }
)
HEADER = st.dictionaries(
    st.sampled_from(["a", "b", "c", "__metadata__"]), ENTRY | JSON, max_size=3
)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(header=HEADER | JSON, body=st.binary(max_size=30))
def test_any_safetensors_header_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, header: Any, body: bytes
):
    path = tmp_path_factory.getbasetemp() / "header.safetensors"
    path.write_bytes(safetensors(json.dumps(header), body))
    with contextlib.suppress(InputError):
        tensors = read_tensors(path).tensors.values()
        assert sum(array.nbytes for array in tensors) == len(body)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(length=st.integers(0, 2**64 - 1) | st.integers(0, 99), header=st.binary())
def test_any_bytes_in_the_place_of_a_header_are_refused(
    tmp_path_factory: pytest.TempPathFactory, length: int, header: bytes
):
    path = tmp_path_factory.getbasetemp() / "bytes.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + b"{" + header)
    with pytest.raises(InputError):
        read_tensors(path)
