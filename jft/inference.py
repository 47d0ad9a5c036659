"""Predict with a finished run: images in, probabilities out."""

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
from jft.data.decode import DecodeError, decode, fit
from jft.errors import InputError
from jft.interpolate import interpolate, pretrained_variables
from jft.models import ModelSpec
from jft.models.network import Network
from jft.preprocess import Preprocess
from jft.runlog import open_run
from jft.step import make_predict_step

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
        class_names: One name per column of the probabilities.
    """

    spec: ModelSpec
    model: Network
    variables: FrozenDict[str, Any]
    preprocess: Preprocess
    class_names: tuple[str, ...]

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
            card.class_names,
        )

    def __call__(self, images: Image | Iterable[Image]) -> np.ndarray:
        """Return probabilities [N, K] float32, each row summing to 1.

        Args:
            images: Paths or uint8 RGB arrays [H, W, 3] of any size, also one alone, or
                one array [N, H, W, 3].

        Raises:
            InputError: An image cannot be read or is not uint8 RGB.
        """
        alone = isinstance(images, (str, os.PathLike))
        if alone or (isinstance(images, np.ndarray) and images.ndim == 3):
            images = [images]
        rows = list(self.rows(self.pixels(image) for image in images))
        empty = np.zeros((0, len(self.class_names)), np.float32)
        return np.stack(rows) if rows else empty

    def rows(self, pixels: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield probabilities [K] float32 for each image, a batch at a time.

        Args:
            pixels: Images as `pixels` returns them.
        """
        iterator = iter(pixels)
        while batch := list(itertools.islice(iterator, BATCH)):
            # To a power of two, so that few sizes are compiled and little is wasted.
            size = 1 << (len(batch) - 1).bit_length()
            filling = [np.zeros_like(batch[0])] * (size - len(batch))
            logits = self._step(self.variables, np.stack(batch + filling))
            yield from np.asarray(jax.nn.softmax(logits))[: len(batch)]

    def pixels(self, image: Image) -> np.ndarray:
        """Return one image as the network sees it, uint8 [S, S, 3].

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
            return fit(image, self.preprocess)
        try:
            return fit(decode(Path(image)), self.preprocess)
        except DecodeError as error:
            raise InputError(f"{os.fspath(image)!r}: {error}") from None

    @cached_property
    def _step(self) -> Any:
        return jax.jit(make_predict_step(self.model, self.preprocess))
