"""Our variables as another library's checkpoint file."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from jft.errors import InputError, StorageError, nearest
from jft.models import MODELS, ModelSpec
from jft.weights.keras.save import NUMBERED, write_keras
from jft.weights.layout import Layout
from jft.weights.names import layouts
from jft.weights.torch.save import write_torch

SUFFIXES = (".safetensors", ".pth", ".pt", ".npz", ".h5")
"""The files that can be written: also torch.save's, NumPy's and Keras's."""


def find_layout(name: str, spec: ModelSpec) -> Layout:
    """Return the layout of that name."""
    valid = {n: layout for layout in layouts(spec) for n in layout.names}
    # What Keras 3 numbers is of use only inside its own containers.
    valid.pop("keras3", None)
    if name not in valid:
        known = MODELS.get(spec.name, spec)
        decoder = "" if spec.decoder == known.decoder else f" with {spec.decoder}"
        raise InputError(
            f"{spec.name}{decoder} has no layout {name!r}{nearest(name, valid)} "
            f"(layouts: {', '.join(valid)})"
        )
    return valid[name]


def layout_in(path: Path, layout: Layout, spec: ModelSpec) -> Layout:
    """Return the layout for a file of that name: Keras 3 numbers its tensors."""
    if path.suffix != ".h5":
        return layout
    has_keras = {n: found for found in layouts(spec) for n in found.names}
    if layout.names != ("keras",):
        hint = "give --to keras" if "keras" in has_keras else "name another file"
        raise InputError(
            f"{path}: .h5 files need the layout keras, not {layout.names[0]}: {hint}"
        )
    return has_keras["keras3"] if path.name.endswith(NUMBERED) else layout


def to_layout(
    variables: Mapping[str, np.ndarray], layout: Layout, spec: ModelSpec
) -> dict[str, np.ndarray]:
    """Return variables under another library's names and in its layout, contiguous.

    Torch counts the batches of each normalisation. jft does not, and writes 0, which
    nothing reads unless momentum is None.
    """
    tensors: dict[str, np.ndarray] = {}
    order = sorted(variables, key=layout.position) if layout.ordered else variables
    for ours in order:
        name, array = layout.name(ours, spec), variables[ours]
        tensors[name] = np.ascontiguousarray(layout.to_theirs(array, ours))
        if layout.torch and ours.endswith("/var"):
            counter = name.replace("running_var", "num_batches_tracked")
            tensors[counter] = np.zeros((), np.int64)
    return tensors


def write_weights(
    path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> None:
    """Write a weights file, completely or not at all; its suffix gives the format.

    Args:
        path: The file: safetensors, torch's (.pth, .pt), NumPy's (.npz), or Keras's
            (.weights.h5, .h5).
        tensors: Contiguous arrays; for Keras's as `layout_in` names them, in order.
        metadata: Notes, which only safetensors has room for.
    """
    if path.suffix not in SUFFIXES:
        raise InputError(
            f"{path}: weights are written to {', '.join(SUFFIXES)} files, "
            f"not {path.suffix or 'without a suffix'}"
        )
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".safetensors":
            # The library closes the file to all but its owner: give usual rights.
            save_file(dict(tensors), part, dict(metadata))
            part.chmod(0o666 & ~_umask())
        elif path.suffix == ".h5":
            write_keras(part, tensors, numbered=path.name.endswith(NUMBERED))
        else:
            with part.open("wb") as file:
                if path.suffix == ".npz":
                    np.savez(file, **cast(Any, tensors))
                else:
                    write_torch(file, tensors)
        os.replace(part, path)
    except (OSError, SafetensorError) as error:
        raise StorageError(f"{path} cannot be written: {error}") from None
    finally:
        part.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
