"""A description of an exported file, and of how to load it."""

from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import NamedTuple

from jft.config import ModelConfig
from jft.models import ModelSpec, config_of
from jft.models.variants import GRID
from jft.predict.predictor import Predictor
from jft.tasks import Regression, Task
from jft.weights.pretrained import Pretrained
from jft.weights.published import published

SHOWN = 8  # names in a line


class Words(NamedTuple):
    """How a task is described."""

    meaning: str  # of an output
    data: str  # an example of --data


WORDS = {
    "classification": Words(
        meaning="logits; softmax gives the probabilities",
        data="folder:IMAGES",
    ),
    "multilabel": Words(
        meaning="logits; sigmoid gives the probability of each label",
        data="csv:TABLE",
    ),
    "segmentation": Words(
        meaning="logits of each pixel; softmax gives the probabilities",
        data="masks:FOLDER",
    ),
    "regression": Words(
        meaning="standardised numbers; output * std + mean is the number",
        data="csv:TABLE",
    ),
}


@dataclass(frozen=True)
class Exported:
    """What was written; its text includes how to load it.

    Attributes:
        file: The weights.
        layout: The name of their layout.
        tensors: Number of tensors.
        network: What they were before.
        spec: Which network it is.
        alpha: Weight of the fine-tuned network if it was interpolated (WiSE-FT);
            otherwise None.
    """

    file: Path
    layout: str
    tensors: int
    network: Predictor | Pretrained = field(repr=False)
    spec: ModelSpec = field(repr=False)
    alpha: float | None = None

    @property
    def task(self) -> Task | None:
        """The task of the network; None if unknown."""
        return self.network.task

    def __str__(self) -> str:
        """Return lines for a person who is about to load the file."""
        head = f"{self.spec.name}, {self.tensors} tensors, {self.layout} layout"
        lines = [("pixels", self._pixels()), *self._outputs()]
        if self.alpha is not None:
            lines.append(("alpha", f"{self.alpha:g} (0 is pretrained, 1 fine-tuned)"))
        lines += [("load", line) for line in self._loading()]
        shown = (f"{name:<10}{text}" for name, text in lines)
        return "\n".join([f"{self.file}: {head}", *shown])

    def _pixels(self) -> str:
        """Return how an image becomes the input of the network."""
        preprocess = self.network.preprocess
        masks = self.task is not None and self.task.dense
        return str(preprocess.with_crop("letterbox") if masks else preprocess)

    def _outputs(self) -> list[tuple[str, str]]:
        """Return the outputs and their meaning."""
        count, names = self.network.model.num_classes, self.network.class_names[:SHOWN]
        more = ", ..." if len(self.network.class_names) > SHOWN else ""
        listed = f"{count}{': ' if names else ''}{', '.join(names)}{more}"
        if self.task is None:
            return [("classes", listed)]
        words = WORDS[self.task.name]
        lines = [(self.task.outputs, listed), ("outputs", words.meaning)]
        if isinstance(self.task, Regression):
            moments = zip(names, self.task.mean, self.task.std, strict=False)
            lines += [("", f"{n}: mean {m:.9g}, std {s:.9g}") for n, m, s in moments]
        return lines

    def _data(self) -> str:
        """Return an example of --data for further training."""
        if self.task is not None:
            return WORDS[self.task.name].data
        masks = self.spec.decoder != "none"
        return WORDS["segmentation" if masks else "classification"].data

    def _loading(self) -> list[str]:
        file, spec, count = self.file, self.spec, self.network.model.num_classes
        if self.layout == "safetensors" and file.suffix == ".safetensors":
            data = self._data()
            return [f"python -m jft.train --weights {quote(str(file))} --data {data}"]
        # Of another width, or without a VGG's hidden layers.
        if config_of(spec) != ModelConfig(name=spec.name):
            return []
        prefix = f"torchvision:{spec.name}/"
        known = any(name.startswith(prefix) for name in published())
        channels = len(self.network.preprocess.mean)
        if self.layout == "torchvision" and known and file.suffix == ".pth":
            models, options = "torchvision.models", f"num_classes={count}"
            if spec.decoder != "none":
                models += ".segmentation"
                options += ", weights_backbone=None, aux_loss=False"
            stem = f"conv1 = torch.nn.Conv2d({channels}, 64, 7, 2, 3, bias=False)"
            if spec.name.startswith("vgg"):
                stem = f"features[0] = torch.nn.Conv2d({channels}, 64, 3, padding=1)"
            elif spec.decoder != "none":
                stem = f"backbone.{stem}"
            return [
                f"net = {models}.{spec.name}({options})",
                *([f"net.{stem}"] if channels != 3 else []),
                f'net.load_state_dict(torch.load("{file}", weights_only=True))',
            ]
        if self.layout == "keras" and file.suffix == ".h5":
            return self._loading_in_keras()
        if self.layout == "timm" and file.name == "model.safetensors":
            return [f'timm.create_model("local-dir:{file.parent}", pretrained=True)']
        return []

    def _loading_in_keras(self) -> list[str]:
        """Return nothing for a network or an image size that Keras lacks."""
        name = self.spec.name.removeprefix("keras_")
        size = self.network.preprocess.size
        fixed = name.startswith("vgg")  # flattens a grid of 7x7 features
        if len(self.network.preprocess.mean) != 3:
            return []
        if f"keras:{name}" not in published() or (fixed and size // 32 != GRID):
            return []
        for part in ("ResNet", "VGG", "V2"):
            name = name.replace(part.lower(), part)
        shape = "" if size == 224 else f"input_shape=({size}, {size}, 3), "
        options = f"weights=None, {shape}classes={self.network.model.num_classes}"
        return [
            f"net = keras.applications.{name}({options}, classifier_activation=None)",
            f'net.load_weights("{self.file}")',
        ]
