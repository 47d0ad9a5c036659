"""From a configuration to the rules of a run: parsed and checked here, once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jft import config as configs
from jft import tree
from jft.config import AugmentConfig, ModelConfig, TrainConfig
from jft.data.listing import Dataset
from jft.data.objects import OBJECTS, list_objects
from jft.data.sources import list_data
from jft.data.spec import DataSpec, parse_spec
from jft.errors import InputError, Problems
from jft.features.cut import check as check_features
from jft.features.cut import check_cuts
from jft.freeze import norms
from jft.freeze.phases import Phase, plan_phases
from jft.models import ModelSpec, config_of, configured, get_model
from jft.models.own import PREFIX, OwnModel
from jft.train.checks import check_sweep, check_task, with_decoder
from jft.train.objects import Objects
from jft.weights.find import RANDOM, Found, find_weights
from jft.weights.opened import Opened, open_weights
from jft.weights.published import other_network

if TYPE_CHECKING:
    from jft.devices import Devices
    from jft.preprocess import Preprocess
    from jft.train.phase_rules import PhaseRules


@dataclass(frozen=True, kw_only=True)
class Rules:
    """A configuration with everything found, parsed and checked.

    Attributes:
        config: The configuration, with the network that the weights are for.
        workdir: The run's folder.
        data: The data, listed.
        weights: The weights, open.
        network: The network, with a decoder if the data has masks; or a module of
            one's own.
        preprocess: How pixels become its input.
        devices: Where steps run.
        phases: What each phase trains, in order.
        no_features: Why the features of the frozen part cannot be kept; None if they
            can.
        objects: What is given in Python instead of a setting.
    """

    config: TrainConfig
    workdir: Path
    data: Dataset
    weights: Opened
    network: ModelSpec | OwnModel
    preprocess: Preprocess
    devices: Devices
    phases: tuple[PhaseRules, ...]
    no_features: str | None
    objects: Objects


@dataclass(frozen=True)
class _Named:
    """What the settings of a run name, as far as it is found.

    Attributes:
        data: The data; not listed yet where its task is known without.
        found: The weights.
        opened: The same, open, if they had to say which network they are for.
        network: The network.
        phases: The phases with their freeze rules.
        norms: The mode of each stage that `norm` names.
        decay: The rules of `optim.decay_rules`.
        no_features: As in `Rules`.
    """

    data: DataSpec | Dataset
    found: Found
    opened: Opened | None
    network: ModelSpec | OwnModel
    phases: tuple[Phase, ...]
    norms: dict[str, str]
    decay: tree.Rules
    no_features: str | None


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
    parts, problems = configs.batch_parts(config), Problems()
    problems.attempt(configs.check, config)
    if not problems:
        problems.attempt(configs.check_batch, config.batch_size, 1, parts)
    named = _find(config, objects, problems)
    config = _completed(config, objects, named)
    opened = named.opened or open_weights(named.found)
    data = named.data
    dataset = list_data(data) if isinstance(data, DataSpec) else data

    checked()
    # These import JAX, which takes seconds.
    from jft.devices import get_devices, start_jax
    from jft.train.objective import check_metrics
    from jft.train.phase_rules import phase_rules

    start_jax()
    attempt = problems.attempt
    devices = get_devices(config.devices)
    attempt(configs.check_batch, config.batch_size, len(devices.devices), parts)
    attempt(check_sweep, named.phases, len(dataset.splits["train"].keys))
    chosen = [config.early_stop_metric, *(c.metric for c in objects.callbacks)]
    attempt(check_metrics, chosen, dataset, objects.task)
    phases = attempt(
        phase_rules, config, named.network, named.phases, named.norms, named.decay
    )
    if phases:
        stages = named.network.stages
        cuts = [each.cut(stages) for each in phases]
        attempt(check_cuts, config.features, config.views, cuts)
    preprocess = attempt(_preprocess, opened, named.network, config)
    if preprocess:
        attempt(_check_colours, config.augment, len(preprocess.mean))
    problems.require_none()
    assert phases
    assert preprocess
    return Rules(
        config=config,
        workdir=workdir_of(config, data_name(data)),
        data=dataset,
        weights=opened,
        network=named.network,
        preprocess=preprocess,
        devices=devices,
        phases=phases,
        no_features=named.no_features,
        objects=objects,
    )


def _find(config: TrainConfig, objects: Objects, problems: Problems) -> _Named:
    """Find and parse what the settings name; no JAX, unless weights are a run's."""
    attempt = problems.attempt
    attempt(objects.check, config)
    decay = attempt(_decay_rules, config.optim.decay_rules)
    data = attempt(_find_data, config.data, objects)
    found = opened = spec = no_features = None
    if objects.model is not None:
        found = find_weights(RANDOM)
        spec = attempt(objects.network, config)
    else:
        found = attempt(find_weights, config.weights, config.model.name)
        if found and found.model is None and (found.is_file or not problems):
            opened = attempt(open_weights, found)
        if found and (opened or config.model.name or found.model):
            spec = attempt(_network, config.model, found, opened)
    if data and data.task is None and not problems:
        data = attempt(list_data, data)
    if data and data.task:
        attempt(check_task, config, data.task, objects.task)
        own = objects.model is not None
        no_features = attempt(check_features, config, data.task, own)
        if data.task == "segmentation":
            attempt(_check_crop, config.crop)
        if isinstance(spec, ModelSpec):
            spec = attempt(with_decoder, spec, data.task, config.model.decoder)
    phases = attempt(plan_phases, config, spec) if spec else None
    modes = attempt(norms.parse, config.norm, spec) if spec else None
    if isinstance(spec, ModelSpec) and config.image_size:
        attempt(spec.check_size, config.image_size)
    problems.require_none()
    assert data
    assert found
    assert spec
    assert phases
    assert modes is not None
    assert decay is not None
    return _Named(data, found, opened, spec, phases, modes, decay, no_features)


def _completed(config: TrainConfig, objects: Objects, named: _Named) -> TrainConfig:
    """Return the configuration with the network and the weights that were found."""
    model = config.model
    if isinstance(named.network, OwnModel):
        model = config_of(named.network)
    elif model.name is None:
        model = _stated(model, named.found, named.opened)
    data = config.data if objects.train is None else OBJECTS
    return dataclasses.replace(config, data=data, weights=named.found.name, model=model)


def _preprocess(
    opened: Opened, network: ModelSpec | OwnModel, config: TrainConfig
) -> Preprocess:
    if isinstance(network, OwnModel):
        if (config.model.channels or 3) != len(network.preprocess.mean):
            raise InputError(
                "model.channels is for networks of jft; your module has those of its "
                "preprocess"
            )
        return network.preprocess
    size, crop = config.image_size, config.crop
    return opened.preprocess_for(network, size, crop, config.model)


def _decay_rules(text: str) -> tree.Rules:
    return tree.parse_rules(text, what="optim.decay_rules")


def _check_colours(augment: AugmentConfig, channels: int) -> None:
    if channels == 3:
        return
    if augment.jitter or augment.hue or augment.policy != "none":
        raise InputError(
            "--augment.jitter, .hue and .policy change the colours of RGB images, and "
            f"these have {channels} channel{'s' * (channels > 1)}"
        )


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
    network = str(config.model.name).removeprefix(PREFIX)
    return Path(f"runs/{name}-{network}-{fingerprint}")
