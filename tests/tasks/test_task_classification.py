import math
from typing import Any

import jax
import numpy as np
import optax
import pytest
from sklearn.metrics import (
    confusion_matrix,
    precision_recall_fscore_support,
    recall_score,
    roc_auc_score,
)

from jft.errors import InputError
from jft.tasks import Classification
from jft.tasks.classification import LISTED
from jft.tasks.sums import collect, gather

LOGITS = np.random.default_rng(0).normal(size=(16, 7), scale=3).astype(np.float32)
LABEL = (np.arange(16) * 3 % 7).astype(np.int32)
# float32 against float64: log-sum-exp and a sum over 7 classes round values of up to
# 20 a few times, 20 * 6e-8 each.
TOLERANCE = {"rtol": 1e-6, "atol": 1e-5}


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def reference(smoothing: float, logits: np.ndarray = LOGITS) -> np.ndarray:
    """Return the smoothed loss as a mix of the label's and all classes' mean loss."""
    logs = log_softmax(logits)
    own = logs[np.arange(len(LABEL)), LABEL]
    return -(1 - smoothing) * own - smoothing * logs.mean(axis=1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5, 0.99])
def test_the_loss_is_the_smoothed_cross_entropy(smoothing: float):
    task = Classification(label_smoothing=smoothing)
    loss = task.loss(LOGITS, task.target(LABEL, 7))
    np.testing.assert_allclose(loss, reference(smoothing), **TOLERANCE)


def test_the_loss_of_large_logits_is_finite():
    logits = LOGITS * np.float32(1e4)
    task = Classification(label_smoothing=0.1)
    loss = task.loss(logits, task.target(LABEL, 7))
    # Values of up to 1e5 now, so only the relative precision of float32 is left.
    np.testing.assert_allclose(loss, reference(0.1, logits), rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_gradient_is_the_softmax_less_the_smoothed_target(smoothing: float):
    task = Classification(label_smoothing=smoothing)
    target = task.target(LABEL, 7)
    grad = jax.jit(jax.grad(lambda logits: task.loss(logits, target).sum()))(LOGITS)
    target = (1 - smoothing) * np.eye(7)[LABEL] + smoothing / 7
    expected = np.exp(log_softmax(LOGITS)) - target
    # Values in [-1, 1], rounded a few times to 6e-8.
    np.testing.assert_allclose(grad, expected, rtol=0, atol=1e-6)


def test_the_loss_that_is_summed_is_without_smoothing_or_padding():
    weight = (np.arange(16) < 11).astype(np.float32)
    plain = Classification().sums(LOGITS, LABEL, weight)
    smoothed = Classification(label_smoothing=0.3).sums(LOGITS, LABEL, weight)
    for name in plain:
        np.testing.assert_array_equal(plain[name], smoothed[name])
    # A sum of 11 losses of up to 20, in float32.
    expected = reference(0.0)[:11].sum()
    np.testing.assert_allclose(smoothed["loss"], expected, rtol=1e-6)
    assert abs(reference(0.3)[:11].sum() / expected - 1) > 1e-3
    right = LOGITS.argmax(axis=1)[:11] == LABEL[:11]
    assert (float(smoothed["accuracy"]), int(smoothed["n"])) == (right.sum(), 11)


FOCAL = Classification(loss_name="focal", focal_gamma=1.5)


def focal_reference(gamma: float, weights: np.ndarray, target: np.ndarray):
    logs = log_softmax(LOGITS)
    return -(weights * target * (1 - np.exp(logs)) ** gamma * logs).sum(axis=1)


def blended(seed: int = 1) -> np.ndarray:
    """Return targets that are mixtures of several classes, as mixup makes them."""
    targets = np.random.default_rng(seed).dirichlet(np.ones(7), 16)
    return targets.astype(np.float32)


@pytest.mark.parametrize("target", [np.eye(7, dtype=np.float32)[LABEL], blended()])
@pytest.mark.parametrize("gamma", [None, 0.0, 0.5, 1.5, 2.0])
def test_focal_and_weighted_losses_follow_their_formula(target, gamma):
    weights = (np.arange(7) / 2).astype(np.float32)
    name = "cross-entropy" if gamma is None else "focal"
    task = Classification(
        loss_name=name, focal_gamma=gamma or 0.0, class_weights=tuple(weights.tolist())
    )
    expected = focal_reference(gamma or 0.0, weights, target)
    # Two powers more than the cross-entropy alone.
    np.testing.assert_allclose(
        task.loss(LOGITS, target), expected, rtol=2e-6, atol=2e-5
    )


def test_focal_loss_without_gamma_is_the_cross_entropy():
    task = Classification(loss_name="focal", focal_gamma=0.0)
    plain = Classification().loss(LOGITS, blended())
    np.testing.assert_array_equal(task.loss(LOGITS, blended()), plain)


@pytest.mark.parametrize("name", ["cross-entropy", "focal"])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("value", [1e4, -1e4])
def test_loss_and_gradient_of_extreme_logits_are_finite(name, gamma, value):
    task = Classification(loss_name=name, focal_gamma=gamma)
    logits = np.zeros((7, 7), np.float32)
    logits[:, 2] = value
    target = np.eye(7, dtype=np.float32)
    loss, grad = jax.jit(jax.value_and_grad(lambda x: task.loss(x, target).sum()))(
        logits
    )
    assert np.isfinite(loss)
    assert np.isfinite(grad).all()
    # One class is missed by 1e4, or all but one are, each of them by log 6 more.
    assert loss >= 1e4


def test_a_single_class_is_always_right_and_costs_nothing():
    for task in (Classification(), FOCAL):
        target = task.target(np.zeros(3, np.int32), 1)
        logits = np.float32([[-5], [0], [9]])
        loss, grad = jax.value_and_grad(lambda x, t=target, k=task: k.loss(x, t).sum())(
            logits
        )
        assert (float(loss), np.abs(grad).max()) == (0, 0)


def test_the_summed_loss_of_another_loss_is_that_loss_without_smoothing():
    weight = np.float32(np.arange(16) % 3)
    weights = tuple((np.arange(7) / 2).tolist())
    for task in (
        Classification(loss_name="focal", focal_gamma=1.5, label_smoothing=0.2),
        Classification(class_weights=weights, label_smoothing=0.2),
    ):
        gamma = 1.5 if task.loss_name == "focal" else 0.0
        w = np.array(task.class_weights or np.ones(7))
        expected = focal_reference(gamma, w, np.eye(7)[LABEL]) @ weight
        sums = jax.jit(task.sums)(LOGITS, LABEL, weight)
        np.testing.assert_allclose(sums["loss"], expected, rtol=2e-6)


def test_the_default_loss_is_that_of_optax_to_the_bit():
    target = Classification(label_smoothing=0.1).target(LABEL, 7)
    loss = Classification(label_smoothing=0.1).loss(LOGITS, target)
    np.testing.assert_array_equal(loss, optax.softmax_cross_entropy(LOGITS, target))
    sums = Classification().sums(LOGITS, LABEL, np.ones(16, np.float32))
    each = optax.softmax_cross_entropy_with_integer_labels(LOGITS, LABEL)
    np.testing.assert_array_equal(sums["loss"], each.sum())


@pytest.mark.parametrize("classes", [7, 5, LISTED + 1])
def test_recall_is_that_of_scikit_learn(classes: int):
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(40, classes)).astype(np.float32)
    label = (rng.integers(0, classes, 40) // 2).astype(np.int32)  # some never occur
    logits[np.arange(40), label] += np.float32(1.5)
    names = tuple(f"c{i}" for i in range(classes))
    task = Classification(class_names=names)
    batches = [
        jax.jit(task.sums)(logits[part], label[part], np.ones(8, np.float32))
        for part in np.split(np.arange(40), 5)
    ]
    record = collect(task, batches)
    predicted, occurring = logits.argmax(axis=1), np.unique(label)
    recall = recall_score(label, predicted, labels=occurring, average=None)
    assert 0 < recall.mean() < 1
    # Quotients of counts, in float64 on both sides.
    assert record["balanced_accuracy"] == pytest.approx(recall.mean(), rel=1e-12)
    listed = {f"c{c}": r for c, r in zip(occurring, recall, strict=True)}
    if classes > LISTED:
        assert "recall" not in record
    else:
        assert record["recall"] == pytest.approx(listed, rel=1e-12)
    nameless = collect(Classification(), batches)
    assert "recall" not in nameless
    assert nameless["balanced_accuracy"] == record["balanced_accuracy"]


def collected(logits, label, weight, names=(), parts=5) -> dict[str, Any]:
    """Return the metrics of padded batches, as an evaluation collects them."""
    task = Classification(class_names=names)
    batches = []
    for x, y, w in zip(
        *(np.array_split(v, parts) for v in (logits, label, weight)), strict=True
    ):
        x = np.pad(x, ((0, 40 - len(x)), (0, 0)), constant_values=np.nan)
        y, w = np.pad(y, (0, 40 - len(y))), np.pad(w, (0, 40 - len(w)))
        rows = {**jax.jit(task.rows)(x, y), "weight": w}
        batches.append({**jax.jit(task.sums)(x, y, w), "rows": rows})
    total, rows = gather(batches)
    assert rows is not None
    counts = task.confusion(rows, logits.shape[1])
    return {**task.summarise(total, rows), "confusion": counts}


@pytest.mark.parametrize("classes", [2, 7])
@pytest.mark.parametrize("weighted", [False, True])
def test_metrics_by_class_are_those_of_scikit_learn(classes: int, weighted: bool):
    rng = np.random.default_rng(classes)
    logits = rng.normal(size=(90, classes)).astype(np.float32)
    label = rng.integers(0, classes, 90).astype(np.int32)
    logits[np.arange(90), label] += 1
    weight = np.float32(np.arange(90) % 3 / 2) if weighted else np.ones(90, np.float32)
    names = tuple(f"c{i}" for i in range(classes))
    record = collected(logits, label, weight, names)
    predicted = logits.argmax(axis=1)
    expected = precision_recall_fscore_support(label, predicted, sample_weight=weight)
    for name, values in zip(
        ("precision", "recall", "F1", "support"), expected, strict=True
    ):
        found = [record[name][each] for each in names]
        # Sums of halves are exact; their quotients are float64 on both sides.
        np.testing.assert_allclose(found, values, rtol=1e-12, err_msg=name)
    counts = confusion_matrix(label, predicted, sample_weight=weight)
    np.testing.assert_array_equal(record["confusion"][:, :-1], counts)
    assert not record["confusion"][:, -1].any()
    probability = np.exp(log_softmax(logits))
    scores = probability[:, 1] if classes == 2 else probability
    area = roc_auc_score(label, scores, multi_class="ovr", sample_weight=weight)
    assert 0.5 < area < 0.95
    assert record["roc_auc"] == pytest.approx(area, abs=1e-9)
    constant = np.eye(classes, dtype=np.float32)
    best = max(
        collected(np.tile(one, (90, 1)), label, weight)["accuracy"] for one in constant
    )
    assert record["trivial"] == pytest.approx(best, rel=1e-12)
    whole = collected(logits, label, weight, names, parts=3)
    np.testing.assert_array_equal(whole.pop("confusion"), record.pop("confusion"))
    del whole["loss"], record["loss"]  # summed in float32
    assert whole == record


def test_images_without_finite_logits_have_no_predicted_class():
    logits = np.zeros((4, 3), np.float32)
    logits[[0, 1], [1, 2]] = np.nan, np.inf
    label = np.int32([0, 1, 0, 2])
    record = collected(logits, label, np.ones(4, np.float32), ("a", "b", "c"))
    assert record["confusion"].tolist() == [[1, 0, 0, 1], [0, 0, 0, 1], [1, 0, 0, 0]]
    assert record["precision"] == {"a": 0.5, "b": 0.0, "c": 0.0}
    assert record["roc_auc"] == 0


def test_where_all_images_have_one_class_there_is_no_roc_curve():
    label, ones = np.zeros(4, np.int32), np.ones(4, np.float32)
    record = collected(np.zeros((4, 2), np.float32), label, ones, ("a", "b"))
    assert "roc_auc" not in record
    assert (record["trivial"], record["support"]) == (1, {"a": 4})
    many = LISTED + 1
    names = tuple(map(str, range(many)))
    record = collected(np.zeros((4, many), np.float32), label, ones, names)
    assert not {"roc_auc", "precision"} & set(record)
    assert record["confusion"][0, 0] == 4


def test_predictions_are_probabilities():
    probability = Classification().predict(LOGITS)
    # A float32 softmax.
    np.testing.assert_allclose(probability, np.exp(log_softmax(LOGITS)), atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss_name": "focale"}, "did you mean 'focal'"),
        ({"loss_name": "dice"}, "losses: cross-entropy, focal"),
        ({"label_smoothing": 1.0}, "label_smoothing"),
        ({"focal_gamma": -1.0}, "focal_gamma"),
        ({"focal_gamma": math.nan}, "focal_gamma"),
        ({"class_weights": (1.0, -1.0)}, "at least 0"),
        ({"class_weights": (1.0, math.inf)}, "finite"),
        ({"class_weights": (1.0,), "class_names": ("a", "b")}, "1 numbers for 2"),
        ({"class_names": ["a"]}, "class_names"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        Classification(**settings)
