"""A writer that fails ends in one line, and what was saved before is intact."""

import errno
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import orbax.checkpoint as ocp
import pytest

from jft.errors import DamageError, StorageError
from jft.runs import sums
from jft.runs.arrays import load_arrays, save_arrays
from jft.runs.directory import RunDirectory
from jft.runs.sums import damaged, replacing, write_file

FAILURES = [
    # What TensorStore raises on a full disk, in its first line.
    (ValueError("RESOURCE_EXHAUSTED: Error writing\nand more"), "the disk is full"),
    (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "the disk is full"),
    (OSError(errno.EROFS, os.strerror(errno.EROFS)), "Read-only file system"),
]


def save(folder: Path, value: int) -> None:
    with replacing(folder) as part:
        save_arrays(part, "state", {"a": np.full(3, value)})


@pytest.mark.parametrize(("error", "reason"), FAILURES)
def test_a_writer_that_fails_leaves_the_old_folder(
    error: Exception, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(*args: Any, **options: Any) -> None:
        raise error

    save(tmp_path / "6", 1)
    with monkeypatch.context() as patch:
        patch.setattr(ocp.StandardCheckpointer, "save", fail)
        with pytest.raises(StorageError) as caught:
            save(tmp_path / "6", 2)
    message = str(caught.value)
    assert message.count("\n") == 0
    assert reason in message
    assert "What was saved before is intact" in message
    assert [path.name for path in tmp_path.iterdir()] == ["6"]
    loaded = load_arrays(tmp_path / "6", "state", {"a": np.zeros(3, np.int64)})
    assert loaded["a"].tolist() == [1, 1, 1]


def test_a_file_that_cannot_be_written_is_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run = RunDirectory(tmp_path)
    run.write("plan.json", {"a": 1})

    def fail(*args: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(sums.os, "replace", fail)
        with pytest.raises(StorageError, match="the disk is full"):
            run.write("plan.json", {"a": 2})
    assert run.read("plan.json") == {"a": 1}
    assert damaged(tmp_path) == []
    assert {path.name for path in tmp_path.iterdir()} == {"plan.json", sums.SUMS}


def test_two_writes_leave_one_digest_each(tmp_path: Path):
    run = RunDirectory(tmp_path)
    for value in range(3):
        run.write("plan.json", {"a": value})
        run.append_metrics([{"step": value}])
    assert {name: len(d) for name, d in sums.read_sums(tmp_path).items()} == {
        "metrics.jsonl": 1,
        "plan.json": 1,
    }
    run.remove("plan.json")
    assert run.read("plan.json") is None
    assert damaged(tmp_path) == []
    run.rewind(1)
    assert [record["step"] for record in run.metrics()] == [0, 1]


def test_a_record_that_lacks_a_file_is_damaged(tmp_path: Path):
    run = RunDirectory(tmp_path)
    run.write("plan.json", {})
    write_file(tmp_path / "config.json", b"{}")
    with pytest.raises(DamageError, match=r"SHA256SUMS is damaged: it lacks config"):
        run.read("config.json")


def test_what_tensorstore_reports_late_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    seen: list[str] = []
    monkeypatch.setattr("sys.unraisablehook", lambda each: seen.append(each.exc_value))

    def fail(*args: Any, **options: Any) -> None:
        raise ValueError("RESOURCE_EXHAUSTED")

    monkeypatch.setattr(ocp.StandardCheckpointer, "save", fail)
    with pytest.raises(StorageError):
        save(tmp_path / "6", 2)
    for text in ("Event loop is closed", "other"):
        sys.unraisablehook(SimpleNamespace(exc_value=RuntimeError(text)))
    assert [str(error) for error in seen] == ["other"]
