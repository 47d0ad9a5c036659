from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from jft.data.pipeline import Batches, Subset, read
from jft.errors import InputError
from jft.types import HELD_OUT, VOID


@dataclass(frozen=True)
class Numbered:
    """Example i is an image of noise that only i has, and the label i % 7."""

    n: int

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        if not 0 <= index < self.n:
            raise IndexError(index)
        rng = np.random.default_rng(index)
        return rng.integers(0, 256, (2, 2, 3), dtype=np.uint8), index % 7

    def weight(self, index: int) -> float:
        return 1.0 + index % 2 / 2

    def class_indices(self) -> np.ndarray:
        return np.arange(self.n) % 7


@dataclass(frozen=True, eq=False)
class Skewed(Numbered):
    """Classes of given sizes, one after the other."""

    sizes: tuple[int, ...] = ()

    def class_indices(self) -> np.ndarray:
        return np.repeat(np.arange(len(self.sizes)), self.sizes)


@dataclass(frozen=True, eq=False)
class Labelled(Numbered):
    """Labels of any form."""

    labels: Any = None

    def __getitem__(self, index: int) -> tuple[np.ndarray, Any]:
        return super().__getitem__(index)[0], self.labels[index]


RECORDED_BALANCED = [7, 27, 3, 18, 8, 17, 1, 4, 0]
RECORDED = [[5, 8, 9, 7, 4, 2, 1, 0, 3, 6], [1, 2, 4, 5, 9, 7, 8, 6, 0, 3]]


def epoch_ids(batches: Batches, epoch: int) -> list[int]:
    """Return the real examples of one epoch's batches, in order."""
    steps = batches.steps_per_epoch
    parts = [batches[i] for i in range(epoch * steps, (epoch + 1) * steps)]
    return [int(i) for p in parts for i in p["id"][p["weight"] > 0]]


def assert_equal(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> None:
    assert left.keys() == right.keys()
    for name, value in left.items():
        assert value.dtype == right[name].dtype
        assert np.array_equal(value, right[name])


@pytest.mark.parametrize(("n", "size"), [(10, 4), (12, 4), (7, 7), (3, 8), (5, 1)])
@pytest.mark.parametrize("seed", [None, 0])
def test_each_epoch_sees_every_example_once(n: int, size: int, seed: int | None):
    batches = Batches(Numbered(n), size, seed=seed, epochs=3)
    assert len(batches) == 3 * batches.steps_per_epoch == 3 * -(-n // size)
    for epoch in range(3):
        assert sorted(epoch_ids(batches, epoch)) == list(range(n))


@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize(
    ("n", "size", "real"), [(10, 4, 2), (12, 4, 4), (3, 8, 3)], ids=str
)
def test_a_batch_holds_its_examples_and_then_padding(n, size, real, seed):
    source = Numbered(n)
    batches = Batches(source, size, seed=seed, epochs=2)
    for index in range(len(batches)):
        batch = batches[index]
        last = (index + 1) % batches.steps_per_epoch == 0
        count = real if last else size
        ids = batches.ids(index)
        assert len(ids) == count
        expected = {
            "image": np.zeros((size, 2, 2, 3), np.uint8),
            "label": np.zeros(size, np.int32),
            "weight": np.zeros(size, np.float32),
            "id": np.zeros(size, np.int32),
        }
        for place, example in enumerate(ids):
            image, label = source[example]
            expected["image"][place] = image
            expected["label"][place] = label
            expected["weight"][place] = [1, 1.5][example % 2]
            expected["id"][place] = example
        assert_equal(batch, expected)


def test_evaluation_keeps_the_order_of_the_source_in_every_epoch():
    batches = Batches(Numbered(10), 4, epochs=2)
    for epoch in range(2):
        assert epoch_ids(batches, epoch) == list(range(10))


def test_a_batch_larger_than_the_source_is_the_source_and_padding():
    batches = Batches(Numbered(3), 8)
    assert len(batches) == 1
    assert batches[0]["weight"].tolist() == [1, 1.5, 1, 0, 0, 0, 0, 0]
    assert batches[0]["id"].tolist() == [0, 1, 2, 0, 0, 0, 0, 0]


def test_the_order_is_a_function_of_seed_and_epoch_alone():
    order = epoch_ids(Batches(Numbered(40), 8, seed=5, epochs=4), 2)
    # Neither the batch size, the length of the run nor what was read before counts.
    assert epoch_ids(Batches(Numbered(40), 3, seed=5, epochs=3), 2) == order
    again = Batches(Numbered(40), 40, seed=5, epochs=9)
    assert epoch_ids(again, 7) != order
    assert epoch_ids(again, 2) == order


def test_every_epoch_and_seed_has_its_own_order():
    orders = {
        tuple(epoch_ids(Batches(Numbered(40), 40, seed=seed, epochs=5), epoch))
        for seed in [0, 1, 2, 2**32 - 1]
        for epoch in range(5)
    }
    assert len(orders) == 4 * 5
    assert tuple(range(40)) not in orders


def test_the_order_of_a_seed_does_not_change_between_versions():
    # Recorded with grain 0.2.18: were a later one to shuffle differently, a run could
    # be neither resumed nor repeated.
    assert epoch_ids(Batches(Numbered(10), 4, seed=0, epochs=2), 0) == RECORDED[0]
    assert epoch_ids(Batches(Numbered(10), 4, seed=0, epochs=2), 1) == RECORDED[1]


def test_every_example_comes_early_and_late_equally_often():
    n, epochs = 64, 40
    batches = Batches(Numbered(n), n // 4, seed=1, epochs=epochs)
    counts = np.zeros((n, 4))
    for index in range(len(batches)):
        counts[batches.ids(index), index % 4] += 1
    # Each of 256 counts is binomial over 40 epochs with p = 1/4: together a chi-square
    # of mean 256 * 3/4 = 192, deviation 20; five deviations, and the seed is fixed.
    assert np.sum((counts - 10) ** 2 / 10) < 192 + 5 * 20


@pytest.mark.parametrize("start", [0, 1, 4, 8, 9])
def test_reading_may_start_at_any_batch(start: int):
    batches = Batches(Numbered(10), 4, seed=0, epochs=3)
    found = list(read(batches, start=start))
    assert len(found) == 9 - start
    for index, batch in enumerate(found, start=start):
        assert_equal(batch, batches[index])


# One test only: each process takes a second to start.
@pytest.mark.process
@pytest.mark.thorough
def test_any_number_of_workers_reads_the_same_batches():
    batches = Batches(skewed(5, 2, 3), 4, seed=0, epochs=7, sampling="balanced")
    for workers in [0, 1, 3]:
        found = list(read(batches, start=4, workers=workers))
        assert len(found) == 17
        for index, batch in enumerate(found, start=4):
            assert_equal(batch, batches[index])


@pytest.mark.parametrize("threads", [2, 3, 16])
def test_any_number_of_threads_puts_the_same_batch_together(threads: int):
    batches = Batches(Numbered(21), 5, seed=0)
    for index in range(5):
        assert_equal(batches.read(index, threads), batches[index])


@pytest.mark.parametrize(
    ("labels", "padding"),
    [
        (np.arange(6, dtype=np.int32), np.int32(0)),
        (np.arange(18, dtype=np.int32).reshape(6, 3) - 1, np.int32(0)),
        (np.linspace(-1, 1, 12, dtype=np.float32).reshape(6, 2), np.float32(0)),
        (np.arange(24, dtype=np.uint8).reshape(6, 2, 2), np.uint8(VOID)),
    ],
    ids=["classes", "several labels", "numbers", "masks"],
)
def test_labels_travel_as_they_are(labels: np.ndarray, padding: np.generic):
    batches = Batches(Labelled(6, labels=labels), 4)
    filling = np.full((2, *labels.shape[1:]), padding)
    expected = [labels[:4], np.concatenate([labels[4:], filling])]
    for index, label in enumerate(expected):
        found = batches[index]["label"]
        assert found.dtype == label.dtype == padding.dtype
        np.testing.assert_array_equal(found, label)


def test_an_empty_batch_has_the_shapes_of_the_others_and_no_weight():
    batches = Batches(Labelled(3, labels=np.zeros((3, 2, 2), np.uint8)), 4)
    empty, full = batches.empty(), batches[0]
    assert {k: (v.shape, v.dtype) for k, v in empty.items()} == {
        k: (v.shape, v.dtype) for k, v in full.items()
    }
    assert not empty["weight"].any()
    assert (empty["label"] == VOID).all()


def test_a_subset_has_every_tenth_example_and_its_weight():
    subset = Subset(Numbered(42), 5)
    assert len(subset) == 9
    for i in range(9):
        np.testing.assert_array_equal(subset[i][0], Numbered(42)[5 * i][0])
        assert subset[i][1] == 5 * i % 7
        assert subset.weight(i) == [1, 1.5][i % 2]
    assert subset.class_indices().tolist() == [5 * i % 7 for i in range(9)]


def skewed(*sizes: int) -> Skewed:
    return Skewed(sum(sizes), sizes=sizes)


def balanced(source: Skewed, epochs: int = 3, size: int = 8, seed: int = 0) -> Batches:
    return Batches(source, size, seed=seed, epochs=epochs, sampling="balanced")


@pytest.mark.parametrize(
    "sizes", [(90, 9, 1), (5, 5, 5), (17, 3), (1, 1, 1, 40), (100, 50, 7, 30)], ids=str
)
def test_balanced_epochs_show_every_class_as_often(sizes: tuple[int, ...]):
    source = skewed(*sizes)
    n, places = len(source), source.class_indices()
    batches = balanced(source)
    for epoch in range(3):
        ids = epoch_ids(batches, epoch)
        assert len(ids) == len(set(ids)) == n
        stride = -(-n // 10) * 10
        examples = [i % stride for i in ids]
        shown = Counter(int(places[e]) for e in examples)
        assert max(shown.values()) - min(shown.values()) <= 1
        assert len(shown) == len(sizes)
        draws = Counter(examples)
        for place, size in enumerate(sizes):
            times = [draws[e] for e in np.flatnonzero(places == place)]
            # A larger class is not repeated, a smaller one evenly, nobody left out.
            assert max(times) - min(times) <= 1
            assert max(times) == 1 or size < shown[place]
        # The r-th draw of an example has the number r in its id.
        assert {(i % stride, i // stride) for i in ids} == {
            (e, r) for e, count in draws.items() for r in range(count)
        }


def test_repeated_examples_bring_their_own_image_and_weight():
    source = skewed(20, 1)
    batches = balanced(source, size=21)
    batch = batches[0]
    stride = 30
    assert sorted(batch["id"] // stride)[-1] >= 9  # the single one, ten times or more
    for place, number in enumerate(batch["id"]):
        np.testing.assert_array_equal(batch["image"][place], source[number % stride][0])
        assert batch["weight"][place] == source.weight(number % stride)


def test_balanced_order_is_a_function_of_seed_and_epoch_alone():
    source = skewed(30, 4, 9)
    order = epoch_ids(balanced(source, size=7), 2)
    again = balanced(source, size=5, epochs=9)
    epoch_ids(again, 7)
    assert epoch_ids(again, 2) == order
    orders = {
        tuple(epoch_ids(balanced(source, seed=seed), epoch))
        for seed in (0, 1)
        for epoch in range(3)
    }
    assert len(orders) == 6


def test_the_balanced_order_of_a_seed_does_not_change_between_versions():
    # Recorded with NumPy 2.4, which promises that RandomState gives the same for ever.
    assert epoch_ids(balanced(skewed(7, 2)), 0) == RECORDED_BALANCED


def test_every_example_of_a_large_class_has_its_turn():
    batches = balanced(skewed(60, 20), epochs=60)
    counts = Counter(i for e in range(60) for i in epoch_ids(batches, e) if i < 60)
    # 40 of 60 are drawn in each epoch: binomial with p = 2/3 over 60 epochs has
    # mean 40 and deviation 3.7; five deviations, and the seed is fixed.
    assert min(counts[i] for i in range(60)) > 40 - 5 * 3.7
    assert max(counts.values()) < 40 + 5 * 3.7


def test_what_is_held_out_stays_held_out_when_it_is_repeated():
    # The step recognises held-out examples by their ids alone.
    batches = balanced(skewed(61, 7), epochs=1)
    assert batches.stride == 70
    assert all(i % HELD_OUT == i % 70 % HELD_OUT for i in epoch_ids(batches, 0))
    assert max(epoch_ids(batches, 0)) >= 70


def test_a_class_too_small_to_be_balanced_is_refused():
    source = skewed(100_000, 1)
    with pytest.raises(InputError, match=r"a class of 1 about 50,001 times an epoch"):
        balanced(source)
    assert len(balanced(skewed(40_000, 1), epochs=1)) == 5001


def test_an_error_in_the_source_reaches_the_reader():
    @dataclass(frozen=True)
    class Broken(Numbered):
        def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
            raise OSError(f"cannot read example {index}")

    with pytest.raises(OSError, match="cannot read example 0"):
        next(read(Batches(Broken(4), 2)))
