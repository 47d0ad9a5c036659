"""From a configuration to the rules of a run: parsed and checked here, once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from jft import config as configs
from jft import tree
from jft.config import ModelConfig, TrainConfig
from jft.data.listing import Dataset
from jft.data.objects import OBJECTS, list_objects
from jft.data.sources import list_data
from jft.data.spec import DataSpec, parse_spec
from jft.errors import InputError
from jft.freeze import norms
from jft.freeze.phases import plan_phases
from jft.models import ModelSpec, configured, get_model
from jft.train.checks import check_sweep, with_decoder
from jft.train.objects import Objects
from jft.weights.find import Found, find_weights
from jft.weights.opened import Opened, open_weights
from jft.weights.published import other_network

if TYPE_CHECKING:
    from jft.devices import Devices
    from jft.preprocess import Preprocess
    from jft.train.phase_rules import PhaseRules

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Rules:
    """A configuration with everything found, parsed and checked.

    Attributes:
        config: The configuration, with the network that the weights are for.
        workdir: The run's folder.
        data: The data, listed.
        weights: The weights, open.
        network: The network, with a decoder if the data has masks.
        preprocess: How pixels become its input.
        devices: Where steps run.
        phases: What each phase trains, in order.
        objects: What is given in Python instead of a setting.
    """

    config: TrainConfig
    workdir: Path
    data: Dataset
    weights: Opened
    network: ModelSpec
    preprocess: Preprocess
    devices: Devices
    phases: tuple[PhaseRules, ...]
    objects: Objects


class Problems:
    """The refusals of a configuration, to be raised together."""

    def __init__(self) -> None:
        """Begin without any."""
        self._errors: list[InputError] = []

    def attempt(self, step: Callable[..., T], *values: Any) -> T | None:
        """Return what a step returns; None, and note the problem, if it refuses."""
        try:
            return step(*values)
        except InputError as error:
            self._errors.append(error)
            return None

    def __bool__(self) -> bool:
        """Return whether there are any."""
        return bool(self._errors)

    def require_none(self) -> None:
        """Raise one error with every problem, if there are any."""
        kinds = {type(error) for error in self._errors}
        if kinds:
            kind = kinds.pop() if len(kinds) == 1 else InputError
            raise kind("\n".join(map(str, self._errors)))


def resolve(
    config: TrainConfig,
    objects: Objects | None = None,
    *,
    checked: Callable[[], None] = lambda: None,
) -> Rules:
    """Find, parse and check everything that a configuration names.

    All checks that do not need JAX run before JAX is imported, and weights
    are downloaded only if nothing else is wrong so far.

    Args:
        config: What a person wrote.
        objects: What is given in Python instead of a setting.
        checked: Called when everything that needs no JAX is found to be right.

    Raises:
        InputError: The configuration, its weights or its data cannot be used; every
            problem found, one after the other.
    """
    config, objects = configs.coerced(config), objects or Objects()
    problems = Problems()
    attempt = problems.attempt
    parts = configs.batch_parts(config)
    attempt(configs.check, config)
    attempt(objects.check, config.data)
    attempt(_check_decay_rules, config.optim.decay_rules)
    if not problems:
        attempt(configs.check_batch, config.batch_size, 1, parts)
    found = attempt(find_weights, config.weights, config.model.name)
    data = attempt(_find_data, config.data, objects)
    name = data_name(data) if data else ""
    opened = None
    if found and found.model is None and not problems:
        opened = attempt(open_weights, found)
    spec = None
    if found and (config.model.name or not problems):
        spec = attempt(_network, config.model, found, opened)
    if data and data.task is None and not problems:
        data = attempt(list_data, data)
    if spec and data and data.task:
        spec = attempt(with_decoder, spec, data.task, config.model.decoder)
    phases = attempt(plan_phases, config, spec) if spec else None
    modes = attempt(norms.parse, config.norm, spec) if spec else None
    if spec and config.image_size:
        attempt(spec.check_size, config.image_size)
    if spec and spec.decoder != "none":
        attempt(_check_crop, config.crop)
    problems.require_none()
    assert found
    assert data
    assert spec
    assert phases
    assert modes is not None
    model = config.model
    if model.name is None:
        model = _stated(model, found, opened)
    config = dataclasses.replace(config, weights=found.name, model=model)
    if objects.train is not None:
        config = dataclasses.replace(config, data=OBJECTS)
    opened = opened or open_weights(found)
    dataset = list_data(data) if isinstance(data, DataSpec) else data

    checked()
    # These import JAX, which takes seconds.
    from jft.devices import get_devices, start_jax
    from jft.train.objective import check_task
    from jft.train.phase_rules import phase_rules

    start_jax()
    devices = get_devices(config.devices)
    attempt(configs.check_batch, config.batch_size, len(devices.devices), parts)
    attempt(check_task, config, dataset.task, objects.task)
    attempt(check_sweep, phases, len(dataset.splits["train"].keys))
    rules = attempt(phase_rules, config, spec, phases, modes)
    problems.require_none()
    assert rules
    return Rules(
        config=config,
        workdir=workdir_of(config, name),
        data=dataset,
        weights=opened,
        network=spec,
        preprocess=opened.preprocess_for(spec, config.image_size, config.crop),
        devices=devices,
        phases=rules,
        objects=objects,
    )


def _check_decay_rules(text: str) -> None:
    tree.parse_rules(text, what="optim.decay_rules")


def _check_crop(crop: str) -> None:
    if crop not in ("auto", "letterbox"):
        raise InputError(
            f"--crop {crop}: images with masks are always used whole (letterbox); "
            "leave --crop out"
        )


def _find_data(text: str, objects: Objects) -> DataSpec | Dataset:
    if objects.train is not None:
        named = getattr(objects.task, "name", None)
        task = named if named in ("classification", "regression") else None
        return list_objects(objects.train, objects.test, task=task)
    if text == OBJECTS:
        raise InputError(
            "this configuration is of a run on data from Python: give jft.fit the data "
            "again, as train= and test=, or set --data"
        )
    data = parse_spec(text)
    data.check()
    return data


def _stated(wanted: ModelConfig, found: Found, opened: Opened | None) -> ModelConfig:
    """Return the network that is wanted; what it leaves open, the weights decide."""
    if opened is not None:
        return opened.network(wanted)
    stated = found.model
    if stated is None:
        return wanted
    if wanted.name not in (None, stated.name):
        raise InputError(other_network(found.name, str(stated.name), str(wanted.name)))
    return stated.changed(wanted)


def _network(wanted: ModelConfig, found: Found, opened: Opened | None) -> ModelSpec:
    if wanted.name:
        get_model(wanted.name)  # an unknown name is refused before other weights
    return configured(_stated(wanted, found, opened))


def data_name(data: DataSpec | Dataset) -> str:
    """Return what a run of this data is called."""
    if isinstance(data, DataSpec):
        return Path(data.path or data.scheme).name or "data"
    # No setting describes the objects.
    return f"{data.name}-{data.fingerprint[:8]}"


def workdir_of(config: TrainConfig, name: str) -> Path:
    """Return the run's folder: by default `runs/DATA-MODEL-FINGERPRINT`."""
    if config.workdir:
        return Path(config.workdir).expanduser()
    fingerprint = configs.fingerprint(config)[:8]
    return Path(f"runs/{name}-{config.model.name}-{fingerprint}")
