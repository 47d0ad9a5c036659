from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, f1_score, jaccard_score

from jft.errors import InputError
from jft.tasks import Segmentation
from jft.tasks.sums import collect
from jft.types import VOID

RNG = np.random.default_rng(0)
K, SHAPE = 4, (5, 6, 7)
LOGITS = RNG.normal(size=(*SHAPE, K), scale=3).astype(np.float32)
LABEL = RNG.choice([0, 1, 2, 2, VOID], SHAPE).astype(np.uint8)  # never class 3
LABEL[1] = VOID  # nothing of this image counts
LABEL[2] = 0
ONES = np.ones(5, np.float32)
NAMES = ("road", "sky", "tree", "sign")
# float32 against float64: means of 42 pixels of values up to 20.
TOLERANCE = {"rtol": 2e-6, "atol": 1e-6}


def softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def pixel_losses(image: int, weights, gamma: float, smoothing: float) -> list[float]:
    """Return the loss of each pixel that counts, one by one."""
    found = []
    probability = softmax(LOGITS[image]).reshape(-1, K)
    for p, label in zip(probability, LABEL[image].ravel(), strict=True):
        if label == VOID:
            continue
        target = np.eye(K)[label] * (1 - smoothing) + smoothing / K
        found.append(-(weights * target * (1 - p) ** gamma * np.log(p)).sum())
    return found


def dice(image: int, weights) -> float:
    counts = LABEL[image] != VOID
    probability, label = softmax(LOGITS[image])[counts], LABEL[image][counts]
    parts, weighted = [], []
    for k in set(label.tolist()):
        common = probability[label == k, k].sum()
        parts.append(1 - 2 * common / (probability[:, k].sum() + (label == k).sum()))
        weighted.append(weights[k])
    return float(np.average(parts, weights=weighted)) if parts else 0.0


@pytest.mark.parametrize("name", Segmentation.losses)
@pytest.mark.parametrize("weights", [None, (1.0, 0.5, 3.0, 0.0)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_each_loss_follows_its_formula_and_leaves_void_out(name, weights, smoothing):
    task = Segmentation(
        loss_name=name,
        class_weights=weights,
        label_smoothing=smoothing,
        focal_gamma=1.5,
    )
    w = np.array(weights or np.ones(K))
    gamma = 1.5 if name == "focal" else 0.0
    expected = np.zeros(5)
    for image in range(5):
        if name != "dice":
            each = pixel_losses(image, w, gamma, smoothing)
            expected[image] += np.mean(each) if each else 0.0
        if "dice" in name:
            expected[image] += dice(image, w)
    loss = jax.jit(task.loss)(LOGITS, task.target(LABEL, K))
    assert loss.dtype == jnp.float32
    assert loss[1] == 0
    np.testing.assert_allclose(loss, expected, **TOLERANCE)
    # What is summed is the same without smoothing.
    if not smoothing:
        weight = np.float32([1, 1, 2, 0, 1])
        sums = jax.jit(task.sums)(LOGITS, LABEL, weight)
        np.testing.assert_allclose(sums["loss"], expected @ weight, rtol=2e-6)
        smoothed = Segmentation(
            loss_name=name, class_weights=weights, label_smoothing=0.2, focal_gamma=1.5
        )
        again = jax.jit(smoothed.sums)(LOGITS, LABEL, weight)
        np.testing.assert_array_equal(again["loss"], sums["loss"])


@pytest.mark.parametrize("name", Segmentation.losses)
def test_void_pixels_have_no_gradient(name):
    task = Segmentation(loss_name=name, label_smoothing=0.1)
    target = task.target(LABEL, K)
    grad = jax.jit(jax.grad(lambda x: task.loss(x, target).sum()))(LOGITS)
    moved = np.abs(grad).max(axis=-1)
    assert moved[LABEL == VOID].max() == 0
    if name == "dice":  # all of image 2 is one class: only that one counts
        moved = np.delete(moved, 2, axis=0)
        assert moved[np.delete(LABEL, 2, axis=0) != VOID].min() > 0
    else:
        assert moved[LABEL != VOID].min() > 0


@pytest.mark.parametrize("name", Segmentation.losses)
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("value", [1e4, -1e4])
def test_loss_and_gradient_of_extreme_logits_are_finite(name, gamma, value):
    task = Segmentation(loss_name=name, focal_gamma=gamma)
    logits = np.zeros((*SHAPE, K), np.float32)
    logits[..., 0] = value
    target = task.target(LABEL, K)
    loss, grad = jax.jit(jax.value_and_grad(lambda x: task.loss(x, target).sum()))(
        logits
    )
    assert np.isfinite(loss)
    assert loss > 0
    assert np.isfinite(grad).all()


@pytest.mark.parametrize("name", Segmentation.losses)
def test_with_class_weights_of_0_alone_the_loss_is_0(name):
    task = Segmentation(loss_name=name, class_weights=(0.0,) * K)
    target = task.target(LABEL, K)
    gradient = jax.jit(jax.value_and_grad(lambda x: task.loss(x, target).sum()))
    loss, grad = gradient(LOGITS)
    assert (float(loss), float(np.abs(grad).max())) == (0, 0)


@pytest.mark.parametrize("name", Segmentation.losses)
def test_a_single_class_costs_nothing_and_is_always_right(name):
    label = np.zeros((2, 3, 3), np.uint8)
    task = Segmentation(loss_name=name)
    logits = RNG.normal(size=(2, 3, 3, 1)).astype(np.float32)
    loss = jax.jit(task.loss)(logits, task.target(label, 1))
    np.testing.assert_array_equal(loss, [0, 0])
    sums = jax.jit(task.sums)(logits, label, ONES[:2])
    record = collect(task, [sums])
    assert (record["mIoU"], record["pixel_accuracy"]) == (1, 1)


def record_of(logits, label, weight=ONES, names=NAMES) -> dict[str, Any]:
    task = Segmentation(class_names=names)
    cut = len(label) // 2
    parts = [slice(0, cut), slice(cut, None)]
    batches = [jax.jit(task.sums)(logits[p], label[p], weight[p]) for p in parts]
    assert all(batch["confusion"].dtype == jnp.int32 for batch in batches)
    return collect(task, batches)


def test_metrics_are_those_of_scikit_learn_over_all_pixels_that_count():
    logits = LOGITS.copy()
    logits[..., 3] -= np.float32(100)  # neither there nor predicted
    record = record_of(logits, LABEL)
    counts = LABEL != VOID
    truth, called = LABEL[counts], logits.argmax(axis=-1)[counts]
    assert set(called) == set(truth) == {0, 1, 2}
    iou = dict(zip(NAMES, jaccard_score(truth, called, average=None), strict=False))
    f1 = dict(zip(NAMES, f1_score(truth, called, average=None), strict=False))
    # Quotients of counts, in float64 on both sides.
    assert record["IoU"] == pytest.approx(iou, rel=1e-12)
    assert record["F1"] == pytest.approx(f1, rel=1e-12)
    assert record["mIoU"] == pytest.approx(np.mean([*iou.values()]), rel=1e-12)
    accuracy = (truth == called).mean()
    assert record["pixel_accuracy"] == pytest.approx(accuracy, rel=1e-12)
    assert record["n"] == 5


def test_a_class_that_is_only_predicted_counts_as_0_in_the_mean():
    record = record_of(LOGITS, LABEL)
    assert record["IoU"]["sign"] == 0
    assert record["mIoU"] == pytest.approx(np.mean([*record["IoU"].values()]))
    assert len(record["IoU"]) == 4
    nameless = record_of(LOGITS, LABEL, names=())
    assert "IoU" not in nameless
    assert nameless["mIoU"] == record["mIoU"]


def test_the_confusion_counts_true_by_predicted_of_images_with_weight():
    weight = np.array([1, 1, 0, 1, 0], np.float32)
    sums = jax.jit(Segmentation().sums)(LOGITS, LABEL, weight)
    counts = np.not_equal(LABEL, VOID) & (weight > 0)[:, None, None]
    expected = confusion_matrix(
        LABEL[counts], LOGITS.argmax(axis=-1)[counts], labels=range(K)
    )
    np.testing.assert_array_equal(sums["confusion"][:, :K], expected)
    np.testing.assert_array_equal(sums["confusion"][:, K], 0)
    assert (sums["n"], sums["weight"]) == (3, 3)


def test_padding_adds_nothing_even_if_its_logits_are_nan():
    padded = np.concatenate([LOGITS, np.full_like(LOGITS[:2], np.nan)])
    label = np.concatenate([LABEL, np.zeros_like(LABEL[:2])])
    weight = np.float32([1, 1, 1, 1, 1, 0, 0])
    for name in Segmentation.losses:
        task = Segmentation(loss_name=name)
        sums = jax.jit(task.sums)(padded, label, weight)
        for key, value in jax.jit(task.sums)(LOGITS, LABEL, ONES).items():
            np.testing.assert_array_equal(sums[key], value)


def test_counts_above_2_to_the_24_lose_no_pixel():
    # One pixel more than float32 can count.
    label = np.zeros((1, 1, 2**24 + 1), np.uint8)
    logits = np.zeros((1, 1, 2**24 + 1, 1), np.float32)
    sums = jax.jit(Segmentation().sums)(logits, label, ONES[:1])
    assert int(sums["confusion"][0, 0]) == 2**24 + 1


def test_pixels_whose_logits_are_not_finite_are_never_right():
    record = record_of(np.full_like(LOGITS, np.nan), LABEL)
    assert (record["pixel_accuracy"], record["mIoU"]) == (0, 0)
    logits = LOGITS.copy()
    logits[0, :, :, 2] = np.inf
    counts = np.not_equal(LABEL, VOID)
    right = np.equal(LOGITS[1:].argmax(axis=-1), LABEL[1:])[counts[1:]].sum()
    record = record_of(logits, LABEL)
    assert record["pixel_accuracy"] == pytest.approx(right / counts.sum(), rel=1e-12)


def test_where_no_pixel_counts_all_metrics_are_numbers():
    record = record_of(LOGITS, np.full_like(LABEL, VOID))
    expected = {"n": 5, "loss": 0, "mIoU": 0, "pixel_accuracy": 0, "IoU": {}, "F1": {}}
    assert record == {**expected, "trivial": 0}


def test_the_trivial_predictor_gives_every_pixel_the_most_frequent_class():
    scores = [
        record_of(np.broadcast_to(one, LOGITS.shape), LABEL)["mIoU"]
        for one in np.eye(len(NAMES), dtype=np.float32)
    ]
    assert len(set(scores)) > 2
    assert record_of(LOGITS, LABEL)["trivial"] == pytest.approx(max(scores), rel=1e-12)


def test_predictions_are_probabilities_of_each_pixel():
    # A float32 softmax.
    found = Segmentation().predict(LOGITS)
    np.testing.assert_allclose(found, softmax(LOGITS), atol=1e-6)


def test_a_loss_of_numbers_is_refused():
    with pytest.raises(InputError, match="dice, focal, cross-entropy\\+dice"):
        Segmentation(loss_name="mse")
