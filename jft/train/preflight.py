"""What is wrong with a configuration, as far as that can be told before JAX starts."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jft import config as configs
from jft import tree
from jft.config import TrainConfig
from jft.data.spec import parse_spec
from jft.errors import InputError
from jft.freeze import norms
from jft.freeze.phases import plan_phases
from jft.models import ModelSpec, configured
from jft.weights.find import Found, find_weights
from jft.weights.published import other_network


def check(config: TrainConfig) -> TrainConfig:
    """Check ranges and names: network, freeze rule, weights, data.

    Returns:
        The configuration with the name of its network, which may be left to the
        weights; these are then downloaded, if all else is right.

    Raises:
        InputError: Everything found, one problem after the other.
    """
    problems: list[str] = []

    def attempt(step: Callable[..., Any], *values: object) -> Any:
        try:
            return step(*values)
        except InputError as error:
            problems.append(str(error))

    attempt(configs.check, config)
    attempt(_check_decay_rules, config.optim.decay_rules)
    found = attempt(find_weights, config.weights, config.model.name)
    if found:
        config = dataclasses.replace(config, weights=found.name)
    attempt(_check_data, config.data)
    if config.model.name is None and not problems:
        config = with_model(config, found)
    if config.model.name is not None:
        spec = attempt(configured, config.model)
        if spec:
            attempt(plan_phases, config, spec)
            attempt(norms.parse, config.norm, spec)
        if spec and not problems:
            attempt(check_fits, config, spec, found)
    if problems:
        raise InputError("\n".join(problems))
    return config


def _check_decay_rules(rules: str) -> None:
    tree.parse_rules(rules, what="optim.decay_rules")


def _check_data(data: str) -> None:
    parse_spec(data).check()


def with_model(config: TrainConfig, found: Found) -> TrainConfig:
    """Return the configuration with the network that its weights are for.

    Raises:
        InputError: Nothing states it, or the weights cannot be used.
    """
    if found.model:
        model = found.model.changed(config.model)
    else:
        from jft.weights.opened import open_weights

        model = open_weights(found).network(config.model)
    return dataclasses.replace(config, model=model)


def check_fits(config: TrainConfig, spec: ModelSpec, found: Found) -> None:
    """Check the network against the weights' name and the size of the images.

    Raises:
        InputError: The weights are another network's, or too little is left to see.
    """
    if found.model and found.model.name != spec.name:
        raise InputError(other_network(found.name, found.model.name, spec.name))
    if config.image_size is not None:
        spec.check_size(config.image_size)


def workdir_of(config: TrainConfig) -> Path:
    """Return a run's folder: by default `runs/DATA-MODEL-FINGERPRINT`.

    Raises:
        InputError: The form of the data is unknown.
    """
    if config.workdir:
        return Path(config.workdir).expanduser()
    spec = parse_spec(config.data)
    data = Path(spec.place or spec.scheme).name or "data"
    fingerprint = configs.fingerprint(config)[:8]
    return Path(f"runs/{data}-{config.model.name}-{fingerprint}")
