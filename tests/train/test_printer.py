"""What a run prints before it trains."""

from typing import Any

import numpy as np

from jft.data.check import judge as judging
from jft.data.sources import DataReport, Source, Splits
from jft.train.printer import absent_lines

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
