import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_loop import images, rules

from jft.config import TrainConfig
from jft.errors import InputError
from jft.train import lr_find
from jft.train.lr_find import (
    FIRST,
    LAST,
    STEPS,
    find_rate,
    plot,
    rate_at,
    smooth,
    steepest,
)
from jft.train.resolve import resolve
from jft.train.setup import prepare

pytestmark = pytest.mark.thorough
__all__ = ["images", "rules"]  # fixtures


def test_the_rate_rises_in_equal_ratios():
    rates = np.array([float(rate_at(i)) for i in range(STEPS)])
    # float32 powers.
    np.testing.assert_allclose(rates, np.geomspace(FIRST, LAST, STEPS), rtol=1e-5)


def test_running_means_are_free_of_their_start():
    values = [3.0, 1.0, 2.0]
    weights = [0.9**2, 0.9, 1.0]
    assert smooth(values)[0] == pytest.approx(3.0)
    assert smooth(values)[2] == pytest.approx(np.average(values, weights=weights))


@pytest.mark.parametrize(
    ("losses", "place"),
    [
        ([5, 5, 4.8, 4, 2, 1.5, 1.4, 9], 3),
        # What falls after the loss has been lowest does not count.
        ([9, 8, 6, 5, 50, 20, 6], 1),
        # Nor does the first tenth, nor is it the lowest point itself.
        ([9, 5, *[5.0] * 10, 4.9, 4.7, 4.6, 3], 14),
    ],
)
def test_the_suggestion_is_where_the_loss_falls_fastest(
    losses: list[float], place: int
):
    assert steepest(losses) == place


@pytest.mark.parametrize("losses", [[1.0] * 20, list(range(1, 20)), [2, 1], []])
def test_a_loss_that_does_not_fall_suggests_nothing(losses: list[float]):
    with pytest.raises(InputError, match="the loss did not fall at any"):
        steepest(losses)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_range_test_stops_where_the_loss_diverges_or_at_its_end(
    rules: TrainConfig, name: str, tmp_path: Path
):
    optim = dataclasses.replace(rules.optim, name=name)
    config = dataclasses.replace(rules, freeze="none", optim=optim)
    setup = prepare(resolve(config))
    found = find_rate(setup)
    assert STEPS // 2 < len(found.losses) <= STEPS
    assert len(found.rates) == len(found.losses) == len(found.smoothed)
    if len(found.losses) < STEPS:
        assert found.smoothed[-1] > lr_find.DIVERGED * min(found.smoothed)
    assert found.suggestion in found.rates
    assert min(found.smoothed) < found.smoothed[0] - 0.05
    path = tmp_path / "plot.png"
    plot(found, path)
    with Image.open(path) as image:
        assert min(image.size) > 300
        assert len(set(image.convert("L").tobytes())) > 20
    # The run itself has not begun.
    assert int(setup.state.step) == 0
