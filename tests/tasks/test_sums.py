import json
from typing import Any

import jax.numpy as jnp
import numpy as np

from jft.tasks import Classification, MultiLabel
from jft.tasks.sums import add, collect


def test_adding_keeps_the_total_that_was_given():
    total = {"loss": 1.5, "n": 2.0, "class": [1.0, 0.0]}
    sums = {
        "loss": jnp.float32(0.25),
        "n": jnp.float32(1),
        "class": jnp.arange(2, dtype=jnp.int32),
    }
    expected = {"loss": 1.75, "n": 3.0, "class": [1.0, 1.0]}
    assert add(total, sums) == expected
    assert total == {"loss": 1.5, "n": 2.0, "class": [1.0, 0.0]}
    assert add({}, sums) == {"loss": 0.25, "n": 1.0, "class": [0.0, 1.0]}


def test_adding_does_not_lose_an_example_where_float32_would():
    full = 2.0**24
    assert np.float32(full) + np.float32(1) == np.float32(full)
    assert add({"n": full}, {"n": jnp.float32(1)}) == {"n": full + 1}
    total = add({"pixels": [[full]]}, {"pixels": jnp.ones((1, 1), jnp.int32)})
    assert total == {"pixels": [[full + 1]]}


def test_a_total_goes_on_to_the_same_bits_after_json():
    rng = np.random.default_rng(0)
    batches = [
        {"n": jnp.float32(rng.normal()), "per": rng.normal(size=(2, 3))}
        for _ in range(9)
    ]
    whole: dict[str, Any] = {}
    resumed: dict[str, Any] = {}
    for batch in batches:
        whole = add(whole, batch)
        resumed = json.loads(json.dumps(add(resumed, batch)))
    assert whole == resumed
    # A sum of 9 in float64 by another order of additions.
    expected = sum(batch["per"] for batch in batches[::-1])
    np.testing.assert_allclose(whole["per"], expected, rtol=1e-12, atol=1e-14)


def test_a_summary_divides_by_the_weight_and_the_count_stays_a_whole_number():
    sums = {"loss": 3.0, "accuracy": 1.0, "n": 4.0, "top5": 4.0, "learning_rate": 0.5}
    sums |= {"class_n": [3.0, 0.0, 1.0], "class_right": [1.0, 0.0, 0.0], "weight": 4.0}
    summary = Classification().summarise(sums)
    assert summary == {
        **{"n": 4, "loss": 0.75, "accuracy": 0.25, "top5": 1.0},
        **{"learning_rate": 0.125, "balanced_accuracy": 1 / 6, "trivial": 0.75},
    }
    assert type(summary["n"]) is int


def test_rows_of_padding_are_left_out_and_the_others_kept_in_order():
    seen: list[dict[str, np.ndarray]] = []

    class Spy(MultiLabel):
        def summarise(self, total, rows=None):
            seen.append(rows)
            return dict(total)

    batches = [
        {
            "n": jnp.float32(2),
            "rows": {
                "logits": np.array([[a], [9], [b]]),
                "weight": np.array([1, 0, 2]),
            },
        }
        for a, b in ((1, 2), (3, 4))
    ]
    assert collect(Spy(), iter(batches)) == {"n": 4.0}
    np.testing.assert_array_equal(seen[0]["logits"], [[1], [2], [3], [4]])
    np.testing.assert_array_equal(seen[0]["weight"], [1, 2, 1, 2])


def test_without_rows_a_task_is_given_none():
    batch = {
        "n": 1.0,
        "loss": 2.0,
        "class_n": [1.0],
        "class_right": [1.0],
        "weight": 1.0,
    }
    record = collect(Classification(), [batch, batch])
    expected = {"n": 2, "loss": 2.0, "balanced_accuracy": 1.0, "trivial": 1.0}
    assert record == expected
