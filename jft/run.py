"""`jft.Run`: a run by its folder."""

import os
from pathlib import Path
from typing import Any, Literal

from jft.config import TrainConfig
from jft.errors import InputError
from jft.evaluate.run import evaluate_run
from jft.export.exported import Exported
from jft.export.write import export_run
from jft.predict.predictor import Predictor
from jft.runs.directory import open_run
from jft.train.result import Result, result_of
from jft.verify.run import verify_run


class Run:
    """A run that `jft.fit` or `python -m jft.train` made.

    >>> run = Run("runs/digits")  # doctest: +SKIP
    >>> run.predictor()("photo.png")  # doctest: +SKIP
    """

    def __init__(self, path: str | os.PathLike[str], *, model: Any = None) -> None:
        """Open a run's folder.

        Args:
            path: The folder.
            model: The Flax module, or `jft.OwnModel`, that `fit` was given, if it was:
                the folder holds its variables, but not its code.

        Raises:
            InputError: There is no run.
        """
        self._directory, self._model = open_run(path), model

    def __repr__(self) -> str:
        """Return `Run('runs/digits')`."""
        return f"Run({str(self.path)!r})"

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self._directory.path

    @property
    def config(self) -> TrainConfig:
        """The configuration."""
        return self._directory.config()

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The records of `metrics.jsonl`; `pandas.DataFrame` makes a table of them."""
        return self._directory.metrics()

    @property
    def result(self) -> Result:
        """What `fit` returned.

        Raises:
            InputError: The run is not finished.
        """
        record = self._directory.read("result.json")
        if record is None:
            raise InputError(
                f"{self.path} is not finished: run the same command again to continue"
            )
        return result_of(self._directory, record)

    def predictor(
        self, which: Literal["final", "best"] = "final", **options: Any
    ) -> Predictor:
        """Return the network, ready for images.

        Args:
            which: The final parameters, or those of the best epoch.
            options: As in `Predictor.from_run`.
        """
        return Predictor.from_run(self.path, which, model=self._model, **options)

    def evaluate(self, data: Any = None, **options: Any) -> dict[str, Any]:
        """Return the metrics on test images.

        Args:
            data: As in `TrainConfig`, or objects as `fit` takes them; None takes what
                the run was trained on.
            options: As in `evaluate_run`.
        """
        return evaluate_run(self.path, data, model=self._model, **options)

    def verify(self) -> list[str]:
        """Return a line for each damaged file of the run; none if all is sound."""
        return verify_run(self.path).damage

    def export(
        self, file: str | None = None, to: str = "safetensors", **options: Any
    ) -> Exported:
        """Write the network as another library's file.

        Args:
            file: What to write; None names it in the run's folder.
            to: The library.
            options: As in `export_run`.
        """
        return export_run(str(self.path), file, to, **options)
