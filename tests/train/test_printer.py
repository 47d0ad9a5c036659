"""What a run prints before it trains."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jft.data.check import judge as judging
from jft.data.sources import DataReport, Source, Splits
from jft.runs.directory import RunDirectory
from jft.train.printer import absent_lines, advice
from jft.train.result import Result

NAMES = ("cat", "dog", "emu")


def source_of(labels: list[int]) -> Source:
    """Return examples of these classes, whose images are nothing."""
    images = np.zeros((len(labels), 1, 1, 3), np.uint8)
    weights = np.ones(len(labels), np.float32)
    return Source(images, np.int32(labels), weights, NAMES, "classification")


def test_classes_without_test_images_are_named_as_data_check_names_them():
    train, test = source_of([0, 1, 2]), source_of([1, 1])
    splits = Splits(train, test, DataReport(5, 5), "", "")
    text = "2 of 3 classes have no example in test"
    assert absent_lines(splits) == [f"{text}: cat, emu"]
    whole = Splits(train, train, DataReport(6, 6), "", "")
    assert absent_lines(whole) == []
    counts: dict[str, Any] = {"test": {"cat": 0, "dog": 2, "emu": 0}}
    report = {"labels": {"counts": counts}, "splits": {"test": 2}}
    [remark] = judging._missing(report)  # pyright: ignore[reportPrivateUsage]
    assert remark["what"] == text


@pytest.mark.parametrize(
    ("score", "trivial", "told"),
    [
        (0.9, 0.1, False),
        (0.1, 0.1, True),
        (0.0999, 0.1, True),
        (0.1 + 1e-8, 0.1, True),
        (float("nan"), 0.1, True),
        (1.0, 1.0, False),
        (0.0, None, False),
    ],
)
@pytest.mark.parametrize("data", ["folder:a b", "objects"])
def test_what_to_try_where_a_constant_prediction_is_as_good(
    score: float, trivial: float | None, told: bool, data: str, tmp_path: Path
):
    RunDirectory(tmp_path).write("config.json", {"data": data})
    metrics = {"accuracy": score, "n": 10}
    metrics |= {} if trivial is None else {"trivial": trivial}
    lines = advice(Result(tmp_path, "accuracy", metrics, "", 0.0))
    text = " ".join(lines)
    assert bool(text) == told
    assert max(map(len, lines), default=0) < 80
    if told:
        assert "same prediction for every image (accuracy 10.00%)" in text
        assert all(word in text for word in ("--epochs", "--lr-find", "--freeze none"))
        command = "`python -m jft.data check 'folder:a b'`"
        assert (command in text) == (data == "folder:a b")


def test_the_first_line_of_a_file_comes_before_jax():
    code = (
        "import sys\n"
        "from jft.config import TrainConfig\n"
        "from jft.train.__main__ import _first_line\n"
        "from jft.train.resolve import resolve\n"
        "class Stop(Exception): pass\n"
        "def checked():\n"
        "    _first_line()\n"
        "    print('jax' in sys.modules)\n"
        "    raise Stop\n"
        "try: resolve(TrainConfig(), checked=checked)\n"
        "except Stop: pass\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "loading data and weights\nFalse\n"
