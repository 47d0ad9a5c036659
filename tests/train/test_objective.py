"""What the training data gives the task."""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from jft.config import AugmentConfig, TaskConfig, TrainConfig
from jft.data.listing import TaskName
from jft.data.sources import Source
from jft.errors import InputError
from jft.train.checks import check_task
from jft.train.objective import (
    class_counts,
    class_weights,
    make_task,
    moments,
)


def source_of(task: TaskName, labels: npt.NDArray[Any], weights: Any = None) -> Source:
    """Return examples with those labels, two outputs, whose images are nothing."""
    counts = np.ones(len(labels)) if weights is None else np.array(weights)
    images = np.zeros((len(labels), 1, 1, 3), np.uint8)
    return Source(images, labels, counts.astype(np.float32), ("a", "b"), task)


SOURCES = {
    "classification": source_of("classification", np.int32([0, 1, 1])),
    "multilabel": source_of("multilabel", np.int32([[0, 1], [1, -1]])),
    "segmentation": source_of("segmentation", np.uint8([[[0, 1]], [[0, 255]]])),
    "regression": source_of("regression", np.float32([[1, 5], [3, np.nan]])),
}


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


def test_labels_are_balanced_by_how_many_lack_them_for_each_that_has_them():
    labels = np.int32([[1, 1], [0, -1], [0, 1], [0, -1], [1, 1]])
    source = source_of("multilabel", labels, [1, 2, 0, 0.5, 0.25])
    # Nothing that is known lacks b, and what is unknown is no example of either.
    assert class_weights(source) == (2.5 / 1.25, 1.0)


def test_moments_are_of_what_is_known_as_often_as_it_counts():
    labels = np.float32([[1, 7], [1e6, 7], [4, np.nan], [6, 7], [np.nan, 7]])
    weights = [2, 0, 1, 0.5, 3]
    mean, std = moments(source_of("regression", labels, weights))
    known = np.array([1, 1, 1, 1, 4, 4, 6])  # twice as often, for whole counts
    assert mean == pytest.approx((known.mean(), 7), rel=1e-15)
    assert std == pytest.approx((known.std(), 1.0), rel=1e-15)


def test_what_is_always_the_same_has_no_spread_of_rounding():
    labels = np.full((30, 2), 5.3, np.float32)
    weights = np.linspace(0.1, 1.7, 30)
    assert moments(source_of("regression", labels, weights))[1] == (1.0, 1.0)


def test_moments_of_equal_weights_are_those_of_numpy_to_the_bit():
    labels = np.random.default_rng(0).normal(500, 3, (40, 2)).astype(np.float32)
    labels[5, 1] = np.nan
    mean, std = moments(source_of("regression", labels))
    whole = labels.astype(np.float64)
    assert mean == tuple(np.nanmean(whole, axis=0))
    assert std == tuple(np.nanstd(whole, axis=0))


@pytest.mark.parametrize(
    ("task", "labels", "weights", "reason"),
    [
        ("regression", np.float32([[1, np.nan], [2, 3]]), [1, 0], "a value of b"),
        ("regression", np.float32([[1, 2]]), [0], "a weight above 0"),
        ("classification", np.int32([0, 1]), [0, 0], "a weight above 0"),
    ],
)
def test_training_data_that_says_nothing_is_refused(task, labels, weights, reason):
    with pytest.raises(InputError, match=f"no training image has {reason}"):
        make_task(TrainConfig(), source_of(task, labels, weights))


@pytest.mark.parametrize("task", ["classification", "multilabel", "segmentation"])
@pytest.mark.parametrize(
    ("loss", "given", "smoothing"),
    [
        ("auto", None, 0.1),
        ("cross-entropy", 0.25, 0.25),
        ("focal", None, 0.0),
        ("focal", 0.25, 0.25),
        ("cross-entropy+dice", None, 0.1),
        ("dice", None, 0.0),
    ],
)
def test_targets_are_smoothed_where_a_loss_has_them(task, loss, given, smoothing):
    if "dice" in loss and task != "segmentation":
        return
    config = TrainConfig(label_smoothing=given, task=TaskConfig(loss=loss))
    check_task(config, task)
    made: Any = make_task(config, SOURCES[task])
    assert made.label_smoothing == smoothing
    assert made.focal_gamma == 2.0


def test_gamma_and_weights_reach_the_task():
    rules = TaskConfig(loss="focal", focal_gamma=0.5, class_weights="balanced")
    config = TrainConfig(task=rules)
    check_task(config, "classification")
    made: Any = make_task(config, SOURCES["classification"])
    assert (made.focal_gamma, made.class_weights) == (0.5, (1.5, 0.75))


@pytest.mark.parametrize(
    ("task", "changes", "reason"),
    [
        (
            "classification",
            {"task": TaskConfig(class_weights="balanced"), "sampling": "balanced"},
            "in both does it twice; take one of them",
        ),
        ("regression", {"label_smoothing": 0.1}, "label_smoothing: mse has none"),
        (
            "segmentation",
            {"label_smoothing": 0.1, "task": TaskConfig(loss="dice")},
            "label_smoothing: dice has none; it is for cross-entropy, ",
        ),
        (
            "multilabel",
            {"task": TaskConfig(focal_gamma=1.0)},
            "focal_gamma: cross-entropy has none; it is for task.loss focal",
        ),
        (
            "multilabel",
            {"task": TaskConfig(loss="dice")},
            "valid: cross-entropy, focal",
        ),
    ],
)
def test_rules_without_effect_or_sense_are_refused(task, changes, reason):
    config = dataclasses.replace(TrainConfig(), **changes)
    with pytest.raises(InputError, match=reason):
        check_task(config, task)


def test_all_that_is_wrong_is_said_at_once():
    config = TrainConfig(
        label_smoothing=0.1, augment=AugmentConfig(cutmix=1.0), sampling="balanced"
    )
    with pytest.raises(InputError) as caught:
        check_task(config, "regression")
    lines = str(caught.value).splitlines()
    starts = ["sampling", "label_smoothing", "augment.cutmix"]
    assert [line.partition(":")[0] for line in lines] == starts


@pytest.mark.parametrize("task", SOURCES)
def test_the_default_rules_and_no_smoothing_suit_every_task(task):
    check_task(TrainConfig(), task)
    check_task(TrainConfig(label_smoothing=0.0), task)
