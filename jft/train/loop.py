"""`fit`: a configuration in, a run directory out."""

import time
from collections.abc import Sequence
from typing import Any

from jft.config import TrainConfig
from jft.errors import DataError, InputError
from jft.runs.directory import RunDirectory
from jft.runs.sums import damaged
from jft.train.callbacks import Callback
from jft.train.compile import enough_memory
from jft.train.early_stopping import EarlyStopping
from jft.train.interrupt import catch_signals
from jft.train.objects import Objects
from jft.train.progress import Clock
from jft.train.resolve import Rules, resolve
from jft.train.result import Result, result_of
from jft.train.setup import prepare
from jft.train.training import Run

REPORT = "data_report.json"


def fit(
    config: TrainConfig,
    *,
    train: Any = None,
    test: Any = None,
    model: Any = None,
    task: Any = None,
    optimizer: Any = None,
    callbacks: Any = (),
) -> Result:
    """Fine-tune by a configuration; resume if its run is unfinished.

    What is given as an object, the files of the run cannot repeat: `manifest.json`
    lists it.

    Args:
        config: What to train, on what, and how.
        train: Training data instead of `config.data`: (images, labels), with images
            uint8 [N, H, W, 3]; a sequence of (image or path, label); or a data set of
            Grain, Hugging Face or torch. See `jft.data.objects.list_objects`.
        test: Test data, likewise; None holds out a fifth of `train`.
        model: A Flax module of your own instead of `config.model` and its weights, or
            a `jft.OwnModel`: that module with initial values and preprocessing. It
            follows `jft.models.protocol.StagedModule`.
        task: A `Task` with its own loss, instead of the one the data implies; its
            `name` is what the data is for. The saved model predicts as the built-in
            task of that name does.
        optimizer: An optax transformation with its own learning rate, instead of
            `config.optim`. It updates the trained part only, and its updates are
            multiplied by the freeze rule's learning-rate multipliers.
        callbacks: Called as the run goes on; `Printer` shows it on the terminal.

    Raises:
        InputError: The configuration, its weights or its data cannot be used, or the
            run directory holds another run.
        Interrupted: A signal stopped the run, after it was saved.
    """
    started = time.perf_counter()
    if not isinstance(callbacks, Sequence) or not all(
        isinstance(callback, Callback) for callback in callbacks
    ):
        raise InputError(
            "callbacks= must be a list of jft.Callback objects, such as "
            f"[jft.Printer()], got {callbacks!r}"
        )
    objects = Objects(train, test, task, model, optimizer, callbacks)
    return run(resolve(config, objects), callbacks, started=started)


def run(rules: Rules, callbacks: Sequence[Callback], *, started: float) -> Result:
    """Train as `fit` does.

    Args:
        rules: What the run follows.
        callbacks: As in `fit`.
        started: When the session began, in seconds of `time.perf_counter`.
    """
    config = rules.config
    if config.early_stop:
        stopping = EarlyStopping(
            config.early_stop, config.early_stop_metric, config.early_stop_min_delta
        )
        callbacks = [*callbacks, stopping]
    with RunDirectory(rules.workdir).claim(config) as directory:
        finished = _finished(directory, rules)
        if finished is not None:
            for callback in callbacks:
                callback.on_end(finished, already=True)
            return finished
        setup = prepare(rules, lambda text: directory.write_text(REPORT, text))
        with catch_signals() as stopped, enough_memory(setup):
            return Run(setup, directory, callbacks, Clock(started)).train(stopped)


def _finished(directory: RunDirectory, rules: Rules) -> Result | None:
    """Return the result of a finished run; None if there is something left to do.

    Raises:
        DataError: Its data has changed since.
    """
    record = directory.read("result.json")
    if record is None:
        return None
    before = directory.value("manifest.json", "data", "fingerprint")
    if before != rules.data.fingerprint:
        raise DataError(
            f"{directory.path} is finished, and {rules.config.data} has changed since: "
            "give another --workdir to train on the new data"
        )
    if damaged(directory.path / "final"):
        directory.unfinish()  # the last checkpoint has the final parameters
        return None
    return result_of(directory, record)
