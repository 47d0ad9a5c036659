"""Batches in order: which examples step N sees is a pure function of (seed, N)."""

import gc
import math
import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property
from multiprocessing import connection
from typing import Any, Literal, NamedTuple, Protocol, cast

import grain
import numpy as np
import numpy.typing as npt

from jft.data.sampling import balanced_order, require_numbers
from jft.types import HELD_OUT, VOID

THREADS = min(os.cpu_count() or 1, 16)  # decoding and copying release the GIL
AHEAD = 4  # batches prepared before they are asked for

Batch = dict[str, np.ndarray]


class ShapeDtype(NamedTuple):
    """Of an array."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class Examples(Protocol):
    """What batches are made of: `len`, and `[i]`, an image and its label.

    The image is uint8 [S, S, 3], or features float32 [...]; the label a number,
    numbers [K], or a mask uint8 [S, S]. Read by several threads at once.
    """

    def __len__(self) -> int:
        """Return the number of examples."""
        ...

    def __getitem__(self, index: int, /) -> tuple[np.ndarray, Any]:
        """Return one example."""
        ...

    def weight(self, index: int, /) -> float:
        """Return how many examples one example counts as."""
        ...

    def class_indices(self) -> npt.NDArray[np.intp]:
        """Return the class of each example, for balanced sampling."""
        ...


@dataclass(frozen=True)
class Subset:
    """Every `step`-th example of a source, from the first on."""

    source: Examples
    step: int

    def __len__(self) -> int:
        """Return the number of examples."""
        return -(-len(self.source) // self.step)

    def __getitem__(self, index: int) -> tuple[np.ndarray, Any]:
        """Return one example."""
        return self.source[index * self.step]

    def weight(self, index: int) -> float:
        """Return how many examples one example counts as."""
        return self.source.weight(index * self.step)

    def class_indices(self) -> npt.NDArray[np.intp]:
        """Return the class of each example."""
        return self.source.class_indices()[:: self.step]


@dataclass(frozen=True)
class Batches:
    """Random access to the batches of a run, in step order.

    Batch `i` belongs to epoch `i // steps_per_epoch`. The last batch of an epoch is
    filled up with examples of weight 0, so every batch has the same shape.

    Attributes:
        source: The examples.
        batch_size: Examples per batch, B.
        seed: Draws a new order for each epoch; None keeps the source's order.
        epochs: Epochs in the run.
        sampling: With a seed: shuffle draws every example once an epoch; balanced
            draws as many, but of every class as often.
    """

    source: Examples
    batch_size: int
    seed: int | None = None
    epochs: int = 1
    sampling: Literal["shuffle", "balanced"] = "shuffle"

    def __post_init__(self) -> None:
        if self.sampling == "balanced":
            require_numbers(self._members, len(self.source), self.stride)

    @property
    def steps_per_epoch(self) -> int:
        """Batches per epoch, the padded one included."""
        return math.ceil(len(self.source) / self.batch_size)

    def __len__(self) -> int:
        """Return the number of batches in the run."""
        return self.steps_per_epoch * self.epochs

    def ids(self, index: int) -> list[int]:
        """Return the ids of batch `index`, at most `batch_size` of them.

        Examples are numbered by index in the source. If one is drawn again in an
        epoch, a multiple of a constant is added: it is augmented in another way.
        """
        epoch, step = divmod(index, self.steps_per_epoch)
        n = len(self.source)
        positions = range(step * self.batch_size, min((step + 1) * self.batch_size, n))
        if self.seed is None:
            return list(positions)
        if self.sampling == "balanced":
            return self._balanced(epoch)[positions.start : positions.stop].tolist()
        # Grain's shuffle is a permutation with random access: no order is stored.
        words = np.random.SeedSequence([self.seed, epoch]).generate_state(1)
        order = grain.MapDataset.range(n).shuffle(seed=int(words[0]))
        return [cast(int, order[p]) for p in positions]

    def examples(self, index: int) -> list[int]:
        """Return the indices in the source of the examples of batch `index`."""
        return [example % self.stride for example in self.ids(index)]

    def __getitem__(self, index: int) -> Batch:
        """Return batch `index`.

        Returns:
            image, of the source's dtype, [B, S, S, 3]; label int32 or float32 [B] or
            [B, K], or masks uint8 [B, S, S]; weight float32 [B]; id int32 [B]. Padding
            has weight 0, and masks of `VOID`.
        """
        return self.read(index, threads=1)

    def read(self, index: int, threads: int) -> Batch:
        """Return batch `index`, put together by several threads."""
        ids, examples = self.ids(index), self.examples(index)
        batch = self.empty()
        batch["id"][: len(ids)] = ids

        def fill(first: int) -> None:
            for slot in range(first, len(ids), threads):
                example = examples[slot]
                image, label = self.source[example]
                batch["image"][slot] = image
                batch["label"][slot] = label
                batch["weight"][slot] = self.source.weight(example)

        if threads == 1:
            fill(0)
        else:
            list(_pool(threads).map(fill, range(threads)))
        return batch

    def empty(self) -> Batch:
        """Return a batch of nothing but padding."""
        b, (image, label) = self.batch_size, self._shapes
        nothing = VOID if label.dtype == np.uint8 else 0
        return {
            "image": np.zeros((b, *image.shape), image.dtype),
            "label": np.full((b, *label.shape), nothing, label.dtype),
            "weight": np.zeros(b, np.float32),
            "id": np.zeros(b, np.int32),
        }

    @cached_property
    def _shapes(self) -> tuple[Any, Any]:
        """Shape and dtype of an image and of a label as batches have them."""
        image, label = self.source[0]
        label = np.asarray(label)
        kinds = {"u": np.dtype(np.uint8), "f": np.dtype(np.float32)}
        kind = kinds.get(label.dtype.kind, np.dtype(np.int32))
        return ShapeDtype(image.shape, image.dtype), ShapeDtype(label.shape, kind)

    @property
    def stride(self) -> int:
        """What is added to the id of an example each time it is drawn again.

        A multiple of `HELD_OUT`, so that a repeated example is held out like the first.
        """
        return math.ceil(len(self.source) / HELD_OUT) * HELD_OUT

    @cached_property
    def _members(self) -> list[npt.NDArray[np.intp]]:
        """The examples of each class that has any."""
        classes = self.source.class_indices()
        return [np.flatnonzero(classes == one) for one in np.unique(classes)]

    def _balanced(self, epoch: int) -> npt.NDArray[np.int64]:
        order = self._orders.get(epoch)
        if order is None:
            assert self.seed is not None
            words = np.random.SeedSequence([self.seed, epoch]).generate_state(4)
            order = balanced_order(self._members, self.stride, words)
            self._orders.clear()  # only the epoch that is being read
            self._orders[epoch] = order
        return order

    @cached_property
    def _orders(self) -> dict[int, npt.NDArray[np.int64]]:
        return {}


@dataclass(frozen=True)
class _Parallel:
    """Batches, each put together by several threads."""

    batches: Batches
    threads: int

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Batch:
        return self.batches.read(index, self.threads)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Arrive in a worker process, which ends when the one that started it ends."""
        self.__dict__.update(state)
        if parent := multiprocessing.parent_process():
            threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: Any) -> None:
    """End this process when its parent does, killed or not."""
    connection.wait([parent.sentinel])
    os._exit(1)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "jft-batch")


def read(
    batches: Batches, *, start: int = 0, stop: int | None = None, workers: int = 0
) -> Iterator[Batch]:
    """Read batches ahead of their use, from batch `start` on.

    Args:
        batches: The run's batches.
        start: First batch; starting late costs nothing.
        stop: The batch before which reading ends; None reads all.
        workers: Processes that prepare batches; 0 uses threads of this one. The
            batches are the same for any number.
    """
    # A process has a core; without any, two batches at a time keep all threads busy.
    parallel = _Parallel(batches, 1 if workers else THREADS)
    ahead = grain.ReadOptions(
        num_threads=1 if workers else 2, prefetch_buffer_size=1 if workers else AHEAD
    )
    reader = grain.MapDataset.source(parallel)[start:stop].to_iter_dataset(ahead)
    if workers:
        _mark_flags_parsed()
        options = grain.MultiprocessingOptions(num_workers=workers)
        reader = reader.mp_prefetch(options)
    return _freeing(iter(reader)) if workers else iter(reader)


def _freeing(reader: Any) -> Iterator[Batch]:
    """Yield the batches; free the workers' shared memory when that ends."""
    try:
        yield from reader
    finally:
        reader.close()
        del reader
        gc.collect()  # frames of Grain's threads, in a cycle, hold each last batch


def _mark_flags_parsed() -> None:
    """Let Grain's worker processes start outside an absl application."""
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
