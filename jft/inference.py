"""Predict with a finished run: images in; probabilities, maps or numbers out."""

import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from flax.core import FrozenDict

from jft.checkpoint import load_model
from jft.data.decode import DecodeError, decode
from jft.data.geometry import Square, enlarge
from jft.errors import InputError
from jft.interpolate import interpolate, pretrained_variables
from jft.models import ModelSpec
from jft.models.network import Network
from jft.preprocess import Preprocess
from jft.runlog import open_run
from jft.step import make_predict_step
from jft.tasks import Task, from_dict

BATCH = 32  # images per compiled call at most

Image = str | os.PathLike[str] | np.ndarray


@dataclass(frozen=True)
class Predictor:
    """A fine-tuned network that takes images as they are.

    Attributes:
        spec: The network.
        model: Its Flax module.
        variables: Immutable {"params": ..., "batch_stats": ...}, float32.
        preprocess: How pixels become its input.
        task: What it has learned.
    """

    spec: ModelSpec
    model: Network
    variables: FrozenDict[str, Any]
    preprocess: Preprocess
    task: Task

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name per column of what is predicted."""
        return self.task.class_names

    @classmethod
    def from_run(
        cls,
        run: str | os.PathLike[str],
        which: Literal["final", "best"] = "final",
        *,
        share: float | None = None,
    ) -> "Predictor":
        """Load the parameters of a run.

        Args:
            run: The run's folder.
            which: The parameters after the last step, or those of the epoch with the
                highest test accuracy.
            share: How far to go from the pretrained network to these, in [0, 1], by
                `jft.interpolate`; None takes them as they are.

        Raises:
            InputError: It is no run, has not got that far, or is damaged; or, with a
                share, the pretrained weights cannot be used.
        """
        saved = load_model(open_run(Path(run)).path / which)
        card, variables = saved.card, saved.variables
        if share is not None:
            variables = interpolate(pretrained_variables(run), variables, share)
        return cls(
            saved.spec,
            saved.model,
            variables,
            card.preprocess,
            from_dict(card.task),
        )

    def __call__(self, images: Image | Iterable[Image]) -> np.ndarray:
        """Return what each image shows, float32.

        Probabilities [N, K] of classes, each row summing to 1, or of labels; those of
        the classes of each pixel [N, S, S, K], which `class_map` brings to an image's
        own size; or numbers [N, K] in the data's units.

        Args:
            images: Paths or uint8 RGB arrays [H, W, 3] of any size, also one alone, or
                one array [N, H, W, 3].

        Raises:
            InputError: An image cannot be read or is not uint8 RGB.
        """
        alone = isinstance(images, (str, os.PathLike))
        if alone or (isinstance(images, np.ndarray) and images.ndim == 3):
            images = [images]
        rows = list(self.rows(self.pixels(self.load(image)) for image in images))
        if rows:
            return np.stack(rows)
        square = (self.preprocess.size,) * 2 if self._masks else ()
        return np.zeros((0, *square, len(self.class_names)), np.float32)

    def rows(self, pixels: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield what `__call__` returns of each image, a batch at a time.

        Args:
            pixels: Images as `pixels` returns them.
        """
        iterator = iter(pixels)
        while batch := list(itertools.islice(iterator, BATCH)):
            # To a power of two, so that few sizes are compiled and little is wasted.
            size = 1 << (len(batch) - 1).bit_length()
            filling = [np.zeros_like(batch[0])] * (size - len(batch))
            logits = self._step(self.variables, np.stack(batch + filling))
            yield from np.asarray(self.task.predict(logits))[: len(batch)]

    def load(self, image: Image) -> np.ndarray:
        """Return one image, uint8 [H, W, 3].

        Raises:
            InputError: It cannot be read or is not uint8 RGB.
        """
        if not isinstance(image, (str, os.PathLike)):
            image = np.asarray(image)
            rgb = image.ndim == 3 and image.shape[-1] == 3 and image.size
            if image.dtype != np.uint8 or not rgb:
                raise InputError(
                    "an image must be uint8 [H, W, 3], "
                    f"got {image.dtype} {list(image.shape)}"
                )
            return image
        try:
            return decode(Path(image))
        except DecodeError as error:
            raise InputError(f"{os.fspath(image)!r}: {error}") from None

    def pixels(self, image: np.ndarray) -> np.ndarray:
        """Return an image from `load` as the network sees it, uint8 [S, S, 3]."""
        return Square(self.preprocess, whole=self._masks).image(image)

    def class_map(
        self, probabilities: np.ndarray, shape: tuple[int, int]
    ) -> np.ndarray:
        """Return the most probable class of each pixel of an image, uint8 [H, W].

        Args:
            probabilities: [S, S, K] of that image.
            shape: Its height and width, in pixels.
        """
        best = np.zeros(shape, np.uint8)
        highest = np.full(shape, -np.inf, np.float32)
        for place in range(probabilities.shape[-1]):
            found = enlarge(probabilities[..., place], shape)
            higher = found > highest
            best[higher], highest[higher] = place, found[higher]
        return best

    @property
    def _masks(self) -> bool:
        return self.task.name == "segmentation"

    @cached_property
    def _step(self) -> Any:
        return jax.jit(make_predict_step(self.model, self.preprocess))
