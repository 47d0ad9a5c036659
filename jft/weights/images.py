"""Converts paths, PIL images or arrays to the batch that a network takes."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from jft.data import rgb
from jft.data.decode import DecodeError, decode
from jft.data.geometry import Square
from jft.errors import InputError
from jft.preprocess import Preprocess


def batch_of(images: Any, preprocess: Preprocess) -> npt.NDArray[np.uint8]:
    """Return images as RGB pixels [B, H, W, 3].

    Args:
        images: As `Pretrained` takes them. C is 1 (grey), 3, or 4 (with opacity).
        preprocess: Of the network.
    """
    channels = len(preprocess.mean)
    if not isinstance(images, (str, os.PathLike, Sequence, Image.Image)):
        images = np.asarray(images)
        if images.ndim == 4:
            if images.shape[-1] == channels and images.dtype == np.uint8:
                return images
            return np.stack([_pixels(im, i, channels) for i, im in enumerate(images)])
    single = isinstance(images, (str, os.PathLike, Image.Image, np.ndarray))
    square = Square(preprocess)
    listed = [images] if single else list(images)
    if not listed:
        raise InputError("images is empty; give at least one image")
    return np.stack(
        [square.image(_pixels(im, i, channels)) for i, im in enumerate(listed)]
    )


def _pixels(image: Any, index: int, channels: int) -> npt.NDArray[np.uint8]:
    path = isinstance(image, (str, os.PathLike))
    try:
        if path:
            return decode(Path(image).expanduser(), channels=channels)
        return rgb.pixels(image, channels)
    except DecodeError as error:
        name = repr(os.fspath(image)) if path else f"images[{index}]"
        raise InputError(f"{name}: {error}") from None
