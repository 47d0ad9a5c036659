"""Batches in order: which examples step N sees is a pure function of (seed, N)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, cast

import grain
import numpy as np

THREADS = 4  # decoding and copying release the GIL; more only contend on few cores
AHEAD = 8  # batches prepared before they are asked for


class Examples(Protocol):
    """What batches are made of: `len` and `[i] -> (image [S, S, 3] uint8, label)`."""

    def __len__(self) -> int:
        """Return the number of examples."""
        ...

    def __getitem__(self, index: int, /) -> tuple[np.ndarray, int]:
        """Return one example."""
        ...


@dataclass(frozen=True)
class Subset:
    """Every `step`-th example of a source, from the first on."""

    source: Examples
    step: int

    def __len__(self) -> int:
        """Return the number of examples."""
        return -(-len(self.source) // self.step)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        """Return one example."""
        return self.source[index * self.step]


@dataclass(frozen=True)
class Batches:
    """Random access to the batches of a run, in step order.

    Batch `i` belongs to epoch `i // steps_per_epoch`. The last batch of an epoch is
    filled up with examples of weight 0, so every example is seen exactly once an
    epoch and every batch has the same shape.

    Attributes:
        source: The examples.
        batch_size: Examples per batch, B.
        seed: Shuffles each epoch anew; None keeps the source's order.
        epochs: Epochs in the run.
    """

    source: Examples
    batch_size: int
    seed: int | None = None
    epochs: int = 1

    @property
    def steps_per_epoch(self) -> int:
        """Batches per epoch, the padded one included."""
        return math.ceil(len(self.source) / self.batch_size)

    def __len__(self) -> int:
        """Return the number of batches in the run."""
        return self.steps_per_epoch * self.epochs

    def ids(self, index: int) -> list[int]:
        """Return the examples of batch `index`, at most `batch_size` of them."""
        epoch, place = divmod(index, self.steps_per_epoch)
        n = len(self.source)
        places = range(place * self.batch_size, min((place + 1) * self.batch_size, n))
        if self.seed is None:
            return list(places)
        # Grain's shuffle is a permutation with random access: no order is stored.
        words = np.random.SeedSequence([self.seed, epoch]).generate_state(1)
        order = grain.MapDataset.range(n).shuffle(seed=int(words[0]))
        return [cast(int, order[p]) for p in places]

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """Return batch `index`: image [B, S, S, 3], label, weight and id [B]."""
        ids = self.ids(index)
        examples = [self.source[i] for i in ids]
        padding = self.batch_size - len(ids)
        image = np.stack([image for image, _ in examples])
        label = np.array([label for _, label in examples], np.int32)
        return {
            "image": np.pad(image, ((0, padding), (0, 0), (0, 0), (0, 0))),
            "label": np.pad(label, (0, padding)),
            "weight": np.pad(np.ones(len(ids), np.float32), (0, padding)),
            "id": np.pad(np.array(ids, np.int32), (0, padding)),
        }


def read(
    batches: Batches, *, start: int = 0, workers: int = 0
) -> Iterator[dict[str, np.ndarray]]:
    """Read batches ahead of their use, from batch `start` on.

    Args:
        batches: The run's batches.
        start: First batch; starting late costs nothing.
        workers: Processes that prepare batches; 0 uses threads of this one. The
            batches are the same for any number.
    """
    dataset = grain.MapDataset.source(batches)[start:]
    threads = grain.ReadOptions(num_threads=THREADS, prefetch_buffer_size=AHEAD)
    reader = dataset.to_iter_dataset(threads)
    if workers:
        _mark_flags_parsed()
        reader = reader.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers))
    return iter(reader)


def _mark_flags_parsed() -> None:
    """Let Grain's worker processes start outside an absl application."""
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
