"""The range of every setting."""

import dataclasses
import math
import os
from collections.abc import Mapping
from typing import Any, Literal, cast, get_args, get_origin

from jft.config.compare import flat, from_dict
from jft.config.schema import TrainConfig
from jft.errors import InputError, nearest


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
    width, size = config.model.width, config.image_size
    smoothing, gamma = config.label_smoothing, config.task.focal_gamma
    return {
        "epochs": (config.epochs >= 1, "at least 1"),
        "batch_size": (config.batch_size >= 1, "at least 1"),
        "image_size": (size is None or size >= 1, "at least 1 pixel"),
        "label_smoothing": (smoothing is None or 0 <= smoothing < 1, "in [0, 1)"),
        "dropout": (0 <= config.dropout < 1, "in [0, 1)"),
        "drop_path": (0 <= config.drop_path < 1, "in [0, 1)"),
        "seed": (0 <= config.seed < 2**32, "in [0, 2**32)"),
        "workers": (config.workers >= 0, "at least 0"),
        "checkpoint_every": (config.checkpoint_every >= 0, "at least 0"),
        "early_stop": (config.early_stop >= 0, "at least 0"),
        "early_stop_min_delta": _from_zero(config.early_stop_min_delta),
        "task.focal_gamma": _from_zero(gamma),
        "model.width": (width is None or width >= 1, "at least 1"),
        **_augment_bounds(config),
        **_optim_bounds(config),
    }


def _augment_bounds(config: TrainConfig) -> dict[str, tuple[bool, str]]:
    augment = config.augment
    return {
        "augment.crop_padding": (augment.crop_padding >= 0, "at least 0"),
        "augment.resized_crop": (0 <= augment.resized_crop <= 1, "in [0, 1]"),
        "augment.rotate": (0 <= augment.rotate <= 180, "in [0, 180] degrees"),
        "augment.jitter": (0 <= augment.jitter <= 1, "in [0, 1]"),
        "augment.hue": (0 <= augment.hue <= 0.5, "in [0, 0.5]"),
        "augment.rand_operations": (augment.rand_operations >= 1, "at least 1"),
        "augment.rand_magnitude": (0 <= augment.rand_magnitude <= 30, "in [0, 30]"),
        "augment.erase": (0 <= augment.erase <= 1, "in [0, 1]"),
        "augment.mixup": (0 <= augment.mixup < math.inf, "at least 0 and finite"),
        "augment.cutmix": (0 <= augment.cutmix < math.inf, "at least 0 and finite"),
    }


def _optim_bounds(config: TrainConfig) -> dict[str, tuple[bool, str]]:
    optim = config.optim
    clip, rate = optim.clip_norm, optim.learning_rate
    # Judged only where `epochs` itself is right.
    warm = 0 <= optim.warmup_epochs < max(config.epochs, 1)
    return {
        "optim.learning_rate": (0 < rate < math.inf, "above 0 and finite"),
        "optim.warmup_epochs": (warm, "at least 0 and less than epochs"),
        "optim.drop_factor": (0 < optim.drop_factor < 1, "in (0, 1)"),
        "optim.drop_epochs": (optim.drop_epochs >= 1, "at least 1"),
        "optim.momentum": (0 <= optim.momentum < 1, "in [0, 1)"),
        "optim.weight_decay": _from_zero(optim.weight_decay),
        "optim.l2_sp": _from_zero(optim.l2_sp),
        "optim.sam": _from_zero(optim.sam),
        "optim.layer_decay": (0 < optim.layer_decay <= 1, "in (0, 1]"),
        "optim.ema": (0 <= optim.ema < 1, "in [0, 1)"),
        "optim.clip_norm": (clip is None or clip > 0, "above 0"),
        "optim.accumulate": (optim.accumulate >= 1, "at least 1"),
    }


def _from_zero(value: float) -> tuple[bool, str]:
    return 0 <= value < math.inf, "at least 0 and finite"


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
