"""The range of every setting."""

import dataclasses
import math
import os
from collections.abc import Callable, Mapping
from typing import Any, Literal, cast, get_args, get_origin

from jft.config.compare import flat, from_dict
from jft.config.schema import TrainConfig
from jft.errors import InputError, nearest
from jft.preprocess import CHANNELS

# Each range in words, its test, and the settings in it.
RANGES: tuple[tuple[str, Callable[[float], bool], str], ...] = (
    (
        "at least 1",
        lambda x: x >= 1,
        "epochs batch_size model.width augment.rand_operations optim.drop_epochs "
        "optim.accumulate",
    ),
    ("at least 1 pixel", lambda x: x >= 1, "image_size"),
    (f"from 1 to {CHANNELS}", lambda x: 1 <= x <= CHANNELS, "model.channels"),
    (
        "at least 0",
        lambda x: x >= 0,
        "workers views checkpoint_every skip_nonfinite early_stop augment.crop_padding",
    ),
    (
        "at least 0 and finite",
        lambda x: 0 <= x < math.inf,
        "early_stop_min_delta task.focal_gamma augment.mixup augment.cutmix "
        "optim.weight_decay optim.l2_sp optim.sam",
    ),
    ("above 0", lambda x: x > 0, "optim.clip_norm"),
    ("above 0 and finite", lambda x: 0 < x < math.inf, "optim.learning_rate"),
    (
        "in [0, 1)",
        lambda x: 0 <= x < 1,
        "label_smoothing dropout drop_path optim.momentum optim.ema",
    ),
    (
        "in [0, 1]",
        lambda x: 0 <= x <= 1,
        "augment.resized_crop augment.jitter augment.erase",
    ),
    ("in (0, 1)", lambda x: 0 < x < 1, "optim.drop_factor"),
    ("in (0, 1]", lambda x: 0 < x <= 1, "optim.layer_decay"),
    ("in [0, 0.5]", lambda x: 0 <= x <= 0.5, "augment.hue"),
    ("in [0, 30]", lambda x: 0 <= x <= 30, "augment.rand_magnitude"),
    ("in [0, 180] degrees", lambda x: 0 <= x <= 180, "augment.rotate"),
    ("in [0, 2**32)", lambda x: 0 <= x < 2**32, "seed"),
)


def check(config: TrainConfig) -> None:
    """Check the range of every setting.

    Raises:
        InputError: Every setting out of its range, one a line.
    """
    mistyped = _mistyped(config)
    if mistyped:
        raise InputError("\n".join(mistyped))
    values = flat(config)
    problems = [
        f"{name} must be {valid}, got {values[name]!r}"
        for name, (ok, valid) in {**_bounds(config), **_choices(config)}.items()
        if not ok
    ]
    if problems:
        raise InputError("\n".join(problems))


def check_batch(
    size: int, devices: int = 1, parts: Mapping[str, int] | None = None
) -> None:
    """Check that a batch divides evenly over devices, and into parts on each.

    Args:
        size: Images per batch.
        devices: Devices that it is divided over.
        parts: How many equal parts the images of a device make, by the setting that
            asks for it; see `batch_parts`.
    """
    if size < 1:
        raise InputError(f"batch_size must be at least 1, got {size}")
    for setting, count in {"": 1, **(parts or {})}.items():
        divisor = max(count, 1) * devices
        if size % divisor:
            below, above = size // divisor * divisor, -(-size // divisor) * divisor
            near = f"{below} or {above}" if below else f"{above}"
            on = f" on {devices} devices" if devices > 1 else ""
            alone = ", or --devices jit" if devices > 1 else ""
            raise InputError(
                f"batch_size must be a multiple of {divisor}{on}"
                f"{setting and f' for {setting}'}, got {size}: use {near}{alone}"
            )


def batch_parts(config: TrainConfig) -> dict[str, int]:
    """Return into how many equal parts a device's images are divided, by setting."""
    pairs = 2 if config.augment.mixup > 0 or config.augment.cutmix > 0 else 1
    return {
        "optim.accumulate": config.optim.accumulate,
        "mixup and cutmix (pairs of images)": pairs,
    }


def coerced(config: Any) -> TrainConfig:
    """Return a configuration whose values have the declared types.

    Paths become text, and mappings become groups of settings.

    Raises:
        InputError: A value does not fit its setting, or this is not a configuration.
    """
    if isinstance(config, Mapping):
        return coerced(from_dict(cast(Mapping[str, Any], config)))
    if not isinstance(config, TrainConfig):
        raise InputError(
            f"the configuration must be a jft.TrainConfig, got {type(config).__name__}"
        )
    values: dict[str, Any] = {}
    for name, value in vars(config).items():
        if isinstance(value, os.PathLike):
            values[name] = os.fspath(cast(os.PathLike[str], value))
        elif isinstance(value, Mapping):
            values[name] = getattr(from_dict({name: value}), name)
    config = dataclasses.replace(config, **values)
    mistyped = _mistyped(config)
    if mistyped:
        raise InputError("\n".join(mistyped))
    return config


def _bounds(config: TrainConfig) -> dict[str, tuple[bool, str]]:
    """Return for each number whether it is in its range, and that range in words."""
    found = {
        name: (value is None or valid(value), words)
        for words, valid, names in RANGES
        for name, value in flat(config).items()
        if name in names.split()
    }
    # Judged only where `epochs` itself is right.
    warm = 0 <= config.optim.warmup_epochs < max(config.epochs, 1)
    return found | {"optim.warmup_epochs": (warm, "at least 0 and less than epochs")}


def _mistyped(config: Any, prefix: str = "") -> list[str]:
    """List settings whose value is not of the type that is written there."""
    found: list[str] = []
    for item in dataclasses.fields(config):
        value, name = getattr(config, item.name), prefix + item.name
        if dataclasses.is_dataclass(item.type) and isinstance(
            value, cast(type, item.type)
        ):
            found += _mistyped(value, f"{name}.")
        elif get_origin(item.type) is not Literal:
            kinds = cast(tuple[type, ...], get_args(item.type) or (item.type,))
            accepted = (*kinds, int) if float in kinds else kinds
            if type(value) not in accepted:
                names = (getattr(kind, "__name__", str(kind)) for kind in kinds)
                valid = " or ".join(names).replace("NoneType", "None")
                found.append(f"{name} must be {valid}, got {value!r}")
    return found


def _choices(config: Any, prefix: str = "") -> dict[str, tuple[bool, str]]:
    """Return for each setting with named values whether it has one, and the values."""
    found: dict[str, tuple[bool, str]] = {}
    for item in dataclasses.fields(config):
        value, kind = getattr(config, item.name), item.type
        if dataclasses.is_dataclass(value):
            found |= _choices(value, f"{prefix}{item.name}.")
        elif get_origin(kind) is Literal:
            valid = " or ".join(get_args(kind)) + nearest(str(value), get_args(kind))
            found[prefix + item.name] = (value in get_args(kind), valid)
    return found
