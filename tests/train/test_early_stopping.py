"""Early stopping: when it ends a run, what it restores, and kills in between."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from test_loop import StopAfter, images, rules

from jft import config as configs
from jft import tree
from jft.config import TrainConfig
from jft.errors import InputError
from jft.predict.predictor import Predictor
from jft.train.early_stopping import EarlyStopping, improvement
from jft.train.loop import fit
from jft.train.resolve import resolve

__all__ = ["images", "rules"]  # fixtures


def ends(losses: list[float], **rule: Any) -> int | None:
    """Return after how many epochs a run with these test losses ends."""
    stopping = EarlyStopping(metric="loss", **rule)
    for epoch, loss in enumerate(losses, start=1):
        if stopping.on_epoch({}, {"loss": loss}):
            return epoch
    return None


def test_a_run_ends_after_epochs_without_improvement():
    losses = [1.0, 0.9, 0.95, 0.92, 0.85, 0.9, 0.9, 0.9]
    assert ends(losses, patience=1) == 3
    assert ends(losses, patience=2) == 4
    assert ends(losses, patience=3) == 8
    assert ends(losses, patience=4) is None
    assert ends(losses, patience=3, min_delta=0.06) == 5


def test_a_loss_is_better_the_lower_and_a_score_the_higher():
    assert improvement("loss", {"loss": 0.5}, 0.75) == 0.25
    assert improvement("accuracy", {"accuracy": 0.5}, 0.75) == -0.25


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("acuracy", "has no metric 'acuracy'; did you mean 'accuracy'"),
        ("mIoU", "metrics: auto, loss, accuracy, balanced_accuracy, roc_auc$"),
        ("top5", "classification has no metric 'top5'"),  # there are two classes
    ],
)
def test_an_unknown_metric_is_refused_before_training(
    rules: TrainConfig, name: str, message: str
):
    config = dataclasses.replace(rules, early_stop=1, early_stop_metric=name)
    with pytest.raises(InputError, match=message):
        resolve(config)
    with pytest.raises(InputError, match=message):
        fit(rules, callbacks=[EarlyStopping(1, name)])
    assert not Path(str(rules.workdir)).exists()


@pytest.mark.parametrize("rule", [{"patience": 0}, {"patience": 1, "min_delta": -1.0}])
def test_a_rule_out_of_range_is_an_error(rule: dict[str, Any]):
    with pytest.raises(InputError, match="patience of at least 1 and min_delta"):
        EarlyStopping(**rule)
    with pytest.raises(InputError, match="early_stop must be at least 0, got -1"):
        configs.check(TrainConfig(early_stop=-1))


@pytest.mark.thorough
def test_a_run_keeps_its_best_epoch_and_a_kill_changes_nothing(
    rules: TrainConfig, tmp_path: Path
):
    # No epoch is better than the first by 10: the run ends after the third.
    stopping = dataclasses.replace(
        rules,
        epochs=9,
        early_stop=2,
        early_stop_metric="loss",
        early_stop_min_delta=10.0,
        checkpoint_every=1,
    )
    whole = fit(stopping)
    tested = [r for r in whole.history if r["split"] == "test"]
    assert [record["epoch"] for record in tested] == [1, 2, 3]
    best = min(tested, key=lambda record: record["loss"])
    assert whole.metrics["loss"] == best["loss"]
    final, kept = (
        Predictor.from_run(whole.workdir, which).variables
        for which in ("final", "best")
    )
    assert tree.digest(final) == tree.digest(kept) == whole.params_digest
    result = json.loads((whole.workdir / "result.json").read_text())
    assert result["best"]["epoch"] == best["epoch"]
    broken = dataclasses.replace(stopping, workdir=str(tmp_path / "broken"))
    for step in (4, 6, 8):  # in the middle and at the end of an epoch
        with pytest.raises(RuntimeError, match="crash"):
            fit(broken, callbacks=[StopAfter(step)])
    (tmp_path / "broken" / "result.json").unlink(missing_ok=True)
    again = fit(broken)
    assert again.params_digest == whole.params_digest
    assert again.metrics == whole.metrics
    # Killed after the last epoch, before the result was written.
    (again.workdir / "result.json").unlink()
    assert fit(broken).params_digest == whole.params_digest
