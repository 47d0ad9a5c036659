from typing import Any

import jax
import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

from jft.errors import InputError
from jft.tasks import Regression
from jft.tasks.sums import add, collect

RNG = np.random.default_rng(0)
MEAN, STD = (1000.0, -0.5), (250.0, 0.01)
TASK = Regression(("weight", "angle"), MEAN, STD)
LABEL = RNG.normal(size=(20, 2)) * STD + MEAN
LABEL[4] = np.nan
LABEL[7, 0] = np.nan
LOGITS = RNG.normal(size=(20, 2)).astype(np.float32)
ONES = np.ones(20, np.float32)
EACH = {
    "mse": lambda d: d**2,
    "mae": abs,
    "huber": lambda d: np.where(abs(d) <= 1, d**2 / 2, abs(d) - 0.5),
}


def standard(label: np.ndarray) -> np.ndarray:
    return (label - MEAN) / STD


@pytest.mark.parametrize("name", Regression.losses)
def test_the_loss_is_the_mean_over_known_numbers_in_standard_deviations(name):
    task = Regression(("weight", "angle"), MEAN, STD, loss_name=name)
    target = task.target(task.encode(LABEL), 2)
    # Rounded once, to float32.
    np.testing.assert_allclose(target, standard(LABEL), rtol=6e-8)
    errors = EACH[name](LOGITS - standard(LABEL))
    errors[4] = 0
    loss, grad = jax.value_and_grad(lambda x: task.loss(x, target).sum())(LOGITS)
    expected = np.nanmean(errors, axis=1)
    np.testing.assert_allclose(
        task.loss(LOGITS, target), expected, rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(loss, expected.sum(), rtol=1e-4)
    np.testing.assert_array_equal(np.asarray(grad) != 0, ~np.isnan(LABEL))


@pytest.mark.parametrize("name", Regression.losses)
def test_loss_and_gradient_of_extreme_predictions_are_finite(name):
    task = Regression(("weight", "angle"), MEAN, STD, loss_name=name)
    target = task.target(task.encode(LABEL), 2)
    for value in (1e4, -1e4):
        logits = np.full_like(LOGITS, value)
        loss, grad = jax.jit(jax.value_and_grad(lambda x: task.loss(x, target).sum()))(
            logits
        )
        assert loss > 1e4
        assert np.isfinite(grad).all()


def record_of(logits, label, weight=ONES, task=TASK) -> dict[str, Any]:
    batches = []
    arrays = logits, task.encode(label), weight
    for x, y, w in zip(*(np.split(v, [7, 14]) for v in arrays), strict=True):
        rows = {**jax.jit(task.rows)(x, y), "weight": w}
        batches.append({**jax.jit(task.sums)(x, y, w), "rows": rows})
    return collect(task, batches)


def test_metrics_are_those_of_scikit_learn_in_the_units_of_the_data():
    record = record_of(LOGITS, LABEL)
    found = TASK.predict(LOGITS)
    np.testing.assert_array_equal(found, LOGITS * np.array(STD) + MEAN)
    for k, name in enumerate(TASK.class_names):
        known = ~np.isnan(LABEL[:, k])
        pair = LABEL[known, k], found[known, k]
        expected = {
            "each_mae": mean_absolute_error(*pair),
            "each_rmse": np.sqrt(mean_squared_error(*pair)),
            "each_r2": r2_score(*pair),
        }
        for metric, value in expected.items():
            assert record[metric][name] == pytest.approx(value, rel=1e-6)
    for metric in ("mae", "rmse", "r2"):
        mean = np.mean([*record[f"each_{metric}"].values()])
        assert record[metric] == pytest.approx(mean, rel=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("offset", [0.0, 3000.0, -1e6])
@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
def test_metrics_keep_their_digits_wherever_the_labels_lie(offset, scale, weighted):
    # The test labels lie `offset` standard deviations from the training ones.
    rng = np.random.default_rng(5)
    label = scale * (offset + rng.normal(size=(40, 1)))
    label[3] = np.nan
    task = Regression(("height",), (0.3 * scale,), (scale,))
    noise = 0.1 * rng.normal(size=(40, 1)).astype(np.float32)
    logits = task.encode(label) + noise
    logits[3] = 5
    weight = rng.choice([0, 0.5, 2, 3.25], 40).astype(np.float32)
    weight = weight if weighted else np.ones(40, np.float32)
    record = record_of(logits, label, weight, task)
    used = (weight > 0) & ~np.isnan(label[:, 0])
    pair = label[used, 0], task.predict(logits)[used, 0]
    counts = {"sample_weight": weight[used].astype(np.float64)}
    # float32 rounds what is standardised, up to `offset` deviations, by 6e-8 of it.
    expected = {
        "mae": mean_absolute_error(*pair, **counts),
        "rmse": np.sqrt(mean_squared_error(*pair, **counts)),
        "r2": r2_score(*pair, **counts),
    }
    for name, value in expected.items():
        assert record[name] == pytest.approx(value, rel=1e-6 + 1e-6 * abs(offset))
    if abs(offset) < 1e5:  # where float32 still separates the labels
        assert record["r2"] > 0.98


def test_in_training_there_are_the_errors_that_add_up():
    total: dict[str, Any] = {}
    for part in (slice(0, 9), slice(9, 20)):
        label = TASK.encode(LABEL[part])
        sums = jax.jit(TASK.sums)(LOGITS[part], label, ONES[part])
        total = add(total, sums)
    record = TASK.summarise(total)
    whole = record_of(LOGITS, LABEL)
    assert set(whole) - set(record) == {"r2", "each_r2", "trivial"}
    for name in ("mae", "rmse"):
        # float32 sums of standardised errors; the labels' rounding, as above.
        assert record[name] == pytest.approx(whole[name], rel=1e-4)


def test_one_output_is_not_listed_one_by_one():
    task = Regression(("height",), (0.0,), (1.0,))
    record = record_of(LOGITS[:, :1], LOGITS[:, 1:], task=task)
    assert set(record) == {"n", "loss", "mae", "rmse", "r2", "trivial"}


def test_the_trivial_predictor_is_the_mean():
    mean = np.tile(np.nanmean(LABEL, axis=0), (len(LABEL), 1))
    assert record_of((mean - TASK.mean) / TASK.std, LABEL)["r2"] == pytest.approx(
        record_of(LOGITS, LABEL)["trivial"],
        abs=1e-9,  # labels are float32, standardised
    )


def test_labels_of_one_value_have_an_r2_of_1_or_0_as_in_scikit_learn():
    task = Regression(("height",), (0.3,), (0.7,))
    label = np.full((20, 1), 5.3, np.float32)
    exact = Regression(("height",), (5.25,), (0.5,))
    assert record_of(0 * label + 1, 0 * label + 5.75, task=exact)["r2"] == 1
    assert record_of(0 * label + 2, 0 * label + 5.75, task=exact)["r2"] == 0
    weight = np.full(20, 0.3, np.float32)
    assert record_of(label, label, weight, task)["r2"] == 0
    label = label.round()  # which scikit-learn's own sums have no rounding of
    assert (r2_score(label, label), r2_score(label, label + 1)) == (1, 0)


def test_where_nothing_is_known_all_metrics_are_numbers():
    record = record_of(LOGITS, np.full_like(LABEL, np.nan))
    assert all(record[name] == 0 for name in ("loss", "mae", "rmse", "r2"))
    assert record["each_r2"] == {}


def test_a_prediction_that_is_not_a_number_shows_in_the_score():
    logits = LOGITS.copy()
    logits[3, 0] = np.nan
    record = record_of(logits, LABEL)
    assert np.isnan(record["r2"])
    assert np.isfinite(record["each_r2"]["angle"])


def test_padding_adds_nothing_and_a_weight_of_2_is_twice_the_example():
    weight = (np.arange(20) % 3).astype(np.float32)
    twice = np.repeat(np.arange(20), np.arange(20) % 3)
    logits = np.where(weight[:, None] > 0, LOGITS, np.float32(np.nan))
    weighted = record_of(logits, LABEL, weight)
    ones = np.ones(len(twice), np.float32)
    repeated = record_of(LOGITS[twice], LABEL[twice], ones)
    assert (weighted.pop("n"), repeated.pop("n")) == (13, 19)
    assert weighted.pop("weight") == 19
    for metric in ("each_mae", "each_rmse", "each_r2"):
        assert weighted.pop(metric) == pytest.approx(repeated.pop(metric), rel=1e-12)
    # The loss is summed in float32 in another order.
    assert weighted == pytest.approx(repeated, rel=1e-5)


def test_a_blend_of_labels_is_the_blend_of_their_targets():
    mixed = 0.25 * LABEL + 0.75 * LABEL[::-1]
    target = TASK.target(LABEL, 2)
    blend = 0.25 * target + 0.75 * target[::-1]
    # -0.5 / 0.01 in float32, as above.
    np.testing.assert_allclose(TASK.target(mixed, 2), blend, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"std": (1.0, 0.0)}, "above 0"),
        ({"std": (1.0,)}, "1 numbers for 2"),
        ({"mean": (np.nan, 0.0)}, "finite"),
        ({"loss_name": "focal"}, "losses: mse, mae, huber"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    valid = {"class_names": ("a", "b"), "mean": MEAN, "std": STD}
    with pytest.raises(InputError, match=message):
        Regression(**(valid | settings))


@pytest.mark.parametrize(
    ("mean", "spread"), [(5.4e6, 1.0), (1.7e9, 1800.0)], ids=["5.4e6 ± 1", "an hour"]
)
def test_numbers_far_from_zero_keep_their_digits(mean: float, spread: float):
    rng = np.random.default_rng(3)
    label = mean + spread * rng.normal(size=(64, 1))
    assert len(np.unique(label.astype(np.float32))) < 40  # what float32 makes of them
    moments = (float(label.mean()),), (float(label.std()),)
    task = Regression(("height",), *moments)
    assert len(np.unique(task.encode(label))) == 64
    # The mean is the trivial prediction: its errors are known in closed form.
    logits = np.zeros((64, 1), np.float32)
    record = record_of(logits, label, np.ones(64, np.float32), task)
    found = task.predict(logits)
    assert found.dtype == np.float64
    # Labels rounded once to float32 when standardised.
    assert record["mae"] == pytest.approx(mean_absolute_error(label, found), rel=1e-6)
    assert record["rmse"] == pytest.approx(label.std(), rel=1e-6)
    assert record["r2"] == pytest.approx(0, abs=1e-6)


def test_a_head_is_converted_to_another_standardisation_without_a_change():
    rng = np.random.default_rng(4)
    features = rng.normal(size=(30, 6))
    kernel, bias = (rng.normal(size=s).astype(np.float32) for s in ((6, 2), (2,)))
    new = Regression(TASK.class_names, (700.0, 3.0), (20.0, 4.0))
    for before in (TASK, None):
        outputs = features @ kernel + bias
        numbers = outputs * before.std + before.mean if before else outputs
        converted = new.converted_head(kernel, bias, before)
        assert [x.dtype for x in converted] == [np.float32] * 2
        found = (features @ converted[0] + converted[1]) * new.std + new.mean
        # Kernel and bias are rounded to float32: 6e-8 of outputs up to 50, in new.std.
        np.testing.assert_allclose(found, numbers, rtol=0, atol=50 * 1e-6 * 20)
