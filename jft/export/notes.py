"""The metadata of an exported safetensors file."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jft
from jft import config as configs
from jft.data.objects import OBJECTS
from jft.data.spec import parse_spec
from jft.export.exported import WORDS
from jft.models import ModelSpec, config_of
from jft.predict.predictor import Predictor
from jft.runs.directory import RunDirectory
from jft.tasks import to_dict
from jft.weights.find import is_name
from jft.weights.layout import Layout
from jft.weights.pretrained import Pretrained


def metadata(
    network: Predictor | Pretrained, spec: ModelSpec, layout: Layout
) -> dict[str, str]:
    """Return the network and its task, as `open_weights` reads them."""
    model = config_of(spec)
    task = network.task
    return {
        "model": spec.name,
        **({"width": str(model.width)} if model.width else {}),
        **({"pooled_head": "true"} if model.pooled_head else {}),
        **({"decoder": model.decoder} if model.decoder != "auto" else {}),
        **({"task": json.dumps(to_dict(task))} if task else {}),
        **({"outputs": WORDS[task.name].meaning} if task else {}),
        "class_names": json.dumps(network.class_names),
        "preprocess": json.dumps(asdict(network.preprocess)),
        "jft": jft.__version__,
        # Without it transformers refuses a file.
        **({"format": "pt"} if layout.torch else {}),
    }


def origin(
    directory: RunDirectory, which: str, alpha: float | None, score: str
) -> dict[str, str]:
    """Return the recipe of the weights, and their score."""
    notes = {"recipe": json.dumps(_recipe(directory))}
    if alpha is not None:
        # No epoch of the run has measured such a network.
        return {**notes, "interpolated": str(alpha)}
    if directory.read("result.json") is None:
        return notes
    keys = ("best", score) if which == "best" else (score,)
    measured = directory.value("result.json", *keys)
    if measured is None:
        return notes
    images = str(directory.value("result.json", "n"))
    return {**notes, score: f"{measured:.4f}", "test_images": images}


def _recipe(directory: RunDirectory) -> dict[str, Any]:
    """Return the configuration of the run, without the folders of its machine."""
    recipe: dict[str, Any] = configs.to_dict(directory.config())
    recipe["workdir"] = None
    recipe["data"] = _without_folders(recipe["data"])
    if not is_name(recipe["weights"]):
        recipe["weights"] = Path(recipe["weights"]).name
    return recipe


def _without_folders(data: str) -> str:
    """Return the value of `--data` with only the last part of each path."""
    if data == OBJECTS:
        return data
    spec = parse_spec(data)
    name = f":{Path(spec.path).name}" if spec.path else ""
    options = "&".join(f"{k}={Path(v).name or v}" for k, v in spec.options.items())
    return f"{spec.scheme}{name}{'?' if options else ''}{options}"
