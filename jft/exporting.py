"""A run's network as a file for another library, with what travels along."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

import jft
from jft import tree
from jft.config import ModelConfig
from jft.errors import InputError
from jft.inference import Predictor
from jft.models import MODELS, ModelSpec, config_of
from jft.models.variants import GRID, VGGVariant
from jft.preprocess import Preprocess
from jft.pretrained import Pretrained, load_pretrained
from jft.runlog import RunDirectory, open_run
from jft.weights.export import SUFFIXES, find_layout, to_layout, write_weights
from jft.weights.hub import RANDOM, is_name
from jft.weights.layout import Layout
from jft.weights.published import published

# A path with another ending is a folder.
FILES = (*SUFFIXES, ".bin", ".h5", ".keras")

# What each layout's library usually reads.
_SUFFIXES = {"torchvision": ".pth", "akamaster": ".pth", "bit": ".npz"}


@dataclass(frozen=True)
class Exported:
    """What was written; as text, also how it is loaded.

    Attributes:
        file: The weights.
        layout: The name of their layout.
        model: The network.
        usual: Whether it is as published, of its own width and with all its layers.
        tensors: How many there are.
        preprocess: What the network expects of images.
        num_classes: Outputs of its head.
        class_names: What they mean; empty if unknown.
        share: How far it lies from the pretrained network to the fine-tuned one; None
            if it is not between them.
    """

    file: Path
    layout: str
    model: str
    usual: bool
    tensors: int
    preprocess: Preprocess
    num_classes: int
    class_names: tuple[str, ...]
    share: float | None = None

    def __str__(self) -> str:
        """Return lines for a person who is about to load the file."""
        shown = ": " + ", ".join(self.class_names[:8]) if self.class_names else ""
        more = ", ..." if len(self.class_names) > 8 else ""
        lines = [
            f"{self.file}: {self.model}, {self.tensors} tensors, {self.layout} layout",
            f"pixels    {self.preprocess}",
            f"classes   {self.num_classes}{shown}{more}",
        ]
        if self.share is not None:
            lines.append(f"share     {self.share:g} (0 is pretrained, 1 fine-tuned)")
        return "\n".join([*lines, *(f"load      {line}" for line in self._loading())])

    def _loading(self) -> list[str]:
        file, count = self.file, self.num_classes
        if self.layout == "safetensors" and file.suffix == ".safetensors":
            return [f"python -m jft.train --weights {file} --data folder:IMAGES"]
        if not self.usual:
            return []
        theirs = f"torchvision:{self.model}/"
        there = any(name.startswith(theirs) for name in published())
        if self.layout == "torchvision" and there and file.suffix == ".pth":
            models, options = "torchvision.models", f"num_classes={count}"
            if MODELS[self.model].decoder != "none":
                models += ".segmentation"
                options += ", weights_backbone=None, aux_loss=False"
            return [
                f"net = {models}.{self.model}({options})",
                f'net.load_state_dict(torch.load("{file}", weights_only=True))',
            ]
        if self.layout == "timm" and file.name == "model.safetensors":
            return [f'timm.create_model("local-dir:{file.parent}", pretrained=True)']
        return []


def export_run(
    run: str,
    file: str | None = None,
    to: str = "safetensors",
    which: Literal["final", "best"] = "final",
    *,
    share: float | None = None,
) -> Exported:
    """Write a run's network.

    Args:
        run: The run's folder.
        file: What to write; None names it in the run's folder. A name without suffix
            is a folder, as timm's on the hub.
        to: One of the names in `jft.weights.names.layouts`.
        which: The final parameters, or those of the best epoch.
        share: How far to go from the pretrained network to these, in [0, 1], by
            `jft.interpolate`; None takes them as they are.

    Raises:
        InputError: The run or its pretrained weights cannot be used, its network has no
            such layout, the share is outside its range, or the file cannot be written.
    """
    directory = open_run(run)
    predictor = Predictor.from_run(run, which, share=share)
    default = _default(directory, predictor.spec, to, share)
    path = Path(file).expanduser() if file else default
    notes = _origin(directory, which, share, predictor.task.score)
    notes["params_digest"] = tree.digest(predictor.variables)
    return replace(_write(predictor, path, to, notes), share=share)


def convert_weights(
    source: str, destination: str, to: str, model: str | None = None
) -> Exported:
    """Rewrite weights in another library's names and layout, values untouched.

    Args:
        source: As `--weights` takes it.
        destination: The file to write, or the folder, as `export_run`.
        to: One of the names in `jft.weights.names.layouts`.
        model: The network; None takes what the weights say.

    Raises:
        InputError: The weights cannot be used, or the file cannot be written.
    """
    if source == RANDOM:
        raise InputError("there is nothing to convert in random weights")
    pretrained = load_pretrained(model, source)
    return _write(pretrained, Path(destination).expanduser(), to, {})


def _write(
    network: Predictor | Pretrained, path: Path, to: str, notes: dict[str, str]
) -> Exported:
    """Write a network in a layout; a path without suffix is a folder."""
    spec = network.spec
    layout = find_layout(to, spec)
    folder = None if path.suffix in FILES else path
    if folder:
        path = folder / "model.safetensors"
    config = timm_config(network) if folder and to == "timm" else None
    flat = tree.flatten(network.variables)
    variables = {name: np.asarray(leaf) for name, leaf in flat.items()}
    tensors = to_layout(variables, layout, spec)
    write_weights(path, tensors, {**_metadata(network, layout), **notes})
    if folder and config:
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    return Exported(
        file=path,
        layout=to,
        model=spec.name,
        usual=config_of(spec) == ModelConfig(name=spec.name),
        tensors=len(tensors),
        preprocess=network.preprocess,
        num_classes=network.model.num_classes,
        class_names=network.class_names,
    )


def _default(
    directory: RunDirectory, spec: ModelSpec, to: str, share: float | None
) -> Path:
    folder = directory.path / "export"
    between = "" if share is None else f"-share{share:g}"
    if to == "timm":
        return folder / f"timm{between}"
    return folder / f"{spec.name}-{to}{between}{_SUFFIXES.get(to, '.safetensors')}"


def _metadata(network: Predictor | Pretrained, layout: Layout) -> dict[str, str]:
    """Return what a safetensors file says of itself, for `open_weights`."""
    model = config_of(network.spec)
    return {
        "model": network.spec.name,
        **({"width": str(model.width)} if model.width else {}),
        **({"pooled_head": "true"} if model.pooled_head else {}),
        **({"decoder": model.decoder} if model.decoder != "auto" else {}),
        "class_names": json.dumps(network.class_names),
        "preprocess": json.dumps(asdict(network.preprocess)),
        "jft": jft.__version__,
        # Without it transformers refuses a file.
        **({"format": "pt"} if layout.torch else {}),
    }


def _origin(
    directory: RunDirectory, which: str, share: float | None, score: str
) -> dict[str, str]:
    """Return how the weights came to be, and how good they were then."""
    notes = {"recipe": json.dumps(_recipe(directory))}
    if share is not None:
        # No epoch of the run has measured such a network.
        return {**notes, "interpolated": str(share)}
    tests = [r for r in directory.metrics() if r["split"] == "test"]
    if not tests:
        return notes
    best = max(tests, key=lambda record: record[score])
    measured = best if which == "best" else tests[-1]
    return {
        **notes,
        score: f"{measured[score]:.4f}",
        "test_images": str(measured["n"]),
    }


def _recipe(directory: RunDirectory) -> dict[str, Any]:
    """Return the run's rules, without where things lay on the machine that trained."""
    recipe = directory.read("config.json") | {"workdir": None}
    scheme, _, place = recipe["data"].partition(":")
    recipe["data"] = f"{scheme}:{Path(place).name}" if place else scheme
    if not is_name(recipe["weights"]):
        recipe["weights"] = Path(recipe["weights"]).name
    return recipe


def timm_config(network: Predictor | Pretrained) -> dict[str, Any]:
    """Return the config.json that timm and the Hugging Face hub read.

    Raises:
        InputError: timm cannot express how the network takes its pixels.
    """
    spec, preprocess = network.spec, network.preprocess
    if preprocess.channels != "rgb" or preprocess.pixel_max != 1:
        raise InputError(
            f"{spec.name} takes {preprocess.channels} pixels up to "
            f"{preprocess.pixel_max:g}; timm knows RGB pixels up to 1 only"
        )
    if config_of(spec) != ModelConfig(name=spec.name):
        raise InputError(
            f"timm has no {spec.name} of this width or with a pooled head; name a "
            "file, not a folder, to write its tensors alone"
        )
    size = preprocess.size
    if isinstance(spec.variant, VGGVariant) and size // 32 > GRID:
        raise InputError(
            f"timm's {spec.name} pools after its classifier, not before, above 255 "
            f"pixels, so that its logits at {size} would be others"
        )
    classes = network.model.num_classes
    return {
        "architecture": spec.name,
        "num_classes": classes,
        "label_names": list(network.class_names),
        "pretrained_cfg": {
            "num_classes": classes,
            "input_size": [3, size, size],
            "interpolation": preprocess.interpolation,
            "crop_pct": preprocess.crop_fraction,
            "crop_mode": "center",
            "mean": list(preprocess.mean),
            "std": list(preprocess.std),
        },
    }
