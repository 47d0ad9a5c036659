"""The exit status of every kind of end, as docs/runs.md lists them."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jft import errors
from jft.__main__ import main
from jft.console.cli import guarded
from jft.data.spec import DataSpec
from jft.errors import DataError, InputError, content
from jft.train.resolve import Problems

PAGE = Path(__file__).parents[2] / "docs" / "runs.md"
KINDS = [
    (errors.InputError("x"), 2),
    (errors.DataError("x"), 65),
    (errors.StorageError("x"), 74),
    (errors.DivergedError("x"), 76),
    (errors.DamageError("x"), 77),
    (OSError(28, "No space left on device"), 74),
    (KeyboardInterrupt(), 130),
]


def raising(error: BaseException) -> Callable[[], int]:
    def run() -> int:
        raise error

    return run


@pytest.mark.parametrize(("error", "status"), KINDS, ids=lambda v: type(v).__name__)
def test_a_mistake_is_one_line_and_a_status(
    error: BaseException, status: int, capsys: pytest.CaptureFixture[str]
):
    assert guarded(raising(error)) == status
    assert capsys.readouterr().err.count("\n") == 1


def test_a_bug_keeps_its_traceback(capsys: pytest.CaptureFixture[str]):
    assert guarded(raising(ZeroDivisionError("7 / 0"))) == 70
    shown = capsys.readouterr().err
    assert shown.startswith("Traceback")
    assert "7 / 0\nThis is a bug in jft" in shown


def test_the_page_lists_the_same():
    table = PAGE.read_text().partition("| status | verdict |")[0]
    rows = re.findall(r"^\| (\d+) \|", table, re.MULTILINE)
    known = {status for _, status in KINDS} | {0, 1, errors.BUG, errors.INTERRUPTED}
    assert [int(row) for row in rows] == sorted(known)


def test_content_makes_data_errors_of_plain_ones_only():
    for kind in (InputError, DataError):
        with pytest.raises(DataError, match="x"), content():
            raise kind("x")
    with pytest.raises(errors.StorageError), content():
        raise errors.StorageError("x")


def test_several_problems_have_their_kind_or_are_wrong_usage():
    for kinds, expected in (
        ([DataError, DataError], DataError),
        ([DataError, InputError], InputError),
    ):
        problems = Problems()
        for i, kind in enumerate(kinds):
            problems.attempt(raising(kind(f"x{i}")))
        with pytest.raises(InputError, match="x0\nx1") as caught:
            problems.require_none()
        assert type(caught.value) is expected


def picture(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), level, np.uint8)).save(path)


def test_a_path_that_is_not_there_is_usage_and_what_is_there_is_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    # One class is nothing to learn; two unreadable images of four are too many.
    picture(tmp_path / "one" / "cat" / "1.png", 3)
    for name in ("cat", "dog"):
        picture(tmp_path / "two" / name / "1.png", 3)
        (tmp_path / "two" / name / "2.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    table = tmp_path / "ages.csv"
    table.write_text("path,label\nx.png\n")
    (tmp_path / "net.safetensors").write_bytes(b"no weights")
    cases = {
        f"--data folder:{tmp_path}/none": 2,
        f"--data folder:{tmp_path}/one": 65,
        f"--data folder:{tmp_path}/two": 65,
        f"--data csv:{tmp_path}/none.csv": 2,
        f"--data csv:{table}": 65,
        f"--weights {tmp_path}/none.safetensors --model.name resnet18": 2,
        f"--weights {tmp_path}/net.safetensors --model.name resnet18": 65,
        f"--data folder:{tmp_path}/one --epochs 0": 2,
    }
    folder = ["-o", str(tmp_path / "run"), "--devices", "jit", "--image-size", "32"]
    found = {line: main(["train", *line.split(), *folder]) for line in cases}
    assert found == cases
    assert "Traceback" not in capsys.readouterr().err
    with pytest.raises(InputError) as caught:
        DataSpec("folder", str(tmp_path / "none"), {}).load()
    assert caught.value.status == 2


def test_an_output_that_cannot_be_written_is_storage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "file").write_text("x")
    there = str(tmp_path / "file" / "run")
    assert main(["train", "--workdir", there, "--devices", "jit"]) == 74
    out = str(tmp_path / "file" / "net.safetensors")
    assert main(["convert", "resnet20-cifar10", out]) == 74
    assert capsys.readouterr().err.count("error: ") == 2
