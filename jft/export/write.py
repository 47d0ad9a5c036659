"""A run's network, or any other, as a file for another library."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from jft import tree
from jft.errors import InputError, nearest
from jft.export.exported import Exported
from jft.export.notes import metadata, origin
from jft.export.timm_config import timm_config
from jft.models import ModelSpec
from jft.models.own import PREFIX
from jft.predict.predictor import Predictor
from jft.runs.directory import RunDirectory, open_run
from jft.runs.saved import ModelCard, load_card
from jft.weights.export import (
    SUFFIXES,
    find_layout,
    layout_in,
    to_layout,
    write_weights,
)
from jft.weights.find import RANDOM
from jft.weights.pretrained import Pretrained, load_pretrained

# A path with another ending is a folder.
FILES = (*SUFFIXES, ".bin", ".keras")

# What each layout's library usually reads.
_SUFFIXES = {
    "torchvision": ".pth",
    "akamaster": ".pth",
    "bit": ".npz",
    "keras": ".weights.h5",
}


def export_run(
    run: str,
    file: str | None = None,
    to: str = "safetensors",
    which: Literal["final", "best"] = "final",
    *,
    alpha: float | None = None,
    weights: str | None = None,
) -> Exported:
    """Write a run's network.

    Args:
        run: The run's folder.
        file: The file to write; by default in the folder of the run. A name without
            suffix is a folder, as timm's on the hub.
        to: One of the names in `jft.weights.names.layouts`.
        which: The final parameters, or those of the best epoch.
        alpha: Weight of the fine-tuned network in [0, 1], for
            `jft.predict.interpolate`; None is the fine-tuned network.
        weights: With alpha, where the pretrained weights are now, if they have moved.

    Raises:
        InputError: The run or its pretrained weights cannot be used, its network has no
            such layout, alpha is outside [0, 1], or the file cannot be written.
    """
    if file in (*_SUFFIXES, "timm", "safetensors"):
        raise InputError(
            f"{file} is the name of a layout: give --to {file} (in Python: to=); "
            f"a folder of that name is ./{file}"
        )
    directory = open_run(run)
    _require_table_network(run, load_card(directory.path / which))
    predictor = Predictor.from_run(run, which, alpha=alpha, weights=weights)
    spec = predictor.spec
    assert isinstance(spec, ModelSpec)
    default = _default(directory, spec, to, alpha)
    path = Path(file).expanduser() if file else default
    notes = origin(directory, which, alpha, predictor.task.score)
    notes["params_digest"] = tree.digest(predictor.variables)
    return replace(_write(predictor, spec, path, to, notes), alpha=alpha)


def _require_table_network(run: str, card: ModelCard) -> None:
    name = str(card.model.name)
    if name.startswith(PREFIX):
        raise InputError(
            f"{run} trained {name.removeprefix(PREFIX)}, a Flax module from Python: "
            "other libraries have no such network. In Python, jft.Run(path, "
            "model=...).predictor().variables has its parameters"
        )


def convert_weights(
    source: str, destination: str, to: str, model: str | None = None
) -> Exported:
    """Rewrite weights in another library's names and layout, with the same values.

    Args:
        source: As `--weights` takes it.
        destination: The file to write, or the folder, as `export_run`.
        to: One of the names in `jft.weights.names.layouts`.
        model: The network; None if the weights name it.

    Raises:
        InputError: The weights cannot be used, or the file cannot be written.
    """
    if source == RANDOM:
        raise InputError("random weights cannot be converted")
    pretrained = load_pretrained(model, source)
    return _write(pretrained, pretrained.spec, Path(destination).expanduser(), to, {})


def _write(
    network: Predictor | Pretrained,
    spec: ModelSpec,
    path: Path,
    to: str,
    notes: dict[str, str],
) -> Exported:
    """Write a network in a layout; a path without suffix is a folder."""
    layout = layout_in(path, find_layout(to, spec), spec)
    folder = _folder(path)
    if folder:
        path = folder / "model.safetensors"
    config = timm_config(network, spec) if folder and to == "timm" else None
    flat = tree.flatten(network.variables)
    variables = {name: np.asarray(leaf) for name, leaf in flat.items()}
    tensors = to_layout(variables, layout, spec)
    write_weights(path, tensors, {**metadata(network, spec, layout), **notes})
    if folder and config:
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    return Exported(path, to, len(tensors), network, spec)


def _folder(path: Path) -> Path | None:
    """Return the folder that a path names; None for a file."""
    if path.suffix in FILES:
        return None
    # A version or a tag, as in resnet50.a1_in1k, is not a suffix.
    if re.fullmatch(r"\.[A-Za-z][A-Za-z0-9]{1,9}", path.suffix) and not path.is_dir():
        raise InputError(
            f"{path}: {path.suffix} files are not written"
            f"{nearest(path.suffix, SUFFIXES)} (files: {', '.join(SUFFIXES)}; a name "
            "without suffix is a folder)"
        )
    return path


def _default(
    directory: RunDirectory, spec: ModelSpec, to: str, alpha: float | None
) -> Path:
    folder = directory.path / "export"
    between = "" if alpha is None else f"-alpha{alpha:g}"
    if to == "timm":
        return folder / f"timm{between}"
    return folder / f"{spec.name}-{to}{between}{_SUFFIXES.get(to, '.safetensors')}"
