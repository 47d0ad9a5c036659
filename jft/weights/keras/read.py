"""Names what Keras saves: `.weights.h5`, `.keras`, and legacy `.h5`.

A tensor has the name of its layer and its own. Old files have both, in
`conv1_conv/conv1_conv/kernel:0`. Keras 3 counts the layers of a class and the tensors
of a layer, `layers/conv2d_1/vars/0`, and notes the layer's name next to it (since 3.10)
or in the `.keras` archive's configuration. Seen in what Keras 3.15 writes, and in the
files of keras.applications.
"""

import re
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any

from jft.errors import InputError
from jft.weights.hdf5.read import objects
from jft.weights.lazy import Contents, Reader
from jft.weights.ranges import FileRange
from jft.weights.strict_json import check_length, parse_json
from jft.weights.zip_archive import ZipArchive

WEIGHTS_MEMBER = "model.weights.h5"
"""Where a `.keras` archive has its tensors."""

_CONFIG_MEMBER = "config.json"
_SKIPPED = (
    *("optimizer", "optimizer_weights", "top_level_model_weights"),
    "model_weights/top_level_model_weights",
)
# What Keras 3, and TensorFlow's Keras from 2.12, put between the names.
_BETWEEN = ("layers", "_layer_checkpoint_dependencies", "vars")
# VGG16 of 2016 has `block1_conv1_W_1:0` in the group `block1_conv1`.
_OLD_LEAVES = {"W": "kernel", "b": "bias"}


def read_keras(file: FileRange, names: Mapping[str, str] | None = None) -> Contents:
    """Find every tensor of a Keras HDF5 file except the optimizer's.

    They are named `conv1_conv/kernel`; for Keras 3 `conv1_conv/0`, or `conv2d_1/0` if
    the layer's name is neither in the file nor in `names`.
    """
    layers = dict(names or {})
    readers: dict[str, Reader] = {}
    for found in objects(file, _SKIPPED):
        groups = found.path.split("/")
        modern = groups[0] in _BETWEEN
        if found.is_dataset:
            name = _modern_name(groups, layers) if modern else _legacy_name(groups)
            if name in readers:
                raise InputError(f"contains two tensors named {name!r:.200}")
            dtype, shape, data = found.dataset()
            readers[name] = partial(data.array, dtype, shape)
        elif modern and (own := found.text("name")):
            layers[_layer(groups)] = own
    return Contents(readers, {})


def read_keras_archive(archive: ZipArchive) -> Contents:
    """Find every tensor of a `.keras` archive, named like those of `.weights.h5`."""
    names: dict[str, str] = {}
    if _CONFIG_MEMBER in archive.members:
        config = archive.stored(_CONFIG_MEMBER)
        what = f"its {_CONFIG_MEMBER}"
        check_length(config.size, what)
        names = _configured(parse_json(config.read(0, config.size), what))
    return read_keras(archive.stored(WEIGHTS_MEMBER), names)


def _layer(groups: list[str]) -> str:
    return "/".join(group for group in groups if group not in _BETWEEN)


def _modern_name(groups: list[str], layers: Mapping[str, str]) -> str:
    *inside, leaf = groups
    layer = _layer(inside)
    # The model itself may have tensors too.
    return f"{layers.get(layer, layer)}/{leaf}" if layer else leaf


def _legacy_name(groups: list[str]) -> str:
    *inside, leaf = groups
    leaf = re.sub(r":\d+$", "", leaf)
    if not inside:
        return leaf
    old = re.fullmatch(rf"{re.escape(inside[-1])}_([A-Za-z_]+?)(_\d+)?", leaf)
    leaf = _OLD_LEAVES.get(old[1], old[1]) if old else leaf
    return f"{inside[-1]}/{leaf}"


def _configured(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the layers' names by those that Keras gives them in its files.

    It counts the layers of each class: `conv2d`, `conv2d_1`. A model that is not a
    chain or graph of layers has no list of them.
    """
    names: dict[str, str] = {}
    counts: Counter[str] = Counter()
    try:
        for layer in config["config"]["layers"]:
            kind = _snake_case(layer["class_name"])
            counted = f"{kind}_{counts[kind]}" if counts[kind] else kind
            names[counted] = str(layer["config"]["name"])
            counts[kind] += 1
    except (LookupError, TypeError):
        return {}
    return names


def _snake_case(name: str) -> str:
    """Spell a class as Keras does in its files: `BatchNormalization`, `Conv2D`.

    >>> _snake_case("BatchNormalization"), _snake_case("Conv2D")
    ('batch_normalization', 'conv2d')
    """
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
