"""Configurations as dictionaries, fingerprints and differences."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any, cast, get_args

from jft.config.schema import TrainConfig
from jft.errors import InputError, nearest

# What a run needs to be carried out, but not what it computes: these may differ
# when a run is resumed, and two runs that differ only here are the same experiment.
LOGISTICS = frozenset({"workdir", "workers", "cache", "features", "checkpoint_every"})


def to_dict(config: TrainConfig) -> dict[str, Any]:
    """Return the configuration as nested dictionaries that JSON can hold."""
    return dataclasses.asdict(config)


def from_dict(values: Mapping[str, Any]) -> TrainConfig:
    """Rebuild a configuration from `to_dict`'s result.

    Raises:
        InputError: Every key that is not a setting, one a line.
    """
    strangers = _strangers(TrainConfig, values)
    if strangers:
        raise InputError("\n".join(sorted(strangers)))
    return _build(TrainConfig, values)


def _build(kind: Any, values: Mapping[str, Any]) -> Any:
    fields = {field.name: field.type for field in dataclasses.fields(kind)}
    return kind(
        **{
            name: _build(fields[name], value)
            if dataclasses.is_dataclass(fields[name])
            else value
            for name, value in values.items()
        }
    )


def _strangers(kind: Any, values: Any, prefix: str = "") -> list[str]:
    """List the keys that are not settings, by dotted name."""
    if not isinstance(values, Mapping):
        name = prefix.rstrip(".") or "the configuration"
        return [f"{name} must be a group of settings, got {values!r}"]
    fields = {field.name: field.type for field in dataclasses.fields(kind)}
    found: list[str] = []
    for name, value in cast(Mapping[str, Any], values).items():
        if name not in fields:
            found.append(f"{prefix}{name} is not a setting{nearest(name, fields)}")
        elif dataclasses.is_dataclass(fields[name]):
            found += _strangers(fields[name], value, f"{prefix}{name}.")
    return found


def flat(config: Any, prefix: str = "") -> dict[str, Any]:
    """Return every setting under its dotted name, as the command line spells it."""
    found: dict[str, Any] = {}
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            found |= flat(value, f"{prefix}{item.name}.")
        else:
            # An int given for a float is the same setting, also to the fingerprint.
            number = float in (item.type, *get_args(item.type))
            whole = number and type(value) is int
            found[prefix + item.name] = float(value) if whole else value
    return found


def rules(config: TrainConfig) -> dict[str, Any]:
    """Return the settings that decide what is computed: all but `LOGISTICS`."""
    return {k: v for k, v in flat(config).items() if k not in LOGISTICS}


def fingerprint(config: TrainConfig) -> str:
    """Return a hex sha256 that is equal for configurations of the same experiment."""
    text = json.dumps(rules(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def difference(old: TrainConfig, new: TrainConfig) -> list[str]:
    """Return a line for each rule in which two configurations differ.

    >>> difference(TrainConfig(), TrainConfig(epochs=9, workers=2))
    ['epochs: 6 -> 9']
    """
    before, after = rules(old), rules(new)
    return [
        f"{name}: {before[name]} -> {after[name]}"
        for name in before
        if before[name] != after[name]
    ]
