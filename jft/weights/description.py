"""Reads the config.json in a folder or repository of weights."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, cast

from jft.errors import InputError
from jft.preprocess import Crop, Preprocess
from jft.weights.published import check_model
from jft.weights.strict_json import check_length, parse_json

# What transformers' ResNet is: the kind of its blocks and how many per stage.
_TRANSFORMERS = {
    ("basic", (2, 2, 2, 2)): "resnet18",
    ("basic", (3, 4, 6, 3)): "resnet34",
    ("bottleneck", (2, 2, 2, 2)): "resnet26",
    ("bottleneck", (3, 4, 6, 3)): "resnet50",
    ("bottleneck", (3, 4, 23, 3)): "resnet101",
    ("bottleneck", (3, 8, 36, 3)): "resnet152",
}
_WIDTHS = {"basic": [64, 128, 256, 512], "bottleneck": [256, 512, 1024, 2048]}

CROP_MODES: dict[Crop, str] = {
    "centre": "center",
    "squash": "squash",
    "letterbox": "border",
}
"""What timm calls each crop."""

# Pillow's numbers of its filters.
_RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a publisher states about weights; empty or None if unknown.

    Attributes:
        path: The file on this machine, or the index of several; of a run, its folder.
        model: The network, one of `jft.models.MODELS`.
        preprocess: What it expects of images.
        class_names: What the outputs of its head mean.
        licence: The licence of the weights.
        about: Of source, url, licence, labels, top1 (percent) and revision, those
            that are known.
    """

    path: Path = Path()
    model: str | None = None
    preprocess: Preprocess | None = None
    class_names: tuple[str, ...] = ()
    licence: str = ""
    about: Mapping[str, str] = field(default_factory=dict[str, str])


def read_description(folder: Path) -> Description:
    """Read the config.json of timm, or of transformers' ResNet, in a folder.

    Raises:
        InputError: The config is damaged, or is of a network that jft lacks, or of
            pixels that jft cannot prepare.
    """
    config, pixels = folder / "config.json", folder / "preprocessor_config.json"
    found = _read(config, _describe) if config.exists() else Description()
    if found.model and not found.preprocess and pixels.exists():
        found = replace(found, preprocess=_read(pixels, _transformers_pixels))
    return found


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file."""
    try:
        check_length(path.stat().st_size, str(path))
        return parse_json(path.read_bytes(), str(path))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None


_Read = TypeVar("_Read")


def _read(path: Path, describe: Callable[[Mapping[str, Any]], _Read]) -> _Read:
    config = read_json(path)
    try:
        return describe(config)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except KeyError as error:
        raise InputError(f"{path} does not state {error!s:.80}") from None
    except (AttributeError, IndexError, OverflowError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged: {error!s:.200}") from None


def _describe(config: Mapping[str, Any]) -> Description:
    if "architecture" in config:
        return _describe_timm(config)
    kind = config.get("model_type")
    if kind == "resnet":
        return _describe_transformers(config)
    if kind is None:
        return Description()
    raise InputError(
        f"model_type {kind!r:.80}; jft reads the configs of timm and of transformers' "
        "'resnet'"
    )


def _describe_timm(config: Mapping[str, Any]) -> Description:
    # Before 2023 timm wrote the fields of pretrained_cfg next to the others.
    cfg: Mapping[str, Any] = config.get("pretrained_cfg") or config
    channels = int(cfg["input_size"][0]) if "input_size" in cfg else 3
    known = {"in_chans": channels}
    for name, usual in (("global_pool", "avg"), ("model_args", {})):
        value = config.get(name) or usual
        if value not in (usual, known if name == "model_args" else usual):
            raise InputError(f"{name} is {value!r:.80}; jft supports only {usual!r}")
    mode = cfg.get("crop_mode") or "center"
    crops: dict[str, Crop] = {theirs: crop for crop, theirs in CROP_MODES.items()}
    if mode not in crops:
        raise InputError(f"crop_mode is {mode!r:.80}; jft supports {', '.join(crops)}")
    preprocess = Preprocess(
        size=int(cfg["input_size"][-1]),
        interpolation=cfg["interpolation"],
        crop=crops[mode],
        crop_fraction=float(cfg["crop_pct"]),
        mean=_per_channel(cfg["mean"], channels),
        std=_per_channel(cfg["std"], channels),
    )
    names = config.get("label_names") or cfg.get("label_names") or ()
    return Description(
        model=check_model(config["architecture"]),
        preprocess=preprocess,
        class_names=tuple(map(str, names)),
        licence=str(cfg.get("license") or ""),
    )


def _describe_transformers(config: Mapping[str, Any]) -> Description:
    kind, depths = config["layer_type"], tuple(config["depths"])
    usual = {
        "hidden_sizes": _WIDTHS.get(kind),
        "embedding_size": 64,
        "hidden_act": "relu",
        "num_channels": 3,
        "downsample_in_first_stage": False,
        "downsample_in_bottleneck": False,
    }
    for name, value in usual.items():
        if config.get(name, value) != value:
            raise InputError(
                f"{name} is {config[name]!r:.80}; jft supports only {value}"
            )
    if (kind, depths) not in _TRANSFORMERS:
        raise InputError(f"no ResNet has {kind!r:.80} blocks {list(depths)!r:.80}")
    return Description(
        model=check_model(_TRANSFORMERS[kind, depths]),
        class_names=_class_names(config.get("id2label") or {}),
    )


def _transformers_pixels(pixels: Mapping[str, Any]) -> Preprocess:
    """Return what transformers' ConvNext or BiT image processor does."""
    side, fraction, crop = _crop(pixels)
    scale = 255 * float(pixels.get("rescale_factor", 1 / 255))
    if not pixels.get("do_rescale", True) or abs(scale - 1) > 1e-6:
        raise InputError("pixels are not scaled to [0, 1]")
    normalised = pixels.get("do_normalize", True)
    resample = pixels.get("resample", 2)
    return Preprocess(
        size=int(side),
        interpolation=cast(Any, _RESAMPLE.get(resample, f"resample {resample!r:.80}")),
        crop=crop,
        crop_fraction=float(fraction),
        mean=_triple(pixels["image_mean"] if normalised else (0, 0, 0)),
        std=_triple(pixels["image_std"] if normalised else (1, 1, 1)),
    )


def _crop(pixels: Mapping[str, Any]) -> tuple[float, float, Crop]:
    """Return the side that is cut, its fraction of the resized side, and the crop.

    ConvNext's processor states side and fraction, BiT's states both sides.
    """
    size: Any = pixels["size"]
    named: dict[str, Any] = size if isinstance(size, dict) else {"shortest_edge": size}
    squashed = "shortest_edge" not in named
    if squashed and named["height"] != named["width"]:
        raise InputError(f"images are resized to {named!r:.80}; jft makes squares")
    resized = named["height" if squashed else "shortest_edge"]
    how: Crop = "squash" if squashed else "centre"
    if pixels.get("do_center_crop"):
        crop = pixels["crop_size"]
        side = crop["height"] if isinstance(crop, dict) else crop
        return side, side / resized, how
    if squashed or resized >= 384:  # from 384 pixels on, ConvNext's squashes
        return resized, 1.0, "squash"
    return resized, pixels.get("crop_pct") or 224 / 256, how


def _class_names(id2label: Mapping[str, Any]) -> tuple[str, ...]:
    names = tuple(str(id2label[str(i)]) for i in range(len(id2label)))
    # What transformers writes without names.
    made_up = tuple(f"LABEL_{i}" for i in range(len(names)))
    return () if names == made_up else names


def _per_channel(values: Iterable[Any], channels: int) -> tuple[float, ...]:
    if channels == 3:
        return _triple(values)
    return tuple(float(value) for value in values)


def _triple(values: Iterable[Any]) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
