"""`fit`: a configuration in, a run directory out. The only loop over steps."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax

from jft import config as configs
from jft import metrics, preflight, tree
from jft.checkpoint import Checkpoints, ModelCard, save_model
from jft.config import TrainConfig
from jft.data.pipeline import Batches, read
from jft.data.sources import Splits, open_splits, require_readable
from jft.devices import Devices, get_devices, tune_cpu
from jft.errors import InputError
from jft.evaluation import evaluate_source
from jft.interrupt import Interrupted, catch_signals
from jft.models import config_of
from jft.pretrained import open_for
from jft.runlog import RunDirectory, default_workdir
from jft.state import Start, begin
from jft.step import TrainState, make_eval_step, make_train_step
from jft.watch import Result, Watch

LAG = 2  # steps whose metrics are still on the device while the next is dispatched


def fit(config: TrainConfig, watch: Watch | None = None) -> Result:
    """Fine-tune as the configuration says; resume if its run is unfinished.

    Args:
        config: The rules of the run.
        watch: Told of progress; by default nothing is printed.

    Raises:
        InputError: The configuration, its weights or its data cannot be used, or the
            run directory holds another run.
        Interrupted: A signal stopped the run, after it was saved.
    """
    watch = watch or Watch()
    started = time.perf_counter()
    config = preflight.check(config)
    path = Path(config.workdir or default_workdir(config)).expanduser()
    with RunDirectory(path).claim(config) as directory:
        finished = directory.read("result.json")
        if finished is not None:
            result = Result(workdir=path, **_of_result(finished))
            watch.end(result, already=True)
            return result
        run = prepare(config, directory, watch, started)
        with catch_signals() as stopped, _memory(config, run):
            return run.train(stopped)


@contextmanager
def _memory(config: TrainConfig, run: "Run") -> Iterator[None]:
    """Say what to change when the device has not enough memory."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        size = run.start.pretrained.preprocess.size
        raise InputError(
            f"not enough memory for {config.batch_size} images of {size}x{size} pixels "
            f"a step on {run.devices}: try a smaller --batch-size or --image-size, or "
            "freeze more of the network"
        ) from None


def _of_result(record: dict[str, Any]) -> dict[str, Any]:
    names = ("n", "accuracy", "loss", "params_digest", "seconds")
    return {name: record[name] for name in names}


def prepare(
    config: TrainConfig, directory: RunDirectory, watch: Watch, started: float
) -> "Run":
    """Open the weights and the data of a run, and build its first state."""
    tune_cpu()
    devices = get_devices(config.devices, config.batch_size)
    weights = open_for(config.model, config.weights, image_size=config.image_size)
    splits = open_splits(config.data, weights.preprocess)
    directory.write_text("data_report.json", splits.report.to_json())
    require_readable(splits)
    pretrained = weights.build(
        len(splits.class_names),
        class_names=splits.class_names,
        seed=config.seed,
    )
    batches = Batches(splits.train, config.batch_size, config.seed, config.epochs)
    start = begin(config, pretrained, devices, steps_per_epoch=batches.steps_per_epoch)
    run = Run(config, directory, watch, devices, splits, start, batches, started)
    run.describe()
    return run


@dataclass
class Run:
    """A run under way: what it is made of, and how far it has come."""

    config: TrainConfig
    directory: RunDirectory
    watch: Watch
    devices: Devices
    splits: Splits
    start: Start
    batches: Batches
    started: float
    total: dict[str, float] = field(default_factory=dict)
    best: dict[str, Any] = field(default_factory=dict)
    test: dict[str, Any] = field(default_factory=dict)
    changes: list[str] = field(default_factory=list)
    earlier: float = 0.0
    epoch_started: float = 0.0

    def describe(self) -> None:
        """Write down what predict needs, and what the numbers depend on."""
        pretrained = self.start.pretrained
        self.changes = self.directory.describe(
            {
                "seed": self.config.seed,
                "fingerprint": configs.fingerprint(self.config),
                "weights": {
                    "source": pretrained.report.source,
                    **pretrained.about,
                    "sha256": pretrained.report.sha256,
                    "reinitialised": pretrained.report.reinitialised,
                },
                "data": {
                    "source": self.config.data,
                    "fingerprint": self.splits.fingerprint,
                    "train": len(self.splits.train),
                    "test": len(self.splits.test),
                },
            },
            str(self.devices),
        )

    def train(self, stopped: Callable[[], bool]) -> Result:
        """Train from the last checkpoint, or from the start, to the end."""
        checkpoints = Checkpoints(self.directory.path / "checkpoints")
        try:
            return self._train(checkpoints, stopped)
        finally:
            checkpoints.close()

    def _train(self, checkpoints: Checkpoints, stopped: Callable[[], bool]) -> Result:
        step_spec = self.start.step_spec
        train_step = self.devices.compile(make_train_step(step_spec), donate=True)
        eval_step = self.devices.compile(
            make_eval_step(step_spec.model, step_spec.task, step_spec.preprocess)
        )
        self.watch.begin(self)
        self.epoch_started = time.perf_counter()
        restored = self._restore(checkpoints)
        state, done = self.devices.replicate(restored), int(restored.step)
        del restored
        pending: deque[Any] = deque()
        reader = read(self.batches, start=done, workers=self.config.workers)
        for batch in reader:
            state, sums = train_step(state, self.devices.put(batch))
            done += 1
            pending.append((done, sums))
            # Asked once a step: a signal between two questions would be acted on
            # without having been saved.
            stops = stopped()
            ends = done % step_spec.steps_per_epoch == 0
            saves = ends or self._is_due(done) or stops
            while len(pending) > (0 if saves else LAG):
                self._count(*pending.popleft())
            if ends:
                self._end_epoch(done, state, eval_step)
            if saves:
                checkpoints.save(self.devices.fetch(state), self._progress())
            if stops and done < len(self.batches):
                raise Interrupted(f"stopped after {done} of {len(self.batches)} steps")
        return self._finish(state)

    def _restore(self, checkpoints: Checkpoints) -> TrainState:
        restored = checkpoints.restore(self.start.state)
        if restored is None:
            self.directory.rewind(0)  # a kill may have come before the first checkpoint
            return self.start.state
        state, progress = restored
        self.epoch_started -= progress["epoch_seconds"]
        self.total, self.best = progress["total"], progress["best"]
        self.test, self.earlier = progress["test"], progress["seconds"]
        self.directory.rewind(int(state.step))
        self.watch.resumed(int(state.step), self.changes)
        return state

    def _progress(self) -> dict[str, Any]:
        return {
            "total": self.total,
            "best": self.best,
            "test": self.test,
            "seconds": self._seconds(),
            "epoch_seconds": time.perf_counter() - self.epoch_started,
        }

    def _seconds(self) -> float:
        return self.earlier + time.perf_counter() - self.started

    def _is_due(self, done: int) -> bool:
        every = self.config.checkpoint_every
        return bool(every) and done % every == 0

    def _count(self, done: int, sums: Any) -> None:
        """Add one step's sums, which waits for that step to end."""
        self.total = metrics.add(self.total, self.devices.fetch(sums))
        if not math.isfinite(self.total["loss"]):
            rate = self.total["learning_rate"] / self.total["n"]
            raise InputError(
                f"the loss is no longer finite at step {done}: try a lower "
                f"--optim.learning-rate (it is about {rate:.3g}) or --optim.clip-norm 1"
            )
        self.watch.step(done, self.total)

    def _end_epoch(
        self, done: int, state: TrainState, eval_step: Callable[[Any, Any], Any]
    ) -> None:
        """Evaluate, log, and keep the parameters if they are the best so far."""
        place = {"epoch": done // self.start.step_spec.steps_per_epoch, "step": done}
        seconds = time.perf_counter() - self.epoch_started
        train = metrics.summarise(self.total)
        speed = {"seconds": seconds, "images_per_second": train["n"] / seconds}
        self.total = {}
        test = evaluate_source(
            eval_step,
            state.variables,
            self.splits.test,
            self.devices,
            batch_size=self.config.batch_size,
            workers=self.config.workers,
        )
        self.test = {"split": "test", **place, **test}
        records = {"split": "train", **place, **train, **speed}, self.test
        self.directory.append_metrics(records)
        if test["accuracy"] > self.best.get("accuracy", -1.0):
            self.best = self.test
            self._save("best", state)
        self.watch.epoch(*records)
        self.epoch_started = time.perf_counter()

    def _save(self, name: str, state: TrainState) -> str:
        """Save parameters and statistics with all that predict needs."""
        host = self.devices.fetch(state.variables)
        pretrained = self.start.pretrained
        network = config_of(pretrained.spec)
        card = ModelCard(
            model=pretrained.spec.name,
            width=network.width,
            pooled_head=network.pooled_head,
            class_names=self.splits.class_names,
            preprocess=pretrained.preprocess,
            digest=tree.digest(host),
        )
        save_model(self.directory.path / name, host, card)
        return card.digest

    def _finish(self, state: TrainState) -> Result:
        """Save the final parameters, then the result that marks the run finished."""
        digest = self._save("final", state)
        place = ("split", "epoch", "step")
        record = {
            **{name: v for name, v in self.test.items() if name not in place},
            "params_digest": digest,
            "seconds": self._seconds(),
            "best": {"epoch": self.best["epoch"], "accuracy": self.best["accuracy"]},
        }
        self.directory.write("result.json", record)
        result = Result(workdir=self.directory.path, **_of_result(record))
        self.watch.end(result, already=False)
        return result
