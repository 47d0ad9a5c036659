"""Weights that a publisher provides: the table that comes with jft."""

import csv
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from importlib import resources
from types import MappingProxyType
from typing import Any, cast

from jft.errors import InputError, nearest
from jft.models import MODELS
from jft.preprocess import CAFFE, INCEPTION, Preprocess

_PIXELS = {"imagenet": Preprocess(), "inception": INCEPTION, "caffe": CAFFE}

# The labels of PASCAL VOC, in the order in which torchvision's networks put them out.
_VOC = (
    *("__background__", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus"),
    *("car", "cat", "chair", "cow", "diningtable", "dog", "horse", "motorbike"),
    *("person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)

# Which weights a network starts from by default; the first that exist.
_DEFAULTS = (
    r"torchvision:\w+/\w+_V\d+",
    r"keras:\w+",
    r"bit:M-R\d+x\d",
    r"timm:\w+d\.(ra2|bt)_in1k",
)


@dataclass(frozen=True, kw_only=True)
class Published:
    """Weights that a publisher provides.

    Attributes:
        name: What `--weights` calls them, `torchvision:resnet50/IMAGENET1K_V2`.
        model: The network they are for, one of `jft.models.MODELS`.
        file: Their https address, or `hf:OWNER/REPO[@REVISION]`.
        digest: `sha256:HEX` (perhaps its first digits) or `md5:HEX`; empty if their
            publisher states none.
        licence: Their licence.
        top1: Accuracy on the validation images of ImageNet-1k in percent, as their
            publisher states it.
        labels: The classes of their head: imagenet-1k, imagenet-21k, voc, ...
        preprocess: What they expect of images.
    """

    name: str
    model: str
    file: str
    digest: str
    licence: str
    top1: float | None
    labels: str
    preprocess: Preprocess

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the outputs of their head; empty where jft has none."""
        return _VOC if self.labels == "voc" else ()


@functools.cache
def published() -> Mapping[str, Published]:
    """Return the weights that jft knows by name, in the order of the table."""
    return read_table((resources.files("jft.weights") / "published.csv").read_text())


def by_file_name(name: str) -> Published | None:
    """Return the published weights that come in a file of that name, if any."""
    found = [p for p in published().values() if p.file.endswith(f"/{name}")]
    # Repositories on the hub all call their file the same.
    return found[0] if len(found) == 1 and found[0].file.startswith("https:") else None


def default_weights(model: str) -> str | None:
    """Return the name of the weights that a network usually starts from, if any.

    torchvision's newest; else those of Keras for its own networks, BiT-M, which its
    paper transfers from, or the default tag of timm 1.0.
    """
    names = [name for name, row in published().items() if row.model == model]
    for pattern in _DEFAULTS:
        if fitting := [name for name in names if re.fullmatch(pattern, name)]:
            return max(fitting, key=lambda name: (len(name), name))
    return None


def list_weights(pattern: str = "") -> list[str]:
    """Return the names of published weights that contain a text, or match a pattern.

    Args:
        pattern: As for `list_models`; it may also fit the name of the network.

    >>> list_weights("torchvision:resnet50*")
    ['torchvision:resnet50/IMAGENET1K_V1', 'torchvision:resnet50/IMAGENET1K_V2']
    """
    return [
        name
        for name, row in published().items()
        if _matches(name, pattern) or _matches(row.model, pattern)
    ]


def list_models(pattern: str = "") -> list[str]:
    """Return the names of networks that contain a text, or match a pattern.

    Args:
        pattern: Text in the name; with `*`, `?` or `[...]`, a pattern of the whole
            name. Empty for all.

    >>> list_models("vgg1?_bn")
    ['vgg11_bn', 'vgg13_bn', 'vgg16_bn', 'vgg19_bn']
    >>> list_models("deeplab")
    ['deeplabv3_resnet50', 'deeplabv3_resnet101']
    """
    return [name for name in MODELS if _matches(name, pattern)]


def _matches(name: str, pattern: str) -> bool:
    if not isinstance(cast(Any, pattern), str):
        raise InputError(f"a pattern of names must be text, got {pattern!r:.80}")
    whole = any(character in pattern for character in "*?[")
    return fnmatchcase(name, pattern) if whole else pattern in name


def read_table(text: str) -> Mapping[str, Published]:
    """Return the rows of a table of weights, given as CSV, by their names."""
    rows = (_published(row) for row in csv.DictReader(text.splitlines()))
    return MappingProxyType({row.name: row for row in rows})


def _published(row: dict[str, str]) -> Published:
    preprocess = replace(
        _PIXELS[row.pop("pixels")],
        size=int(row.pop("size")),
        interpolation=cast(Any, row.pop("interpolation")),
        crop_fraction=float(row.pop("crop_fraction")),
    )
    top1 = row.pop("top1")
    return Published(top1=float(top1) if top1 else None, preprocess=preprocess, **row)


def check_model(name: str) -> str:
    """Check that jft has a network of this name, and return the name."""
    if name not in MODELS:
        raise InputError(f"jft has no network {name!r:.80}{nearest(str(name), MODELS)}")
    return name


def other_network(weights: str, stated: str | None, name: str) -> str:
    """Return the message for weights of another network than the one named."""
    return (
        f"{weights} has weights of {stated}, not of {name}: choose that network with "
        "--model.name, or other weights with --weights"
    )
