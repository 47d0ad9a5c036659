"""A run under way: the only loop over steps."""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flax import serialization

from jft import tree
from jft.devices import LAG
from jft.errors import DamageError
from jft.evaluate.source import evaluate_source, mistakes
from jft.runs.directory import RunDirectory
from jft.runs.saved import copy_model, save_model
from jft.step import TrainState
from jft.tasks.sums import add
from jft.train.callbacks import Callback, named
from jft.train.checkpoints import Checkpoints
from jft.train.compile import compile_train_steps
from jft.train.diverged import diverged, require_few_skipped, require_finite
from jft.train.early_stopping import improvement
from jft.train.feeds import Feed, Feeds
from jft.train.interrupt import Interrupted
from jft.train.manifest import inputs
from jft.train.plan import make_plan
from jft.train.progress import Clock, Progress
from jft.train.result import Result, result_of
from jft.train.setup import Setup
from jft.train.trace import Trace
from jft.train.transition import next_state, state_like

MISTAKES = "mistakes.csv"


@dataclass
class Run:
    """A run under way: what it is made of, and how far it has come."""

    setup: Setup
    directory: RunDirectory
    callbacks: Sequence[Callback]
    clock: Clock
    progress: Progress = field(default_factory=Progress)
    trace: Trace = field(init=False)
    feeds: Feeds = field(init=False)
    feed: Feed = field(init=False)

    def __post_init__(self) -> None:
        """Begin without any step."""
        self.trace = Trace(self.directory)

    def train(self, stopped: Callable[[], bool]) -> Result:
        """Train from the last checkpoint, or from the start, to the end.

        Args:
            stopped: Returns whether a signal has asked to stop.
        """
        self.feeds = Feeds(self.setup)
        changes = self.directory.describe(inputs(self.setup), str(self.setup.devices))
        for callback in self.callbacks:
            callback.on_begin(self.setup)
        train_steps = compile_train_steps(self.setup)
        plan = make_plan(self.setup, train_steps)
        self.directory.write("plan.json", plan.to_dict())
        for callback in self.callbacks:
            callback.on_plan(plan)
        self.clock.next_epoch()
        run = self.directory.value("manifest.json", "id")
        folder = self.directory.path / "checkpoints"
        with Checkpoints(folder, run) as checkpoints:
            state = self._restore(checkpoints, changes)
            if not self.progress.ended:
                state = self._steps(state, train_steps, checkpoints, stopped)
            return self._finish(state)

    def _restore(self, checkpoints: Checkpoints, changes: list[str]) -> TrainState:
        """Return the state that training continues from, on the host."""
        setup = self.setup
        restored = checkpoints.restore(lambda s: state_like(setup, setup.phase_at(s)))
        if restored is None:
            self.directory.rewind(0)  # a kill may have come before the first checkpoint
            return setup.state
        state, progress = restored
        self.progress = Progress(**progress)
        for name, callback in named(self.callbacks).items():
            # A callback that is new in this session starts fresh.
            if name in self.progress.callbacks:
                callback.restore(self.progress.callbacks[name])
        self.clock.resume(self.progress)
        self.directory.rewind(int(state.step))
        self.trace.resume(int(state.step))
        for callback in self.callbacks:
            callback.on_resume(int(state.step), changes)
        return state

    def _steps(
        self,
        restored: TrainState,
        train_steps: Sequence[Callable[[Any, Any], Any]],
        checkpoints: Checkpoints,
        stopped: Callable[[], bool],
    ) -> TrainState:
        """Run the steps that are left, and return the last state, on the devices."""
        setup, devices, batches = self.setup, self.setup.devices, self.setup.batches
        state, done = devices.replicate(restored), int(restored.step)
        del restored
        pending: deque[tuple[int, int, Any]] = deque()
        while done < len(batches) and not self.progress.ended:
            self._open_feed(setup.phase_at(done), state)
            for count, work in self.clock.waiting(self.feed.work(done)):
                phase = setup.phase_at(done)
                state, sums = train_steps[phase](state, devices.put(work))
                done += count
                pending.append((done, count, sums))
                # Asked once a call: a signal between two questions would be acted on
                # without having been saved.
                stops = stopped()
                ends = done % batches.steps_per_epoch == 0
                saves = ends or self._is_due(done) or stops
                while len(pending) > (0 if saves else LAG):
                    self._count(*pending.popleft(), state)
                if ends:
                    self._end_epoch(done, state)
                if done == setup.phases[phase].stop and phase + 1 < len(setup.phases):
                    state = self._next_phase(state, phase)
                if saves:
                    self._save_state(devices.fetch(state), done, checkpoints, ends)
                if self.progress.ended:
                    break
                if stops and done < len(batches):
                    raise Interrupted(f"stopped after {done} of {len(batches)} steps")
        return state

    def _open_feed(self, phase: int, state: TrainState) -> None:
        """Open what the steps of a phase are fed with."""
        fetch = self.setup.devices.fetch
        self.feed = self.feeds.open(phase, lambda: fetch(state.variables))
        if self.feeds.records:
            self.directory.write("features.json", {"opened": self.feeds.records})

    def _save_state(
        self, state: TrainState, done: int, checkpoints: Checkpoints, ends: bool
    ) -> None:
        """Save a state on the host, and the bits that led to it."""
        if not self._phase(done).candidate:
            require_finite(state, f"after step {done}")
        if ends:
            epoch = done // self.setup.batches.steps_per_epoch
            self.trace.end_epoch(epoch, done, serialization.to_state_dict(state))
        self.trace.save()
        states = {n: c.state() for n, c in named(self.callbacks).items()}
        self.progress.callbacks = {n: s for n, s in states.items() if s}
        checkpoints.save(state, self.clock.stamp(self.progress))

    def _is_due(self, done: int) -> bool:
        every = self.setup.config.checkpoint_every
        return bool(every) and done % every == 0

    def _count(self, done: int, count: int, sums: Any, state: TrainState) -> None:
        """Add the sums of `count` steps, which waits for them to end."""
        host = self.setup.devices.fetch(sums)
        if np.ndim(host["loss"]):  # of each step of a compiled loop
            for i in range(count):
                one = {name: values[i] for name, values in host.items()}
                self._count_step(done - count + 1 + i, one, state)
        else:
            self._count_step(done, host, state)

    def _count_step(self, done: int, step: Any, state: TrainState) -> None:
        """Add one step's sums."""
        self.progress.skipped += int(step.pop("skipped", 0))
        require_few_skipped(self.progress.skipped, self.setup.config, done)
        self.trace.add(step["loss"])
        total = add(self.progress.total, step)
        self.progress.total = total
        # A candidate whose loss diverges is not chosen.
        finite = math.isfinite(total["loss"]) and math.isfinite(total["grad_norm"])
        if not (finite or self._phase(done).candidate):
            raise diverged(self.setup, done, step, self.setup.devices.fetch(state))
        for callback in self.callbacks:
            callback.on_step(done, total)

    def _phase(self, done: int) -> Any:
        """Return the rule of the phase that step `done` belongs to."""
        return self.setup.phases[self.setup.phase_at(done - 1)].phase

    def _end_epoch(self, done: int, state: TrainState) -> None:
        """Evaluate, log, and keep the parameters if they are the best so far."""
        setup = self.setup
        position = {"epoch": done // setup.batches.steps_per_epoch, "step": done}
        train = setup.task.summarise(self.progress.total)
        seconds = self.clock.epoch
        speed = {
            "seconds": seconds,
            "images_per_second": train["n"] / seconds,
            "data": self.clock.waited / seconds,
        }
        if self.progress.skipped:
            train["skipped"] = self.progress.skipped
        self.progress.total = {}
        total, rows = self._evaluate(state, "test")
        test = setup.task.summarise(total, rows)
        self.progress.test = {"split": "test", **position, **test}
        records = {"split": "train", **position, **train, **speed}, self.progress.test
        self.directory.append_metrics(records)
        best = not self._phase(done).candidate and self._is_best(test)
        if best:
            saved = {"params_digest": self._save("best", state)}
            self.progress.best = self.progress.test | saved
        wrong = mistakes(setup.splits.test, rows)
        if wrong and (best or not self._restores_best()):
            self.directory.write_text(MISTAKES, wrong)
        wishes = [callback.on_epoch(*records) for callback in self.callbacks]
        self.progress.ended = any(wishes)
        self.clock.next_epoch()

    def _is_best(self, test: dict[str, Any]) -> bool:
        """Return whether an epoch is better than all before; NaN never is."""
        given = [each.metric for each in self.callbacks if each.metric != "auto"]
        metric = given[0] if given else self.setup.task.score
        best = self.progress.best.get(metric, math.nan)
        return math.isnan(best) or improvement(metric, test, best) > 0

    def _restores_best(self) -> bool:
        return any(callback.restores_best for callback in self.callbacks)

    def _evaluate(self, state: TrainState, split: str) -> tuple[Any, Any]:
        return evaluate_source(
            self.feeds.eval_step(self.feed.start),
            state.variables,
            self.feed.source(split),
            self.setup.devices,
            batch_size=self.setup.config.batch_size,
            workers=self.feed.workers,
        )

    def _next_phase(self, state: TrainState, index: int) -> TrainState:
        """Return the state that the next phase begins with."""
        loss = self._judge(state, index)
        after = next_state(self.setup.devices.fetch(state), self.setup, index, loss)
        if loss is None:
            self.progress.tried = []
        for callback in self.callbacks:
            callback.on_phase(index + 1, self.progress.tried)
        return self.setup.devices.replicate(after)

    def _judge(self, state: TrainState, index: int) -> float | None:
        """Return a candidate's loss on the held-out examples; None for other phases."""
        setup, phase = self.setup, self.setup.phases[index]
        if not phase.phase.candidate:
            return None
        held_out = self._evaluate(state, "held-out")
        judged = setup.task.summarise(*held_out)
        loss = float(judged["loss"])
        loss = loss if math.isfinite(loss) else math.inf
        self.progress.tried.append((phase.phase.learning_rate, loss))
        record = {
            "split": "held-out",
            "epoch": phase.stop // setup.batches.steps_per_epoch,
            "step": phase.stop,
            "learning_rate": phase.phase.learning_rate,
            **judged,
        }
        self.directory.append_metrics([record])
        return loss

    def _save(self, name: str, state: TrainState) -> str:
        """Save the parameters for prediction; return their digest."""
        host = self.setup.devices.fetch(state.variables)
        card = self.setup.card(tree.digest(host))
        save_model(self.directory.path / name, host, card)
        return card.digest

    def _finish(self, state: TrainState) -> Result:
        """Save the final parameters, then the result that marks the run finished."""
        test, best = self.progress.test, self.progress.best
        if self._restores_best():
            test = best
            digest = copy_model(self.directory.path / "best", "final")
            if digest != best["params_digest"]:
                raise DamageError(f"{self.directory.path / 'best'} is of another run")
        else:
            digest = self._save("final", state)
        score = self.setup.task.score
        record = {
            **{n: v for n, v in test.items() if n not in ("split", "epoch", "step")},
            "score": score,
            "params_digest": digest,
            "seconds": self.clock.run,
            "best": {n: best[n] for n in ("epoch", score, "params_digest")},
        }
        self.directory.write("result.json", record)
        result = result_of(self.directory, record)
        for callback in self.callbacks:
            callback.on_end(result, already=False)
        return result
