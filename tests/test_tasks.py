import jax
import numpy as np
import pytest

from jft.tasks import Classification

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
    grad = jax.grad(lambda logits: task.loss(logits, target).sum())(LOGITS)
    target = (1 - smoothing) * np.eye(7)[LABEL] + smoothing / 7
    expected = np.exp(log_softmax(LOGITS)) - target
    # Values in [-1, 1], rounded a few times to 6e-8.
    np.testing.assert_allclose(grad, expected, rtol=0, atol=1e-6)


def test_the_loss_that_is_summed_is_without_smoothing_or_padding():
    weight = (np.arange(16) < 11).astype(np.float32)
    plain = Classification().sums(LOGITS, LABEL, weight)
    smoothed = Classification(label_smoothing=0.3).sums(LOGITS, LABEL, weight)
    assert {k: float(v) for k, v in plain.items()} == {
        k: float(v) for k, v in smoothed.items()
    }
    # A sum of 11 losses of up to 20, in float32.
    expected = reference(0.0)[:11].sum()
    np.testing.assert_allclose(smoothed["loss"], expected, rtol=1e-6)
    assert abs(reference(0.3)[:11].sum() / expected - 1) > 1e-3
    right = LOGITS.argmax(axis=1)[:11] == LABEL[:11]
    assert (float(smoothed["accuracy"]), float(smoothed["n"])) == (right.sum(), 11)
