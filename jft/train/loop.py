"""`fit`: a configuration in, a run directory out. The only loop over steps."""

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from jft import config as configs
from jft import tree
from jft.config import TrainConfig
from jft.data.pipeline import Subset, read
from jft.errors import InputError
from jft.evaluate.source import evaluate_source
from jft.runs.directory import RunDirectory
from jft.runs.saved import save_model
from jft.step import HELD_OUT, TrainState
from jft.tasks.sums import add
from jft.train import preflight
from jft.train.callbacks import Callback
from jft.train.checkpoints import Checkpoints
from jft.train.crossing import cross, like
from jft.train.interrupt import Interrupted, catch_signals
from jft.train.plan import make_plan
from jft.train.preflight import workdir_of
from jft.train.progress import Clock, Progress
from jft.train.result import Result, result_of
from jft.train.setup import Setup, enough_memory, prepare

REPORT = "data_report.json"
LAG = 2  # steps whose metrics are still on the device while the next is dispatched


def fit(config: TrainConfig, *, callbacks: Sequence[Callback] = ()) -> Result:
    """Fine-tune as the configuration says; resume if its run is unfinished.

    Args:
        config: The rules of the run.
        callbacks: Called as the run goes on; `Printer` shows it on the terminal.

    Raises:
        InputError: The configuration, its weights or its data cannot be used, or the
            run directory holds another run.
        Interrupted: A signal stopped the run, after it was saved.
    """
    started = time.perf_counter()
    config = preflight.check(config)
    path = workdir_of(config)
    with RunDirectory(path).claim(config) as directory:
        finished = directory.read("result.json")
        if finished is not None:
            result = result_of(directory, finished)
            for callback in callbacks:
                callback.on_end(result, already=True)
            return result
        setup = prepare(config, lambda text: directory.write_text(REPORT, text))
        run = Run(setup, directory, callbacks, Clock(started))
        with catch_signals() as stopped, enough_memory(setup):
            return run.train(stopped)


@dataclass
class Run:
    """A run under way: what it is made of, and how far it has come."""

    setup: Setup
    directory: RunDirectory
    callbacks: Sequence[Callback]
    clock: Clock
    progress: Progress = field(default_factory=Progress)

    def describe(self) -> list[str]:
        """Write down what the numbers depend on; return how the machine has changed."""
        setup, config = self.setup, self.setup.config
        pretrained = setup.start.pretrained
        return self.directory.describe(
            {
                "seed": config.seed,
                "fingerprint": configs.fingerprint(config),
                "weights": {
                    "source": pretrained.report.source,
                    **pretrained.about,
                    "sha256": pretrained.report.sha256,
                    "reinitialised": pretrained.report.reinitialised,
                },
                "data": {
                    "source": config.data,
                    "fingerprint": setup.splits.fingerprint,
                    "train": len(setup.splits.train),
                    "test": len(setup.splits.test),
                },
            },
            str(setup.devices),
        )

    def train(self, stopped: Callable[[], bool]) -> Result:
        """Train from the last checkpoint, or from the start, to the end."""
        changes = self.describe()
        checkpoints = Checkpoints(self.directory.path / "checkpoints")
        try:
            return self._train(checkpoints, changes, stopped)
        finally:
            checkpoints.close()

    def _train(
        self,
        checkpoints: Checkpoints,
        changes: list[str],
        stopped: Callable[[], bool],
    ) -> Result:
        setup, devices, legs = self.setup, self.setup.devices, self.setup.start.legs
        for callback in self.callbacks:
            callback.on_begin(setup)
        train_steps, eval_step = setup.compile_train_steps(), setup.eval_step()
        plan = make_plan(setup, train_steps)
        self.directory.write("plan.json", plan.to_dict())
        for callback in self.callbacks:
            callback.on_plan(plan)
        self.clock.next_epoch()
        restored = self._restore(checkpoints, changes)
        state, done = devices.replicate(restored), int(restored.step)
        del restored
        leg = setup.start.leg_at(done)
        pending: deque[Any] = deque()
        reader = read(setup.batches, start=done, workers=setup.config.workers)
        for batch in self.clock.waiting(reader):
            state, sums = train_steps[leg](state, devices.put(batch))
            done += 1
            pending.append((done, sums))
            # Asked once a step: a signal between two questions would be acted on
            # without having been saved.
            stops = stopped()
            ends = done % setup.batches.steps_per_epoch == 0
            saves = ends or self._is_due(done) or stops
            while len(pending) > (0 if saves else LAG):
                self._count(*pending.popleft())
            if ends:
                self._end_epoch(done, state, eval_step)
            if done == legs[leg].stop and leg + 1 < len(legs):
                state, leg = self._cross(state, leg, eval_step), leg + 1
            if saves:
                stamped = self.clock.stamp(self.progress)
                checkpoints.save(devices.fetch(state), stamped)
            if stops and done < len(setup.batches):
                raise Interrupted(f"stopped after {done} of {len(setup.batches)} steps")
        return self._finish(state)

    def _restore(self, checkpoints: Checkpoints, changes: list[str]) -> TrainState:
        start = self.setup.start
        restored = checkpoints.restore(lambda step: like(start, start.leg_at(step)))
        if restored is None:
            self.directory.rewind(0)  # a kill may have come before the first checkpoint
            return start.state
        state, progress = restored
        self.progress = Progress(**progress)
        self.clock.resume(self.progress)
        self.directory.rewind(int(state.step))
        for callback in self.callbacks:
            callback.on_resume(int(state.step), changes)
        return state

    def _is_due(self, done: int) -> bool:
        every = self.setup.config.checkpoint_every
        return bool(every) and done % every == 0

    def _count(self, done: int, sums: Any) -> None:
        """Add one step's sums, which waits for that step to end."""
        total = add(self.progress.total, self.setup.devices.fetch(sums))
        self.progress.total = total
        # A candidate that fails is one that is not chosen.
        leg = self.setup.start.legs[self.setup.start.leg_at(done - 1)]
        sound = math.isfinite(total["loss"]) and math.isfinite(total["grad_norm"])
        if not (sound or leg.phase.candidate):
            rate = total["learning_rate"] / total["weight"]
            raise InputError(
                f"the loss is no longer finite at step {done}: try a lower learning "
                f"rate (it is about {rate:.3g} here) or --optim.clip-norm 1"
            )
        for callback in self.callbacks:
            callback.on_step(done, total)

    def _end_epoch(
        self, done: int, state: TrainState, eval_step: Callable[[Any, Any], Any]
    ) -> None:
        """Evaluate, log, and keep the parameters if they are the best so far."""
        place = {"epoch": done // self.setup.batches.steps_per_epoch, "step": done}
        train = self.setup.task.summarise(self.progress.total)
        seconds = self.clock.epoch
        speed = {
            "seconds": seconds,
            "images_per_second": train["n"] / seconds,
            "data": self.clock.waited / seconds,
        }
        self.progress.total = {}
        test = self._evaluate(eval_step, state, self.setup.splits.test)
        self.progress.test = {"split": "test", **place, **test}
        records = {"split": "train", **place, **train, **speed}, self.progress.test
        self.directory.append_metrics(records)
        leg = self.setup.start.legs[self.setup.start.leg_at(done - 1)]
        if not leg.phase.candidate and self._is_best(test):
            self.progress.best = self.progress.test
            self._save("best", state)
        for callback in self.callbacks:
            callback.on_epoch(*records)
        self.clock.next_epoch()

    def _is_best(self, test: dict[str, Any]) -> bool:
        """Return whether an epoch scores higher than all before; NaN is no score."""
        score = self.setup.task.score
        best = self.progress.best.get(score, math.nan)
        return math.isnan(best) or test[score] > best

    def _evaluate(
        self, eval_step: Callable[[Any, Any], Any], state: TrainState, source: Any
    ) -> dict[str, Any]:
        return evaluate_source(
            eval_step,
            state.variables,
            source,
            self.setup.devices,
            self.setup.task,
            batch_size=self.setup.config.batch_size,
            workers=self.setup.config.workers,
        )

    def _cross(
        self, state: TrainState, leg: int, eval_step: Callable[[Any, Any], Any]
    ) -> TrainState:
        """Return the state that the next phase begins with."""
        setup = self.setup
        loss = self._judge(state, leg, eval_step)
        crossed = cross(setup.devices.fetch(state), setup.start, leg, loss)
        if loss is None:
            self.progress.tried = []
        for callback in self.callbacks:
            callback.on_phase(leg + 1, self.progress.tried)
        return setup.devices.replicate(crossed)

    def _judge(
        self, state: TrainState, leg: int, eval_step: Callable[[Any, Any], Any]
    ) -> float | None:
        """Return a candidate's loss on what was held out; None of other phases."""
        phase = self.setup.start.legs[leg].phase
        if not phase.candidate:
            return None
        held_out = Subset(self.setup.splits.train, HELD_OUT)
        judged = self._evaluate(eval_step, state, held_out)
        place = {k: self.progress.test[k] for k in ("epoch", "step")}
        rate = {"learning_rate": phase.learning_rate}
        self.directory.append_metrics(
            [{"split": "held-out", **place, **rate, **judged}]
        )
        loss = judged["loss"] if math.isfinite(judged["loss"]) else math.inf
        self.progress.tried.append((phase.learning_rate, loss))
        return loss

    def _save(self, name: str, state: TrainState) -> str:
        """Save parameters and statistics with all that predict needs."""
        host = self.setup.devices.fetch(state.variables)
        card = self.setup.card(tree.digest(host))
        save_model(self.directory.path / name, host, card)
        return card.digest

    def _finish(self, state: TrainState) -> Result:
        """Save the final parameters, then the result that marks the run finished."""
        digest = self._save("final", state)
        test, best = self.progress.test, self.progress.best
        score = self.setup.task.score
        place = ("split", "epoch", "step")
        record = {
            **{name: v for name, v in test.items() if name not in place},
            "score": score,
            "params_digest": digest,
            "seconds": self.clock.run,
            "best": {"epoch": best["epoch"], score: best[score]},
        }
        self.directory.write("result.json", record)
        result = result_of(self.directory, record)
        for callback in self.callbacks:
            callback.on_end(result, already=False)
        return result
