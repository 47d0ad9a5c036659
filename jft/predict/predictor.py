"""Predict with a finished run: images in; probabilities, maps or numbers out."""

import itertools
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
from flax.core import FrozenDict

from jft.augment import VIEWS, averaged, check_views
from jft.data import rgb
from jft.data.decode import DecodeError, decode
from jft.data.geometry import Square, most_probable
from jft.errors import InputError, not_among
from jft.models import ModelSpec
from jft.models.own import OwnModel
from jft.models.protocol import StagedModule
from jft.predict.interpolate import interpolate, pretrained_variables
from jft.preprocess import Preprocess
from jft.runs.directory import open_run
from jft.runs.saved import load_model
from jft.step import make_predict_step
from jft.tasks import Task, from_dict

# At most, in a compiled call: images; their pixels, which the memory that a network's
# features take goes by; and bytes of outputs, where those of each view count.
IMAGES = 32
PIXELS = 2**21
OUTPUT_BYTES = 2**26

WHICH = ("final", "best")
Tag = TypeVar("Tag")


@dataclass(frozen=True)
class Predictor:
    """A fine-tuned network with its preprocessing: images in, predictions out.

    Attributes:
        spec: The network.
        model: Its Flax module.
        variables: Immutable {"params": ..., "batch_stats": ...}, float32.
        preprocess: How pixels become its input.
        task: What it was trained for.
        views: Key of `jft.augment.VIEWS`: the views whose logits are averaged.
    """

    spec: ModelSpec | OwnModel
    model: StagedModule
    variables: FrozenDict[str, Any]
    preprocess: Preprocess
    task: Task
    views: str = "none"

    def __post_init__(self) -> None:
        """Raise InputError if there are no such views."""
        check_views(self.views)

    def __repr__(self) -> str:
        """Return the network and the task in one line."""
        names = ", ".join(self.class_names[:5])
        more = ", ..." if len(self.class_names) > 5 else ""
        return (
            f"Predictor({self.spec.name}, {self.task.name} of "
            f"{len(self.class_names)} {self.task.outputs}: {names}{more}; "
            f"{self.preprocess.size} x {self.preprocess.size} pixels)"
        )

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
        alpha: float | None = None,
        weights: str | None = None,
        views: str = "none",
        model: Any = None,
    ) -> "Predictor":
        """Load the parameters of a run.

        Args:
            run: The run's folder.
            which: The parameters after the last step, or those of the epoch with the
                highest score on the test images.
            alpha: Weight of these parameters in [0, 1] when they are averaged with the
                pretrained ones, by `jft.predict.interpolate`. None does not average.
            weights: With alpha, where the pretrained weights are, if they have moved.
            views: Key of `jft.augment.VIEWS`: the views whose logits are averaged.
            model: The Flax module that was trained, if it came from Python.

        Raises:
            InputError: The folder is not a run, has no such model yet, or is damaged;
                the pretrained weights cannot be used; or there are no such views.
        """
        if which not in WHICH:
            raise InputError(f"which {not_among(which, WHICH)}")
        own = None if model is None else OwnModel.of(model)
        saved = load_model(open_run(Path(run)).path / which, own)
        card, variables = saved.card, saved.variables
        task = from_dict(card.task)
        if alpha is not None:
            pretrained = pretrained_variables(run, task, weights)
            variables = interpolate(pretrained, variables, alpha)
        return cls(
            saved.spec,
            saved.model,
            variables,
            card.preprocess,
            task,
            views,
        )

    def __call__(self, images: Any) -> np.ndarray:
        """Return the predictions of images, float32; numbers are float64.

        Args:
            images: One image, or any number of them. An image is a path, a PIL image of
                any mode, or a uint8 array [H, W] (grey), [H, W, 1], [H, W, 3] or
                [H, W, 4] (the last channel is opacity), each of any size. An array
                [N, H, W, C] holds N images.

        Returns:
            Classification: probabilities [N, K], which sum to 1 in each row. Labels:
            probabilities [N, K]. Masks: probabilities [N, S, S, K] of the classes of
            each pixel; `class_map` resizes them to an image. Numbers: [N, K] in the
            data's units.

        Raises:
            InputError: An image cannot be read, or is none.
        """
        single = isinstance(images, (str, os.PathLike, PIL.Image.Image))
        if single or len(getattr(images, "shape", ())) in (2, 3):
            images = [images]
        try:
            several = iter(images)
        except TypeError:
            raise InputError(f"{type(images).__name__} is not an image") from None
        squares = ((None, self.pixels(self.load(image))) for image in several)
        rows = [row for _, row in self.rows(squares)]
        return np.stack(rows) if rows else np.zeros((0, *self._shape), np.float32)

    def rows(
        self, squares: Iterable[tuple[Tag, np.ndarray]]
    ) -> Iterator[tuple[Tag, np.ndarray]]:
        """Yield the prediction of each image, computed batch by batch.

        Args:
            squares: Pairs of a tag, which is returned with the prediction, and an image
                from `pixels`.
        """
        iterator = iter(squares)
        while batch := list(itertools.islice(iterator, self._most)):
            # To a power of two, so that few sizes are compiled and little is wasted.
            size = 1 << (len(batch) - 1).bit_length()
            pixels = [square for _, square in batch]
            pixels += [np.zeros_like(pixels[0])] * (size - len(batch))
            rows = self._predict(np.stack(pixels))[: len(batch)]
            yield from ((tag, row) for (tag, _), row in zip(batch, rows, strict=True))

    def load(self, image: Any) -> np.ndarray:
        """Return one image, uint8 [H, W, C]."""
        path = isinstance(image, (str, os.PathLike))
        try:
            channels = len(self.preprocess.mean)
            if path:
                return decode(Path(image), channels=channels)
            return rgb.pixels(image, channels)
        except DecodeError as error:
            where = f"{os.fspath(image)!r}: " if path else ""
            raise InputError(f"{where}{error}") from None

    def pixels(self, image: np.ndarray) -> np.ndarray:
        """Return an image from `load`, resized and cropped, uint8 [S, S, 3]."""
        return Square(self._preprocess).image(image)

    def class_map(
        self, probabilities: np.ndarray, shape: tuple[int, int]
    ) -> np.ndarray:
        """Return the most probable class of each pixel of an image, uint8 [H, W].

        Args:
            probabilities: [S, S, K] of that image.
            shape: Its height and width, in pixels.
        """
        return most_probable(probabilities, shape)

    @property
    def _preprocess(self) -> Preprocess:
        """How images are resized: with masks, the whole image."""
        preprocess = self.preprocess
        return preprocess.with_crop("letterbox") if self.task.dense else preprocess

    @property
    def _shape(self) -> tuple[int, ...]:
        """The shape of what is predicted of one image."""
        square = (self.preprocess.size,) * 2 if self.task.dense else ()
        return (*square, len(self.class_names))

    @property
    def _most(self) -> int:
        """How many images a batch has at most: a power of two."""
        output_bytes = 4 * math.prod(self._shape) * len(VIEWS[self.views])
        most = min(
            IMAGES, PIXELS // self.preprocess.size**2, OUTPUT_BYTES // output_bytes
        )
        return 1 << (max(most, 1).bit_length() - 1)

    def _predict(self, images: np.ndarray) -> np.ndarray:
        """Return what is predicted of squares [B, S, S, 3], [B, *_shape].

        Each view is a call of its own: one program would hold the features of all views
        at once, and compile a network for each.
        """
        step = partial(self._step, self.variables)
        logits = averaged(step, jnp.asarray(images), self.views)
        return np.asarray(self.task.predict(logits))

    @cached_property
    def _step(self) -> Any:
        return jax.jit(make_predict_step(self.model, self.preprocess))
