"""What all tasks have in common: records, weights of classes, devices."""

import json
from typing import Any

import jax
import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from jft import tasks
from jft.errors import InputError
from jft.tasks.sums import collect
from jft.types import VOID

ALL = (
    tasks.Classification(),
    tasks.Classification(("a", "b"), 0.1, "focal", 0.5, (1.0, 0.25)),
    tasks.MultiLabel(("a", "b"), class_weights=(0.1, 1e-7)),
    tasks.Segmentation(("a", "b"), loss_name="cross-entropy+dice"),
    tasks.Regression(("a", "b"), (0.1, -1 / 3), (1e-9, 7.0), "huber"),
)


@pytest.mark.parametrize("task", ALL, ids=lambda task: task.name)
def test_a_task_is_the_same_after_json(task):
    record = tasks.to_dict(task)
    assert json.loads(json.dumps(record)) == record
    assert tasks.from_dict(json.loads(json.dumps(record))) == task


GOOD = tasks.to_dict(ALL[-1])


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (None, "must be a group"),
        ([1], "must be a group"),
        ({}, "unknown task 'None'"),
        ({"name": "regresion"}, "did you mean 'regression'"),
        ({"name": ["regression"]}, "tasks: classification, multilabel"),
        ({"name": "regression"}, "missing"),
        (GOOD | {"gamma": 2}, "unexpected keyword argument 'gamma'"),
        (GOOD | {"std": 3}, "std must be a tuple"),
        (GOOD | {"std": [1.0]}, "1 numbers for 2"),
        (GOOD | {"std": [1.0, "2"]}, "std must be a tuple of finite numbers"),
        (GOOD | {"std": [1.0, True]}, "std must be a tuple of finite numbers"),
        (GOOD | {"class_names": "ab"}, "class_names must be"),
        (GOOD | {"class_names": [["a"], "b"]}, "class_names must be"),
        (GOOD | {"loss_name": ["mse"]}, "unknown loss"),
        ({"name": "classification", "label_smoothing": "x"}, "label_smoothing"),
        ({"name": "multilabel", "focal_gamma": None}, "focal_gamma"),
        ({"name": "segmentation", "class_weights": {}}, "class_weights"),
    ],
)
def test_a_damaged_record_is_refused(record, message):
    with pytest.raises(InputError, match=message):
        tasks.from_dict(record)


def test_every_task_is_known_by_its_name():
    names = ("classification", "multilabel", "segmentation", "regression")
    assert tuple(tasks.TASKS) == names
    assert all(tasks.TASKS[name].name == name for name in names)


@pytest.mark.parametrize("seed", range(5))
def test_balanced_weights_are_those_of_scikit_learn_and_1_on_average(seed):
    rng = np.random.default_rng(seed)
    label = rng.choice(6, 50, p=[0.6, 0.2, 0, 0.1, 0.05, 0.05])
    counts = np.bincount(label, minlength=6)
    found = tasks.balanced_weights(counts)
    present = np.flatnonzero(counts)
    expected = compute_class_weight("balanced", classes=present, y=label)
    np.testing.assert_allclose(np.array(found)[present], expected, rtol=1e-15)
    assert found[2] == 0
    assert np.dot(found, counts) == pytest.approx(50, rel=1e-12)


def test_balanced_weights_of_nothing_are_0():
    assert tasks.balanced_weights([0, 0]) == (0.0, 0.0)


def test_positive_weights_make_both_answers_count_as_much():
    found = np.array(tasks.positive_weights([1, 3.5, 12], [11, 0.5, 4]))
    np.testing.assert_allclose(found * [1, 3.5, 12], [11, 0.5, 4], rtol=1e-15)
    assert tasks.positive_weights([0, 5], [7, 0]) == (1.0, 1.0)


def batch_for(task) -> tuple[np.ndarray, np.ndarray]:
    """Return logits and labels of 8 examples, two outputs."""
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(8, 2)).astype(np.float32)
    if task.dense:
        maps = rng.normal(size=(8, 3, 3, 2)).astype(np.float32)
        return maps, rng.choice([0, 1, VOID], (8, 3, 3)).astype(np.int32)
    if task.name == "classification":
        return logits, rng.integers(0, 2, 8).astype(np.int32)
    if task.name == "multilabel":
        return logits, rng.integers(-1, 2, (8, 2)).astype(np.int32)
    return logits, rng.normal(size=(8, 2)).astype(np.float32)


def record_of(task, weight) -> dict[str, Any]:
    logits, label = batch_for(task)
    batch = dict(jax.jit(task.sums)(logits, label, weight))
    if rows := task.rows(logits, label):
        batch["rows"] = {**rows, "weight": weight}
    return collect(task, [batch])


@pytest.mark.parametrize("task", ALL[1:], ids=lambda task: task.name)
def test_sums_over_four_devices_are_those_of_one(task):
    logits, label = batch_for(task)
    weight = np.float32([1, 1, 1, 1, 1, 1, 0, 0])

    def sums(*batch):
        return jax.lax.psum(jax.jit(task.sums)(*batch), "devices")

    args = [x.reshape(4, 2, *x.shape[1:]) for x in (logits, label, weight)]
    devices = jax.devices()[:4]
    many = jax.tree.map(
        lambda x: x[0], jax.pmap(sums, "devices", devices=devices)(*args)
    )
    one = jax.jit(task.sums)(logits, label, weight)
    assert all(value.dtype in (np.float32, np.int32) for value in one.values())
    assert set(one) >= {"loss", "n", "weight"}
    for name, value in one.items():
        # float32 sums in another order; counts are exact.
        np.testing.assert_allclose(many[name], value, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("task", ALL[1:], ids=lambda task: task.name)
def test_the_loss_is_that_of_each_example_alone_and_under_vmap(task):
    logits, label = batch_for(task)
    target = task.target(label, 2)
    together = jax.jit(task.loss)(logits, target)
    assert together.shape == (8,)
    alone = jax.vmap(lambda x, t: task.loss(x[None], t[None])[0])(logits, target)
    # Fused otherwise, so rounded otherwise.
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("task", ALL[1:], ids=lambda task: task.name)
def test_the_score_is_among_the_metrics_and_all_of_them_are_json(task):
    record = record_of(task, np.ones(8, np.float32))
    assert isinstance(record[task.score], float)
    assert json.loads(json.dumps(record)) == record


@pytest.mark.parametrize("task", ALL[1:], ids=lambda task: task.name)
def test_images_are_counted_and_their_weights_are_what_averages_divide_by(task):
    whole = record_of(task, np.float32([1, 1, 1, 1, 1, 1, 0, 0]))
    light = record_of(task, np.float32([0.25] * 6 + [0, 0]))
    assert (light.pop("n"), light.pop("weight")) == (6, 1.5)
    assert whole.pop("n") == 6
    assert "weight" not in whole
    if "support" in whole:
        quarter = {name: n / 4 for name, n in whole.pop("support").items()}
        assert light.pop("support") == quarter
    for name, value in whole.items():
        # Powers of 2, so only float32 sums of products by other powers.
        assert light[name] == pytest.approx(value, rel=1e-6), name


@pytest.mark.parametrize("task", ALL[1:], ids=lambda task: task.name)
def test_without_any_weight_there_is_nothing_to_measure(task):
    with pytest.raises(InputError, match="no image has a weight above 0"):
        record_of(task, np.zeros(8, np.float32))
