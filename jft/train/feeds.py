"""What the steps of each phase are fed with: batches of images, or of features."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np

from jft.data.images import Source
from jft.data.pipeline import Batches, Examples, Subset, read
from jft.features import store
from jft.features.examples import FeatureExamples, chunks, whole
from jft.features.extract import View, extracted, make_extract_step
from jft.features.key import images_digest, key_of
from jft.features.store import Entry
from jft.models.training import TrainMode
from jft.train.compile import compile_eval_step, loop_length
from jft.train.setup import Setup
from jft.types import HELD_OUT, Params

Work = tuple[int, dict[str, Any]]
"""How many steps, and what they take besides the state."""


class Feed:
    """Images for one phase, or for several in a row.

    Attributes:
        setup: The run.
        stop: The step at which it ends.
    """

    def __init__(self, setup: Setup, stop: int) -> None:
        """Feed the steps of a run up to `stop`."""
        self.setup, self.stop = setup, stop

    def work(self, start: int) -> Iterator[Work]:
        """Yield what the steps from `start` on take."""
        workers = self.setup.config.workers
        batches = self.setup.batches
        for batch in read(batches, start=start, stop=self.stop, workers=workers):
            yield 1, batch

    def source(self, split: str) -> Examples:
        """Return the examples that are evaluated, `test` or `held-out`."""
        splits = self.setup.splits
        return splits.test if split == "test" else Subset(splits.train, HELD_OUT)

    @property
    def workers(self) -> int:
        """Processes that read the examples that are evaluated."""
        return self.setup.config.workers

    @property
    def start(self) -> str | None:
        """The first part of the network that steps run; None is the whole of it."""
        return None


class Feeds:
    """The feeds of a run, phase after phase.

    Attributes:
        records: Of each array of features that was opened, what it was.
        eval_step: Compiles the step that evaluates, given the feed's `start`.
        digest: Returns the digest of a split's images.
    """

    def __init__(self, setup: Setup) -> None:
        """Open nothing yet."""
        self._setup = setup
        self._images = Feed(setup, 0)
        self._entries: dict[str, Entry] = {}
        self.records: list[dict[str, Any]] = []
        self.eval_step = cache(lambda start: compile_eval_step(setup, start))
        self.digest = cache(lambda split: _digest(setup, split))

    def open(self, index: int, variables: Callable[[], Params]) -> Feed:
        """Return the feed of a phase.

        Args:
            index: The phase.
            variables: Returns what the network is applied with, on the host.
        """
        setup = self._setup
        if setup.features[index].cut is None:
            later = range(index, len(setup.phases))
            cached = [i for i in later if setup.features[i].cut]
            last = cached[0] - 1 if cached else len(setup.phases) - 1
            self._images.stop = setup.phases[last].stop
            return self._images
        opened = _Opening(setup, index, variables(), self._entries, self.digest)
        feed = opened.feed()
        self._entries = opened.used
        self.records += opened.records
        return feed


@dataclass(frozen=True)
class Features:
    """Which features of which images.

    Attributes:
        split: `train`, `test` or `held-out`.
        view: How the images are changed; None: they are not.
        dtype: Of the computation.
    """

    split: str
    view: View | None
    dtype: Literal["float32", "bfloat16"]


class _Opening:
    """Opens the features of one phase, and computes those that are not there."""

    def __init__(
        self,
        setup: Setup,
        index: int,
        variables: Params,
        before: dict[str, Entry],
        digest: Callable[[str], str],
    ) -> None:
        self.digest = digest
        self.setup, self.index, self.choice = setup, index, setup.features[index]
        assert self.choice.cut
        self.cut = self.choice.cut
        self.variables: Params = {
            kind: {n: part for n, part in parts.items() if n in self.cut.frozen}
            for kind, parts in variables.items()
        }
        self.before, self.used = before, dict[str, Entry]()
        self.records: list[dict[str, Any]] = []

    def feed(self) -> "FeatureFeed":
        """Return the phase's feed."""
        setup, config = self.setup, self.setup.config
        count = config.views
        views = [View(config.augment, config.seed, i) for i in range(count)] or [None]
        train = [self.examples(Features("train", v, config.dtype)) for v in views]
        evaluated = {"test": self.examples(Features("test", None, "float32"))}
        if setup.phases[self.index].phase.candidate:
            held_out = Features("held-out", None, "float32")
            evaluated["held-out"] = self.examples(held_out)
        return FeatureFeed(setup, self.index, train, evaluated)

    def examples(self, wanted: Features) -> FeatureExamples:
        """Return features with their labels."""
        source, step = _part(self.setup, wanted.split)
        n = -(-len(source) // step)
        key = self.key(wanted)
        entry, began = self.before.get(key), time.perf_counter()
        if entry is None:
            shape = (n, *self.choice.shape)

            def blocks() -> Iterator[Any]:
                return self.blocks(wanted, Subset(source, step))

            if self.choice.where == "disk":
                entry = store.stored(key, shape, blocks)
            else:
                entry = store.held(shape, blocks)
            record = {
                "phase": self.index,
                **dataclasses.asdict(wanted),
                "view": None if wanted.view is None else wanted.view.epoch,
                "where": self.choice.where,
                "key": key,
                "cut": self.cut.after,
                "bytes": entry.array.nbytes,
                "hit": entry.hit,
                "seconds": time.perf_counter() - began,
            }
            self.records.append(record)
        self.used[key] = entry
        return FeatureExamples(entry.array, source, step)

    def key(self, wanted: Features) -> str:
        """Return the digest of all that some features depend on."""
        setup = self.setup
        return key_of(
            self.digest(wanted.split),
            self.variables,
            network=setup.pretrained.spec,
            preprocess=setup.pretrained.preprocess,
            view=wanted.view,
            dtype=wanted.dtype,
            cut=self.cut,
            batch_size=setup.batches.batch_size,
            devices=str(setup.devices),
        )

    def blocks(self, wanted: Features, source: Examples) -> Iterator[Any]:
        """Compute features, a batch at a time."""
        setup = self.setup
        model = setup.pretrained.model.clone(mode=TrainMode(dtype=wanted.dtype))
        preprocess = setup.pretrained.preprocess
        step = make_extract_step(model, preprocess, self.cut, wanted.view)
        return extracted(
            setup.devices.compile(step),
            setup.devices.replicate(self.variables),
            source,
            setup.devices,
            batch_size=setup.batches.batch_size,
            workers=setup.config.workers,
        )


def _part(setup: Setup, split: str) -> tuple[Source, int]:
    """Return the source of a split, and of which examples it consists: every n-th."""
    if split == "test":
        return setup.splits.test, 1
    return setup.splits.train, HELD_OUT if split == "held-out" else 1


def _digest(setup: Setup, split: str) -> str:
    return images_digest(*_part(setup, split))


class FeatureFeed(Feed):
    """Features for one phase.

    Args:
        setup: The run.
        index: The phase.
        train: The training examples, once for each view.
        evaluated: Those that are evaluated, by split.
    """

    def __init__(
        self,
        setup: Setup,
        index: int,
        train: Sequence[FeatureExamples],
        evaluated: dict[str, FeatureExamples],
    ) -> None:
        """Feed the steps of phase `index`."""
        super().__init__(setup, setup.phases[index].stop)
        self._index, self._evaluated = index, evaluated
        self._views: list[Batches] = [
            dataclasses.replace(setup.batches, source=source) for source in train
        ]

    def work(self, start: int) -> Iterator[Work]:
        """Yield what the steps from `start` on take: of one step, or of several."""
        length = loop_length(self.setup, self._index)
        if length == 1:
            yield from self._batches(start)
            return
        data = self.setup.devices.put(whole(self._views))
        every = self.setup.config.checkpoint_every
        for count, rows in chunks(
            self._views[0], start=start, stop=self.stop, length=length, every=every
        ):
            yield count, {"data": data, "count": np.int32(count), **rows}

    def _batches(self, start: int) -> Iterator[Work]:
        epoch_steps = self.setup.batches.steps_per_epoch
        while start < self.stop:
            epoch = start // epoch_steps
            stop = self.stop
            if len(self._views) > 1:
                stop = min((epoch + 1) * epoch_steps, stop)
            view = self._views[epoch % len(self._views)]
            for batch in read(view, start=start, stop=stop):
                yield 1, batch
            start = stop

    def source(self, split: str) -> Examples:
        """Return the examples that are evaluated, `test` or `held-out`."""
        return self._evaluated[split]

    @property
    def workers(self) -> int:
        """Number of processes that read features: none."""
        return 0

    @property
    def start(self) -> str | None:
        """The first part of the network that steps run."""
        cut = self.setup.features[self._index].cut
        return cut.start if cut else None
