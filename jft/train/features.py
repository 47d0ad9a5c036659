"""Which phases of a run train on kept features."""

from collections import Counter
from functools import cache

from jft.data.sources import Splits
from jft.features.cut import Cut
from jft.features.decide import Choice, Wish, choose, measured
from jft.models.training import TrainMode
from jft.runs.directory import RunDirectory
from jft.train.resolve import Rules
from jft.types import HELD_OUT
from jft.weights.initial import Initialised


def choices(
    rules: Rules, splits: Splits, pretrained: Initialised
) -> tuple[Choice, ...]:
    """Return for each phase whether features are kept, and where.

    Args:
        rules: What the run follows.
        splits: The data.
        pretrained: The network.
    """
    config, network = rules.config, pretrained.model
    cuts = [each.cut(network.stages) for each in rules.phases]
    uses = Counter[Cut | None]()
    for cut, each in zip(cuts, rules.phases, strict=True):
        uses[cut] += each.phase.epochs
    train, test = len(splits.train), len(splits.test)
    held_out = train // HELD_OUT if config.views else 0
    rows = train * max(config.views, 1) + test + held_out
    platform = rules.devices.devices[0].platform

    @cache
    def measure(cut: Cut) -> tuple[tuple[int, ...], int]:
        model = network.clone(mode=TrainMode(dtype=config.dtype))
        return measured(model, pretrained.variables, pretrained.preprocess, cut)

    began = _began(rules)

    def choice(index: int, cut: Cut | None) -> Choice:
        forced = bool(config.views)
        if config.features == "auto" and index < len(began):
            # Features change the last bits: a resumed run goes on as it began, whatever
            # space there is now.
            if began[index] == "off":
                return Choice("off", "the run began without")
            forced = True
        wish = Wish(config.features, forced, rows, uses[cut])
        return choose(wish, rules.no_features, cut, measure, platform)

    return tuple(choice(index, cut) for index, cut in enumerate(cuts))


def _began(rules: Rules) -> list[str]:
    """Return where each phase kept its features when the run was here before."""
    plan = RunDirectory(rules.workdir).read("plan.json") or {}
    return [phase["features"]["where"] for phase in plan.get("phases", ())]
