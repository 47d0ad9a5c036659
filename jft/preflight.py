"""What is wrong with a configuration, as far as that can be told before JAX starts."""

from collections.abc import Callable

from jft import config as configs
from jft.config import TrainConfig
from jft.data.sources import find_folder
from jft.errors import InputError
from jft.freeze import FreezeSpec
from jft.models import get_model
from jft.weights.hub import find_weights


def check(config: TrainConfig) -> None:
    """Check ranges and names: model, freeze rule, weights, data.

    Raises:
        InputError: Everything found, one problem after the other.
    """
    problems: list[str] = []

    def attempt(step: Callable[..., object], *values: object) -> None:
        try:
            step(*values)
        except InputError as error:
            problems.append(str(error))

    attempt(configs.check, config)
    attempt(get_model, config.model.name)
    attempt(find_weights, config.weights)
    attempt(find_folder, config.data)
    if not problems:
        model = get_model(config.model.name)
        attempt(model.check, model.num_classes, config.model.width)
        attempt(FreezeSpec.parse, config.freeze, model)
    if problems:
        raise InputError("\n".join(problems))
