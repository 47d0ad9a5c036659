"""Writes what Keras's `load_weights` reads: its `.weights.h5`, and legacy `.h5`.

Keras 3 looks for the tensors of a layer under the layer's class, with the number that
it has among those of its class, and numbers them. In legacy `.h5`, which Keras 2
reads too, it follows two lists of names. Seen in what Keras 3.15 writes. The other
layers of a network, which have no tensors, are left out of both.
"""

from collections import Counter
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from jft.errors import InputError

NUMBERED = ".weights.h5"
"""How names of Keras 3's files end."""

_CLASSES = {4: "conv2d", 2: "dense", 1: "batch_normalization"}
"""Classes of layers, by the dimensions of their first tensor."""


def write_keras(
    path: Path, tensors: Mapping[str, np.ndarray], *, numbered: bool
) -> None:
    """Write the tensors of a network.

    Args:
        path: The file.
        tensors: float32 arrays named `LAYER/LEAF`, in the order of Keras's layers.
        numbered: In the format of Keras 3, where each LEAF is a number.

    Raises:
        OSError: The file cannot be written.
    """
    try:
        import h5py
    except ImportError:
        raise InputError(
            "Keras's files are written with h5py, which is not installed: "
            "python -m pip install '.[keras]'"
        ) from None
    layers = {
        layer: {name.rpartition("/")[2]: tensors[name] for name in names}
        for layer, names in groupby(tensors, lambda name: name.rpartition("/")[0])
    }
    with h5py.File(path, "w") as file:
        (_write_numbered if numbered else _write_named)(file, layers)


def _write_numbered(file: Any, layers: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    counts: Counter[str] = Counter()
    for layer, leaves in layers.items():
        kind = _CLASSES[next(iter(leaves.values())).ndim]
        counted = f"{kind}_{counts[kind]}" if counts[kind] else kind
        counts[kind] += 1
        group = file.create_group(f"layers/{counted}/vars")
        group.attrs["name"] = layer
        for leaf, array in leaves.items():
            group[leaf] = array


def _write_named(file: Any, layers: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    # A file without this is of Keras 1, whose kernels Keras 2 turns around.
    file.attrs["keras_version"] = np.bytes_("2")
    file.attrs["layer_names"] = np.array(list(layers), "S")
    for layer, leaves in layers.items():
        group = file.create_group(layer)
        names = [f"{layer}/{leaf}" for leaf in leaves]
        group.attrs["weight_names"] = np.array(names, "S")
        for name, array in zip(names, leaves.values(), strict=True):
            group[name] = array
