"""Features with their labels, as batches and as whole arrays on the device."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from jft.data.images import Source
from jft.data.pipeline import Batches
from jft.features.store import Array

Data = dict[str, Any]
"""`image` [V, R, ...] float32 of V views; `label` [R, ...]; `weight` [R] float32."""


@dataclass(frozen=True, eq=False)
class FeatureExamples:
    """Examples whose images are features: `len`, `[i]` and the rest of `Examples`.

    Attributes:
        array: float32 [N, ...].
        source: Where labels and weights are.
        step: Of the source every `step`-th example, from the first on.
    """

    array: Array
    source: Source
    step: int = 1

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.array)

    def __getitem__(self, index: int) -> tuple[Array, Any]:
        """Return the features of one example, and its label."""
        return self.array[index], self.source.labels[index * self.step]

    def weight(self, index: int) -> float:
        """Return how many examples one example counts as."""
        return self.source.weight(index * self.step)

    def class_indices(self) -> npt.NDArray[np.intp]:
        """Return the class of each example."""
        return self.source.class_indices()[:: self.step]


def whole(batches: Sequence[Batches]) -> Data:
    """Return all examples of a run as arrays, with one of padding after the last.

    Args:
        batches: Of each view of the same examples, with `FeatureExamples`.
    """
    first, empty = batches[0], batches[0].empty()
    n, data = len(first.source), dict[str, Any]()
    for name in ("image", "label", "weight"):
        shape = (n + 1, *empty[name].shape[1:])
        data[name] = np.zeros(shape, empty[name].dtype)
    for i in range(n):
        data["label"][i] = first.source[i][1]
        data["weight"][i] = first.source.weight(i)
    views = [data["image"], *(np.zeros_like(data["image"]) for _ in batches[1:])]
    for image, each in zip(views, batches, strict=True):
        image[:n] = cast(FeatureExamples, each.source).array
    return {**data, "image": np.stack(views)}


def chunks(
    batches: Batches, *, start: int, stop: int, length: int, every: int
) -> Iterator[tuple[int, dict[str, npt.NDArray[np.int32]]]]:
    """Yield the rows of several batches at a time, for one compiled loop over them.

    A chunk ends with an epoch, and where a checkpoint is due.

    Args:
        batches: Of the run.
        start: First batch.
        stop: The batch before which reading ends.
        length: Batches of a chunk at most, L.
        every: Steps between checkpoints; 0: none within an epoch.

    Yields:
        How many batches; and `row` int32 [L, B], where each example is in `whole`,
        with `id` int32 [L, B] as batches have it.
    """
    size, padding = batches.batch_size, len(batches.source)
    while start < stop:
        end = min(start + length, stop)
        for period in filter(None, (batches.steps_per_epoch, every)):
            end = min(end, (start // period + 1) * period)
        rows = np.full((length, size), padding, np.int32)
        ids = np.zeros((length, size), np.int32)
        for i, index in enumerate(range(start, end)):
            found = np.array(batches.ids(index), np.int32)
            ids[i, : len(found)], rows[i, : len(found)] = found, found % batches.stride
        yield end - start, {"row": rows, "id": ids}
        start = end
