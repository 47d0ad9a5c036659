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
from flax.core import FrozenDict

from jft.augment import VIEWS, averaged, check_views
from jft.data.decode import DecodeError, decode
from jft.data.geometry import Square, most_probable
from jft.errors import InputError
from jft.models import ModelSpec
from jft.models.network import Network
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

Image = str | os.PathLike[str] | np.ndarray
Tag = TypeVar("Tag")


@dataclass(frozen=True)
class Predictor:
    """A fine-tuned network that takes images as they are.

    Attributes:
        spec: The network.
        model: Its Flax module.
        variables: Immutable {"params": ..., "batch_stats": ...}, float32.
        preprocess: How pixels become its input.
        task: What it has learned.
        views: Of `jft.augment.VIEWS`, over which logits are averaged, as in
            `jft.evaluate.run`.
    """

    spec: ModelSpec
    model: Network
    variables: FrozenDict[str, Any]
    preprocess: Preprocess
    task: Task
    views: str = "none"

    def __post_init__(self) -> None:
        """Raise InputError if there are no such views."""
        check_views(self.views)

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
        views: str = "none",
    ) -> "Predictor":
        """Load the parameters of a run.

        Args:
            run: The run's folder.
            which: The parameters after the last step, or those of the epoch with the
                highest score on the test images.
            share: How far to go from the pretrained network to these, in [0, 1], by
                `jft.predict.interpolate`; None takes them as they are.
            views: Of `jft.augment.VIEWS`, over which logits are averaged.

        Raises:
            InputError: It is no run, has not got that far, or is damaged; with a share,
                the pretrained weights cannot be used; or there are no such views.
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
            views,
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
        squares = ((None, self.pixels(self.load(image))) for image in images)
        rows = [row for _, row in self.rows(squares)]
        return np.stack(rows) if rows else np.zeros((0, *self._shape), np.float32)

    def rows(
        self, squares: Iterable[tuple[Tag, np.ndarray]]
    ) -> Iterator[tuple[Tag, np.ndarray]]:
        """Yield what `__call__` returns of each image, a batch at a time.

        Args:
            squares: Images as `pixels` returns them, each with something that tells
                which it is; that comes back with its row.
        """
        iterator = iter(squares)
        while batch := list(itertools.islice(iterator, self._most)):
            # To a power of two, so that few sizes are compiled and little is wasted.
            size = 1 << (len(batch) - 1).bit_length()
            pixels = [square for _, square in batch]
            pixels += [np.zeros_like(pixels[0])] * (size - len(batch))
            rows = self._predict(np.stack(pixels))[: len(batch)]
            yield from ((tag, row) for (tag, _), row in zip(batch, rows, strict=True))

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
        return Square(self.preprocess, whole=self.task.dense).image(image)

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
        """Return what is predicted of squares [B, S, S, 3], [B, *_shape] float32.

        Each view is a call of its own: one program would hold the features of all views
        at once, and compile a network for each.
        """
        step = partial(self._step, self.variables)
        logits = averaged(step, jnp.asarray(images), self.views)
        return np.asarray(self.task.predict(logits))

    @cached_property
    def _step(self) -> Any:
        return jax.jit(make_predict_step(self.model, self.preprocess))
