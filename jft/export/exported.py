"""A description of an exported file, and of how to load it."""

from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import NamedTuple

from jft.models.variants import GRID
from jft.preprocess import Preprocess
from jft.tasks import Regression, Task
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
        model: The network.
        decoder: Its decoder, or none.
        usual: Whether it has the published width and all published layers.
        tensors: Number of tensors.
        preprocess: The preprocessing that the network expects.
        num_classes: Outputs of its head.
        class_names: Names of the outputs; empty if unknown.
        task: Its task; None if unknown.
        alpha: Weight of the fine-tuned network if it was interpolated (WiSE-FT);
            otherwise None.
    """

    file: Path
    layout: str
    model: str
    decoder: str
    usual: bool
    tensors: int
    preprocess: Preprocess
    num_classes: int
    class_names: tuple[str, ...]
    task: Task | None = None
    alpha: float | None = None

    def __str__(self) -> str:
        """Return lines for a person who is about to load the file."""
        head = f"{self.model}, {self.tensors} tensors, {self.layout} layout"
        lines = [("pixels", self._pixels()), *self._outputs()]
        if self.alpha is not None:
            lines.append(("alpha", f"{self.alpha:g} (0 is pretrained, 1 fine-tuned)"))
        lines += [("load", line) for line in self._loading()]
        shown = (f"{name:<10}{text}" for name, text in lines)
        return "\n".join([f"{self.file}: {head}", *shown])

    def _pixels(self) -> str:
        """Return how an image becomes the input of the network."""
        masks = self.task is not None and self.task.dense
        return str(self.preprocess.with_crop("letterbox") if masks else self.preprocess)

    def _outputs(self) -> list[tuple[str, str]]:
        """Return the outputs and their meaning."""
        names = self.class_names[:SHOWN]
        more = ", ..." if len(self.class_names) > SHOWN else ""
        listed = f"{self.num_classes}{': ' if names else ''}{', '.join(names)}{more}"
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
        masks = self.decoder != "none"
        return WORDS["segmentation" if masks else "classification"].data

    def _loading(self) -> list[str]:
        file, count = self.file, self.num_classes
        if self.layout == "safetensors" and file.suffix == ".safetensors":
            data = self._data()
            return [f"python -m jft.train --weights {quote(str(file))} --data {data}"]
        if not self.usual:
            return []
        prefix = f"torchvision:{self.model}/"
        known = any(name.startswith(prefix) for name in published())
        if self.layout == "torchvision" and known and file.suffix == ".pth":
            models, options = "torchvision.models", f"num_classes={count}"
            if self.decoder != "none":
                models += ".segmentation"
                options += ", weights_backbone=None, aux_loss=False"
            return [
                f"net = {models}.{self.model}({options})",
                f'net.load_state_dict(torch.load("{file}", weights_only=True))',
            ]
        if self.layout == "keras" and file.suffix == ".h5":
            return self._loading_in_keras()
        if self.layout == "timm" and file.name == "model.safetensors":
            return [f'timm.create_model("local-dir:{file.parent}", pretrained=True)']
        return []

    def _loading_in_keras(self) -> list[str]:
        """Return nothing for a network or an image size that Keras lacks."""
        name, size = self.model.removeprefix("keras_"), self.preprocess.size
        fixed = name.startswith("vgg")  # flattens a grid of 7x7 features
        if f"keras:{name}" not in published() or (fixed and size // 32 != GRID):
            return []
        for part in ("ResNet", "VGG", "V2"):
            name = name.replace(part.lower(), part)
        shape = "" if size == 224 else f"input_shape=({size}, {size}, 3), "
        options = f"weights=None, {shape}classes={self.num_classes}"
        return [
            f"net = keras.applications.{name}({options}, classifier_activation=None)",
            f'net.load_weights("{self.file}")',
        ]
