"""The sums of classification, row by row: ties, padding, what is not finite."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jft.tasks import Classification
from jft.tasks.classification import classification_sums
from jft.tasks.sums import collect

compiled_sums = jax.jit(classification_sums)

Rows = dict[str, np.ndarray]


def examples(n: int, classes: int, seed: int = 0) -> Rows:
    """Return random rows; few levels, so that many logits tie.

    Losses are eighths: their float32 sums are exact, in any order.
    """
    rng = np.random.default_rng(seed)
    return {
        "loss": (rng.integers(0, 40, n) / 8).astype(np.float32),
        "logits": rng.integers(0, 4, (n, classes)).astype(np.float32),
        "label": rng.integers(0, classes, n).astype(np.int32),
        "weight": np.ones(n, np.float32),
    }


def sums_of(rows: Rows) -> dict[str, Any]:
    sums = compiled_sums(*(rows[k] for k in ("loss", "logits", "label", "weight")))
    kinds = {name: value.dtype for name, value in sums.items()}
    assert kinds.pop("n") == jnp.int32
    assert set(kinds.values()) == {jnp.dtype("float32")}
    return {name: np.asarray(value).tolist() for name, value in sums.items()}


def reference(rows: Rows) -> dict[str, Any]:
    """Count row by row; a stable sort puts the earlier of two equal classes first."""
    classes = rows["logits"].shape[1]
    total: dict[str, Any] = {"loss": 0.0, "accuracy": 0.0, "top5": 0.0}
    total |= {
        "n": 0,
        "weight": 0.0,
        "class_n": [0.0] * classes,
        "class_right": [0.0] * classes,
    }
    for loss, logits, label, weight in zip(*rows.values(), strict=True):
        if weight == 0:
            continue
        order = np.argsort(-logits, kind="stable")
        total["loss"] += float(loss) * float(weight)
        total["accuracy"] += float(weight) * (order[0] == label)
        total["top5"] += float(weight) * (label in order[:5])
        total["n"] += 1
        total["weight"] += float(weight)
        total["class_n"][label] += float(weight)
        total["class_right"][label] += float(weight) * (order[0] == label)
    if classes <= 5:
        del total["top5"]
    return total


def padded(rows: Rows, size: int) -> Rows:
    """Fill up to `size` rows of weight 0 whose other values are garbage."""
    extra = size - len(rows["label"])
    garbage = {"loss": np.nan, "logits": np.nan, "label": 0, "weight": 0}
    return {
        name: np.concatenate(
            [rows[name], np.full((extra, *rows[name].shape[1:]), value)],
            dtype=rows[name].dtype,
        )
        for name, value in garbage.items()
    }


@pytest.mark.parametrize("classes", [2, 5, 6, 11])
def test_sums_equal_a_count_row_by_row_with_ties(classes: int):
    rows = examples(64, classes)
    expected = reference(rows)
    assert 0 < expected["accuracy"] < 64
    assert ("top5" in expected) == (classes > 5)
    assert sums_of(rows) == expected


def test_one_tied_class_is_right_not_both():
    logits = np.tile(np.float32([1, 3, 3, 0]), (4, 1))
    rows = examples(4, 4) | {"logits": logits, "label": np.arange(4, dtype=np.int32)}
    assert sums_of(rows)["accuracy"] == 1
    rows |= {"label": np.full(4, 1, np.int32)}
    assert sums_of(rows)["accuracy"] == 4


def test_constant_logits_are_right_only_for_the_first_classes():
    rows = examples(8, 8) | {
        "logits": np.zeros((8, 8), np.float32),
        "label": np.arange(8, dtype=np.int32),
    }
    sums = sums_of(rows)
    assert (sums["accuracy"], sums["top5"]) == (1, 5)


def test_weights_multiply_every_sum():
    rows = examples(32, 7) | {"weight": np.float32(np.arange(32) % 3) / 2}
    assert sums_of(rows) == reference(rows)


def test_padding_adds_nothing_even_if_its_loss_and_logits_are_nan():
    rows = examples(13, 7)
    assert sums_of(padded(rows, 16)) == sums_of(rows) == reference(rows)


def test_a_nan_loss_of_a_real_example_is_not_hidden():
    rows = examples(4, 7)
    rows["loss"][2] = np.nan
    assert np.isnan(sums_of(rows)["loss"])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [slice(None), slice(0, 1), slice(3, 4), slice(7, 8)])
@pytest.mark.parametrize("label", [0, 3, 7])
def test_logits_that_are_not_finite_are_never_right(value, where, label):
    rows = examples(4, 8) | {"label": np.full(4, label, np.int32)}
    rows["logits"][:] = 0
    rows["logits"][:, label] = 9
    assert sums_of(rows)["accuracy"] == sums_of(rows)["top5"] == 4
    rows["logits"][1, where] = value
    assert sums_of(rows)["accuracy"] == sums_of(rows)["top5"] == 3


@pytest.mark.parametrize(
    "cuts", [[], [1], [12], [3, 6, 9], [1, 2, 12], list(range(1, 13)), [8, 8]]
)
def test_any_split_into_batches_gives_the_same_result(cuts: list[int]):
    rows = examples(13, 7, seed=3)
    bounds = zip([0, *cuts], [*cuts, 13], strict=True)
    parts = [{k: v[low:high] for k, v in rows.items()} for low, high in bounds]
    # Padded to one shape, as the pipeline pads; an empty part is all padding.
    batches = [compiled_sums(**padded(part, 13)) for part in parts]
    expected = reference(rows)
    n, right = np.array(expected["class_n"]), np.array(expected["class_right"])
    task = Classification()
    assert collect(task, batches) == {
        "n": 13,
        "loss": expected["loss"] / 13,
        "accuracy": expected["accuracy"] / 13,
        "top5": expected["top5"] / 13,
        "balanced_accuracy": (right[n > 0] / n[n > 0]).mean(),
        "trivial": max(n) / 13,
    }
    backwards = collect(task, iter(batches[::-1]))
    assert backwards == collect(task, batches)
