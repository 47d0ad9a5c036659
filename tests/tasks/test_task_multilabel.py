from typing import Any

import jax
import numpy as np
import pytest
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    precision_recall_fscore_support,
    roc_auc_score,
)

from jft.errors import InputError
from jft.tasks import MultiLabel
from jft.tasks.ranking import average_precision, roc_auc
from jft.tasks.sums import add, collect

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(12, 4), scale=3).astype(np.float32)
LABEL = RNG.integers(-1, 2, (12, 4)).astype(np.int32)
LABEL[3] = -1  # an example of which nothing is known
ONES = np.ones(12, np.float32)
NAMES = ("a", "b", "c", "d")
# float32 against float64: a handful of roundings of values of up to 20, each 6e-8.
TOLERANCE = {"rtol": 2e-6, "atol": 1e-6}


def reference(
    logits: np.ndarray,
    target: np.ndarray,
    gamma: float = 0.0,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """Return the mean over known labels, one example and label at a time."""
    losses = np.zeros(len(logits))
    for i, (row, truths) in enumerate(zip(logits, target, strict=True)):
        each = []
        for k, (x, t) in enumerate(zip(row, truths, strict=True)):
            if np.isnan(t):
                continue
            yes, no = np.logaddexp(0, -float(x)), np.logaddexp(0, float(x))
            p, w = np.exp(-yes), 1.0 if weights is None else weights[k]
            each.append(w * t * (1 - p) ** gamma * yes + (1 - t) * p**gamma * no)
        losses[i] = np.mean(each) if each else 0.0
    return losses


@pytest.mark.parametrize("gamma", [None, 0.0, 0.5, 2.0])
@pytest.mark.parametrize("weights", [None, (0.0, 0.5, 1.0, 3.0)])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_the_mean_over_known_labels(gamma, weights, smoothing):
    task = MultiLabel(
        label_smoothing=smoothing,
        loss_name="cross-entropy" if gamma is None else "focal",
        focal_gamma=gamma or 0.0,
        class_weights=weights,
    )
    truth = np.where(LABEL < 0, np.nan, LABEL * (1 - smoothing) + smoothing / 2)
    target = task.target(LABEL, 4)
    np.testing.assert_allclose(target, truth, rtol=1e-6)
    loss = task.loss(LOGITS, target)
    assert loss[3] == 0
    expected = reference(LOGITS, truth, gamma or 0.0, weights)
    np.testing.assert_allclose(loss, expected, **TOLERANCE)


def test_a_blend_of_labels_costs_the_same_blend_of_losses():
    task, lam = MultiLabel(loss_name="focal"), np.float32(0.3)
    first, second = LABEL.clip(0), LABEL[::-1].clip(0)
    ends = [task.target(label, 4) for label in (first, second)]
    mixed = task.loss(LOGITS, lam * ends[0] + (1 - lam) * ends[1])
    expected = lam * task.loss(LOGITS, ends[0])
    expected += (1 - lam) * task.loss(LOGITS, ends[1])
    np.testing.assert_allclose(mixed, expected, **TOLERANCE)


def test_a_blend_with_an_unknown_label_is_unknown():
    task = MultiLabel()
    target = task.target(LABEL, 4)
    mixed = 0.5 * target + 0.5 * target[::-1]
    known = (LABEL >= 0) & (LABEL[::-1] >= 0)
    np.testing.assert_array_equal(np.isnan(mixed), ~known)
    loss, grad = jax.value_and_grad(lambda x: task.loss(x, mixed).sum())(LOGITS)
    assert np.isfinite(loss)
    np.testing.assert_array_equal(np.asarray(grad) != 0, known)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("value", [1e4, -1e4])
def test_loss_and_gradient_of_extreme_logits_are_finite(gamma, value):
    task = MultiLabel(loss_name="focal", focal_gamma=gamma)
    logits = np.full((12, 4), value, np.float32)
    target = task.target(LABEL, 4)
    loss, grad = jax.jit(jax.value_and_grad(lambda x: task.loss(x, target).sum()))(
        logits
    )
    assert np.isfinite(grad).all()
    opposite = 0 if value > 0 else 1
    wrong = (opposite == LABEL).sum(axis=1)
    known = (LABEL >= 0).sum(axis=1)
    # What is wrong costs 1e4, what is right nothing.
    expected = (1e4 * wrong / np.maximum(known, 1)).sum()
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


@pytest.mark.parametrize("levels", [3, 10**6])
@pytest.mark.parametrize("weighted", [False, True])
def test_average_precision_is_that_of_scikit_learn_with_ties(levels, weighted):
    rng = np.random.default_rng(levels)
    for n in (1, 2, 7, 200):
        score = (rng.integers(0, levels, n) - levels / 2).astype(np.float32)
        positive = rng.random(n) < 0.3
        positive[0] = True
        weight = rng.integers(1, 4, n) / 2 if weighted else np.ones(n)
        expected = average_precision_score(positive, score, sample_weight=weight)
        # Both in float64, by the same sums in another order.
        found = average_precision(score, positive, weight)
        assert found == pytest.approx(expected, rel=1e-12)


def test_average_precision_without_a_positive_or_with_nan_is_0():
    score, ones = np.array([1, 2, 3], np.float32), np.ones(3)
    assert average_precision(score, np.zeros(3, bool), ones) == 0
    assert average_precision(score, np.ones(3, bool), ones) == 1
    score[1] = np.nan
    assert average_precision(score, np.ones(3, bool), ones) == 0


@pytest.mark.parametrize("levels", [3, 10**6])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_area_under_the_roc_curve_is_that_of_scikit_learn(levels, weighted):
    rng = np.random.default_rng(levels)
    for n in (2, 3, 7, 200):
        score = (rng.integers(0, levels, n) - levels / 2).astype(np.float32)
        positive = rng.random(n) < 0.3
        positive[:2] = True, False
        weight = rng.integers(1, 4, n) / 2 if weighted else np.ones(n)
        expected = roc_auc_score(positive, score, sample_weight=weight)
        # Both in float64, by the same sums in another order.
        assert roc_auc(score, positive, weight) == pytest.approx(expected, abs=1e-12)


def evaluate(logits, label, weight, cuts=(5, 9)) -> dict[str, Any]:
    """Return the metrics of three padded batches, as an evaluation collects them."""
    task = MultiLabel(class_names=NAMES)
    batches = []
    for x, y, w in zip(
        *(np.split(v, cuts) for v in (logits, label, weight)), strict=True
    ):
        pad = ((0, 8 - len(x)), (0, 0))
        x, y = np.pad(x, pad, constant_values=np.nan), np.pad(y, pad)
        w = np.pad(w, pad[0])
        batches.append(
            {**jax.jit(task.sums)(x, y, w), "rows": {**task.rows(x, y), "weight": w}}
        )
    return collect(task, batches)


def test_metrics_over_padded_batches_equal_those_of_the_known_labels():
    label = LABEL.copy()
    label[:, 2] = np.minimum(label[:, 2], 0)  # never there, so left out of the mean
    record = evaluate(LOGITS, label, ONES)
    known = label >= 0
    expected = {
        name: average_precision_score(label[known[:, k], k], LOGITS[known[:, k], k])
        for k, name in enumerate(NAMES)
        if name != "c"
    }
    assert record["AP"] == pytest.approx(expected, rel=1e-12)
    assert record["mAP"] == pytest.approx(np.mean([*expected.values()]), rel=1e-12)
    truth, called = label[known], LOGITS[known] > 0
    assert record["accuracy"] == pytest.approx((truth == called).mean(), rel=1e-12)
    assert record["f1"] == pytest.approx(f1_score(truth, called), rel=1e-12)
    loss = reference(LOGITS, np.where(known, label, np.nan)).mean()
    assert record["loss"] == pytest.approx(loss, rel=1e-6)  # summed in float32
    assert record["n"] == 12


PER_LABEL = ("precision", "recall", "F1", "support")


def test_precision_recall_and_f1_of_each_label_are_those_of_scikit_learn():
    weight: Any = np.float32(np.arange(12) % 3)
    record = evaluate(LOGITS, LABEL, weight)
    for k, name in enumerate(NAMES):
        known = LABEL[:, k] >= 0
        *scores, _ = precision_recall_fscore_support(
            LABEL[known, k],
            LOGITS[known, k] > 0,
            average="binary",
            sample_weight=weight[known],
            zero_division=0,
        )
        support = weight[LABEL[:, k] == 1].sum()
        found = [record[metric][name] for metric in PER_LABEL]
        # Both divide the same sums of whole numbers, in float64.
        assert found == pytest.approx([*scores, support], rel=1e-12)


def test_a_weight_of_2_is_as_twice_the_example():
    weight: Any = np.float32(np.arange(12) % 3)
    twice = np.repeat(np.arange(12), np.arange(12) % 3)
    weighted = evaluate(LOGITS, LABEL, weight)
    repeated = evaluate(LOGITS[twice], LABEL[twice], np.ones(len(twice), np.float32))
    for metric in ("AP", *PER_LABEL):
        assert weighted.pop(metric) == pytest.approx(repeated.pop(metric), rel=1e-12)
    # The loss is summed in float32.
    assert (weighted.pop("n"), repeated.pop("n")) == (8, 12)
    assert weighted.pop("weight") == 12
    assert weighted == pytest.approx(repeated, rel=1e-6)


def test_logits_that_are_not_finite_are_never_right():
    label = np.ones((12, 4), np.int32)
    record = evaluate(np.full_like(LOGITS, np.inf), label, ONES)
    assert (record["accuracy"], record["f1"]) == (0, 0)
    record = evaluate(np.full_like(LOGITS, np.nan), label, ONES)
    assert (record["accuracy"], record["f1"], record["mAP"]) == (0, 0, 0)
    record = evaluate(np.full_like(LOGITS, np.nan), 0 * label, ONES)
    assert record["accuracy"] == 0


def test_where_nothing_is_there_all_metrics_are_numbers():
    for value in (0, -1):
        record = evaluate(-np.abs(LOGITS), np.full_like(LABEL, value), ONES)
        assert (record["mAP"], record["f1"], record["AP"]) == (0, 0, {})
        assert record["accuracy"] == value + 1


def test_the_trivial_predictor_gives_all_images_the_same_scores():
    weight = (np.arange(12) % 3).astype(np.float32)
    constant = evaluate(np.ones_like(LOGITS), LABEL, weight)
    record = evaluate(LOGITS, LABEL, weight)
    counts = (LABEL >= 0) * weight[:, None].astype(np.float64)
    expected = ((LABEL == 1) * counts).sum(axis=0) / counts.sum(axis=0)
    assert 0 < expected.min() < expected.max() < 1
    for value in (record["trivial"], constant["mAP"]):
        assert value == pytest.approx(expected.mean(), rel=1e-12)


def test_in_training_there_are_the_metrics_that_add_up():
    task = MultiLabel(class_names=NAMES)
    total = add({}, jax.jit(task.sums)(LOGITS, LABEL, ONES))
    record = task.summarise(total | {"learning_rate": 6.0})
    assert set(record) == {"n", "loss", "accuracy", "f1", "learning_rate"}
    assert record["learning_rate"] == 0.5


def test_predictions_are_the_probabilities_of_each_label():
    expected = 1 / (1 + np.exp(-LOGITS.astype(np.float64)))
    # A float32 sigmoid.
    np.testing.assert_allclose(MultiLabel().predict(LOGITS), expected, rtol=1e-6)


def test_a_loss_of_masks_is_refused():
    with pytest.raises(InputError, match="losses: cross-entropy, focal"):
        MultiLabel(loss_name="dice")
