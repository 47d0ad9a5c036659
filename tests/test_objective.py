"""What the training data gives the task, and tables of what came of it."""

import numpy as np

from jft.data.sources import Source
from jft.objective import class_counts
from jft.tables import class_table


def test_the_256th_class_is_a_class_like_the_others():
    labels = np.array([255, 255, 0], np.int32)
    names = tuple(map(str, range(256)))
    images, weights = np.zeros((3, 1, 1, 3), np.uint8), np.ones(3, np.float32)
    source = Source(images, labels, weights, names, "classification")
    assert class_counts(source)[[0, 254, 255]].tolist() == [1, 0, 2]


def test_void_is_no_class_of_a_mask():
    masks = np.array([[[0, 1], [1, 255]]], np.uint8)
    images, weights = np.zeros((1, 2, 2, 3), np.uint8), np.ones(1, np.float32)
    source = Source(images, masks, weights, ("a", "b"), "segmentation")
    assert class_counts(source).tolist() == [1, 2]


def test_a_class_that_one_metric_lacks_has_a_dash():
    lines = class_table({"IoU": {"a": 0.5, "b": 0.25}, "F1": {"a": 0.75}})
    assert lines[-1].split() == ["b", "0.2500", "-"]
