"""The rules of a run: nested frozen dataclasses that print, save and compare."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args, get_origin

from jft.errors import InputError, nearest

BUNDLED_WEIGHTS = "resnet20-cifar10"

# What a run needs to be carried out, but not what it computes: these may differ
# when a run is resumed, and two runs that differ only here are the same experiment.
LOGISTICS = frozenset({"workdir", "workers", "checkpoint_every"})


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which network is adapted.

    Attributes:
        name: Architecture, such as resnet50, resnext50_32x4d, vgg16_bn or
            resnetv2_50x1_bit. None takes what the weights say they are for.
        width: Channels of the first stage. None keeps the architecture's own, or
            that of a run whose weights these are.
        pooled_head: Leave out the two hidden layers of a VGG's classifier, so that
            the head sees the means of the features. For images of other sizes, and
            a twentieth of the parameters.
    """

    name: str | None = None
    width: int | None = None
    pooled_head: bool = False

    def changed(self, wanted: "ModelConfig") -> "ModelConfig":
        """Return this network with what somebody asks to have otherwise."""
        return ModelConfig(
            name=wanted.name or self.name,
            width=self.width if wanted.width is None else wanted.width,
            pooled_head=wanted.pooled_head or self.pooled_head,
        )


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Random changes to each training image, made on the device.

    Attributes:
        flip: Mirror left-right with probability 1/2.
        crop_padding: Pad every side with this many black pixels, then crop back to
            size at a random place. 0 leaves the image where it is.
    """

    flip: bool = False
    crop_padding: int = 2


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """How the trained parameters move.

    Attributes:
        name: sgd (with momentum) or adamw.
        learning_rate: Peak learning rate.
        schedule: cosine falls to zero over the run, constant stays.
        warmup_epochs: Epochs over which the learning rate first rises linearly from
            zero.
        momentum: Momentum of sgd, in [0, 1).
        weight_decay: Decoupled decay: each step also moves a weight by
            -learning_rate * weight_decay * weight.
        decay_all: Also decay biases and normalisation parameters.
        clip_norm: Scale the trained part's gradient down to at most this global
            norm. None leaves it.
    """

    name: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.05
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_epochs: float = 0.0
    momentum: float = 0.9
    weight_decay: float = 0.0
    decay_all: bool = False
    clip_norm: float | None = None


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Fine-tune a pretrained network on your images.

    Attributes:
        data: What to learn from: digits, or folder:PATH. PATH holds train/ and
            test/ (or val/) with one folder a class, or the class folders alone,
            of which a fixed fifth is then kept for testing.
        weights: Where the network starts: resnet20-cifar10 (comes with jft), a
            checkpoint file or a folder of one, the folder of a run,
            torchvision:NAME, timm:NAME, keras:NAME, bit:NAME, hf:OWNER/REPO,
            https://...#sha256=HEX, or none for random weights. jft.convert --list
            has the names.
        freeze: What stays as it is: none, until:STAGE, first:N (layers in depth
            order), all-but:STAGE, or glob patterns of parameter names separated by
            commas.
        epochs: Passes over the training images.
        batch_size: Images per step, over all devices.
        image_size: Side of the square image the network sees, in pixels. None
            takes the size the weights were trained at.
        label_smoothing: Share of the target spread evenly over all classes.
        seed: Fixes the head's first values, the order of the images and their
            augmentation.
        devices: jit runs on one device, pmap on all of them, auto takes pmap if
            there are several.
        workdir: Folder of the run. None names one in runs/ after what is trained.
        workers: Processes that prepare batches. 0 uses threads.
        checkpoint_every: Steps between checkpoints within an epoch. 0 saves at the
            end of each epoch.
    """

    data: str = "digits"
    weights: str = BUNDLED_WEIGHTS
    model: ModelConfig = field(default_factory=ModelConfig)
    freeze: str = "until:stage2"
    epochs: int = 6
    batch_size: int = 32
    image_size: int | None = None
    label_smoothing: float = 0.1
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    seed: int = 0
    devices: Literal["auto", "jit", "pmap"] = "auto"
    workdir: str | None = None
    workers: int = 0
    checkpoint_every: int = 0


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
    """List what `_build` has no place for, by dotted name."""
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


def _bounds(config: TrainConfig) -> dict[str, tuple[bool, str]]:
    """Return for each number whether it is in its range, and that range in words."""
    optim, width, size = config.optim, config.model.width, config.image_size
    clip, rate, decay = optim.clip_norm, optim.learning_rate, optim.weight_decay
    # Judged only where `epochs` itself is right.
    warm = 0 <= optim.warmup_epochs < max(config.epochs, 1)
    return {
        "epochs": (config.epochs >= 1, "at least 1"),
        "batch_size": (config.batch_size >= 1, "at least 1"),
        "image_size": (size is None or size >= 1, "at least 1 pixel"),
        "label_smoothing": (0 <= config.label_smoothing < 1, "in [0, 1)"),
        "seed": (0 <= config.seed < 2**32, "in [0, 2**32)"),
        "workers": (config.workers >= 0, "at least 0"),
        "checkpoint_every": (config.checkpoint_every >= 0, "at least 0"),
        "model.width": (width is None or width >= 1, "at least 1"),
        "augment.crop_padding": (config.augment.crop_padding >= 0, "at least 0"),
        "optim.learning_rate": (0 < rate < math.inf, "above 0 and finite"),
        "optim.warmup_epochs": (warm, "at least 0 and less than epochs"),
        "optim.momentum": (0 <= optim.momentum < 1, "in [0, 1)"),
        "optim.weight_decay": (0 <= decay < math.inf, "at least 0 and finite"),
        "optim.clip_norm": (clip is None or clip > 0, "above 0"),
    }


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
