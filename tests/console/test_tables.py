"""What a person reads of a run: its score in words, tables, and what to do next."""

from pathlib import Path
from typing import Any

import pytest

from jft.console.text import (
    MOST_COLUMNS,
    MOST_ROWS,
    alpha_lines,
    class_table,
    confusion_table,
    metric_lines,
    outcome,
    shown,
)
from jft.runs.directory import RunDirectory
from jft.tasks import TASKS
from jft.tasks.classification import LISTED
from jft.train.printer import next_commands
from jft.train.result import Result

NAN = float("nan")
CLASSES: dict[str, Any] = {
    "score": "accuracy",
    "n": 1797,
    "loss": 0.25,
    "accuracy": 1790 / 1797,
    "top5": 1.0,
    "balanced_accuracy": 0.875,
    "trivial": 0.625,
    "precision": {"dark": 1.0, "light": 0.5},
    "support": {"dark": 1000.0, "light": 797.0},
    "classes": ["dark", "light"],
    "confusion": [[750.0, 250.0], [0.0, 797.0]],
}
LABELS: dict[str, Any] = {
    "score": "mAP",
    "n": 8,
    "loss": 0.6,
    "accuracy": 0.5,
    "f1": 2 / 3,
    "mAP": 0.6098,
    "AP": {"left": 0.5, "a longer name": 0.7196},
}
MASKS: dict[str, Any] = {
    "score": "mIoU",
    "n": 1,
    "loss": 0.00004,
    "mIoU": 0.5,
    "pixel_accuracy": 0.9,
    "IoU": {"ground": 0.5, "crack": 0.00001},
    "F1": {"ground": 0.75, "crack": 0.00002},
}
NUMBER: dict[str, Any] = {
    "score": "r2",
    "n": 20,
    "loss": 0.3,
    "mae": 6.3024e-06,
    "rmse": 7e-06,
    "r2": 0.70119,
    "trivial": 0.0,
}
PRICES: dict[str, Any] = {
    "score": "r2",
    "n": 20,
    "loss": 0.3,
    "mae": 61728.4,
    "rmse": 70000.0,
    "r2": -0.5,
    "each_mae": {"price": 123456.4, "rooms": 0.4},
    "each_rmse": {"price": 140000.0, "rooms": 0.51234},
    "each_r2": {"price": -1.25, "rooms": 0.25},
}


@pytest.mark.parametrize(
    ("metrics", "lines"),
    [
        (
            CLASSES,
            [
                "accuracy 99.61% (1,790 of 1,797 images), loss 0.2500",
                "top5                 100.00%",
                "balanced_accuracy     87.50%",
                "trivial               62.50%",
                "",
                "       precision  support",
                "dark     100.00%     1000",
                "light     50.00%      797",
                "",
                "confusion: a row for each class, a column for each prediction",
                "       dark  light",
                "dark    750    250",
                "light     0    797",
            ],
        ),
        (
            LABELS,
            [
                "mAP 60.98% (8 images), loss 0.6000",
                "accuracy              50.00%",
                "f1                    66.67%",
                "",
                "                   AP",
                "left           50.00%",
                "a longer name  71.96%",
            ],
        ),
        (
            MASKS,
            [
                "mIoU 50.00% (1 image), loss 4e-05",
                "pixel_accuracy        90.00%",
                "",
                "           IoU      F1",
                "ground  50.00%  75.00%",
                "crack    0.00%   0.00%",
            ],
        ),
        (
            NUMBER,
            [
                "r2 0.7012, mae 6.302e-06 (20 images), loss 0.3000",
                "rmse                   7e-06",
                "trivial               0.0000",
            ],
        ),
        (
            PRICES,
            [
                "r2 -0.5000, mae 61,728 (20 images), loss 0.3000",
                "rmse                  70,000",
                "",
                "           mae     rmse       r2",
                "price  123,456  140,000  -1.2500",
                "rooms      0.4   0.5123   0.2500",
            ],
        ),
    ],
    ids=["classes", "labels", "masks", "number", "numbers"],
)
def test_metrics_of_every_task_are_read_once_and_in_their_units(
    metrics: dict[str, Any], lines: list[str]
):
    assert metric_lines(metrics) == lines


@pytest.mark.parametrize(
    ("score", "metrics", "text"),
    [
        ("accuracy", CLASSES, "accuracy 99.61% (1,790 of 1,797 images)"),
        ("mAP", LABELS, "mAP 60.98% (8 images)"),
        ("mIoU", MASKS, "mIoU 50.00% (1 image)"),
        ("r2", NUMBER, "r2 0.7012, mae 6.302e-06 (20 images)"),
        # 8 images of weight 0.3: half of the weight is not half of the images.
        (
            "accuracy",
            {"n": 8, "weight": 2.4, "accuracy": 0.5},
            "accuracy 50.00% (8 images)",
        ),
        ("r2", {"n": 4, "r2": NAN, "mae": NAN}, "r2 nan, mae nan (4 images)"),
    ],
)
def test_the_score_is_said_in_words(score: str, metrics: dict[str, Any], text: str):
    assert outcome(score, metrics) == text


def test_a_weight_is_told_as_a_number():
    weighted = {"score": "mIoU", "n": 8, "weight": 2.4, "loss": 0.5, "mIoU": 0.5}
    assert metric_lines(weighted)[1:] == ["weight                   2.4"]


@pytest.mark.parametrize(
    ("metrics", "lines"),
    [
        (CLASSES, ["alpha  accuracy    loss", "0.25     99.61%  0.2500"]),
        (LABELS, ["alpha     mAP    loss", "0.25   60.98%  0.6000"]),
        (MASKS, ["alpha    mIoU   loss", "0.25   50.00%  4e-05"]),
        (NUMBER, ["alpha      r2    loss", "0.25   0.7012  0.3000"]),
    ],
    ids=["classes", "labels", "masks", "number"],
)
def test_lines_of_alphas_have_the_score(metrics: dict[str, Any], lines: list[str]):
    assert alpha_lines([{"alpha": 0.25, **metrics}]) == lines


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("accuracy", 1.0, "100.00%"),
        ("loss", 0.0, "0.0000"),
        ("loss", -0.00001, "-1e-05"),
        ("loss", 123.456789, "123.4568"),
        ("r2", -12345.678, "-12,346"),
        ("r2", -3e12, "-3e+12"),
        ("mae", 0.0, "0"),
        ("mae", 9999.6, "10,000"),
        ("rmse", 1.5e9, "1.5e+09"),
        ("each_mae", 12.3456, "12.35"),
        ("mIoU", NAN, "nan"),
        ("loss", float("inf"), "inf"),
    ],
)
def test_no_number_is_shown_as_another(metric: str, value: float, text: str):
    assert shown(metric, value) == text


def test_a_class_that_one_metric_lacks_has_a_dash():
    lines = class_table({"IoU": {"b": 0.25}, "F1": {"a": 0.75, "b": 0.5}})
    assert [line.split() for line in lines] == [
        ["IoU", "F1"],
        ["b", "25.00%", "50.00%"],
        ["a", "-", "75.00%"],
    ]


def test_a_table_that_nobody_would_read_says_where_it_is():
    names = [str(i) for i in range(MOST_ROWS + 1)]
    table = {"IoU": dict.fromkeys(names, 0.5), "F1": dict.fromkeys(names, 0.5)}
    assert class_table(table) == ["IoU, F1: --json shows all 101"]
    del table["IoU"]["0"], table["F1"]["0"]
    assert len(class_table(table)) == MOST_ROWS + 1
    # No number of classes is in one of them and missing in the other.
    assert MOST_ROWS == LISTED


def test_a_confusion_matrix_wider_than_a_screen_is_not_printed():
    size = MOST_COLUMNS
    names, counts = [str(i) for i in range(size)], [[0.0] * size] * size
    assert len(confusion_table(names, counts)) == size + 3
    assert confusion_table([*names, "more"], [*counts, counts[0]]) == []


def test_columns_of_wide_names_are_numbered():
    lines = confusion_table(["a dark night", "day"], [[3.0, 0.5], [0.0, 12345.0]])
    assert lines[2:] == [
        "                1      2",
        "1 a dark night  3    0.5",
        "2 day           0  12345",
    ]


def test_where_no_class_occurs_there_is_no_table():
    assert metric_lines({**LABELS, "AP": {}}) == metric_lines(LABELS)[:3]


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
@pytest.mark.parametrize("data", ["digits", "folder:flowers"])
def test_what_to_do_next_fits_the_run(task: Any, data: str, tmp_path: Path):
    run = tmp_path / "a run"
    run.mkdir()
    RunDirectory(run).write("config.json", {"data": data})
    result = Result(run, task.score, {}, "", 0.0)
    predict, evaluate, last = next_commands(result)
    assert f"jft.predict '{run}' IMAGE_OR_FOLDER" in predict
    assert ("--output" in predict) == task.dense
    assert evaluate == f"python -m jft.evaluate '{run}'"
    assert ("--data folder:" in last) == (data == "digits")
