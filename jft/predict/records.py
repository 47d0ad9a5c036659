"""Predictions as records, and the images they are made for."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from jft.data.masks.output import save_mask
from jft.errors import InputError

if TYPE_CHECKING:
    from jft.predict.predictor import Predictor
    from jft.tasks import Task


class Found(NamedTuple):
    """An image file to predict.

    Attributes:
        path: The file.
        name: Its path relative to the folder that was given, or its file name.
    """

    path: Path
    name: Path


def find_images(names: Sequence[str]) -> list[Found]:
    """Return the files among the names, and the images in the folders, in order."""
    from jft.data.walk import list_images

    found: list[Found] = []
    for name in names:
        path = Path(os.path.expanduser(name))
        if path.is_dir():
            inside = map(Path, list_images(path)[0])
            found += [Found(path / name, name) for name in inside]
        elif path.exists():
            found.append(Found(path, Path(path.name)))
        else:
            raise InputError(f"no image or folder {name!r}")
    if not names:
        raise InputError("name at least one image or folder")
    if not found:
        raise InputError(f"no images in {', '.join(map(repr, names))}")
    return found


def records(
    predictor: "Predictor",
    images: Sequence[Found],
    masks: Sequence[Path | None],
    unreadable: list[str],
    top: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield the prediction of each image that can be read; write its mask.

    Args:
        predictor: What predicts.
        images: The images.
        masks: The path of each image's mask; None if the run predicts no masks.
        unreadable: Receives the reason for each image that cannot be read.
        top: Number of classes or labels with the highest probabilities; None is all.
    """

    def squares() -> Iterator[tuple[tuple[Path, Path | None, tuple[int, int]], Any]]:
        for image, mask in zip(images, masks, strict=True):
            try:
                pixels = predictor.load(image.path)
            except InputError as error:
                unreadable.append(str(error))
                continue
            shape = (pixels.shape[0], pixels.shape[1])
            yield (image.path, mask, shape), predictor.pixels(pixels)

    for (path, mask, shape), row in predictor.rows(squares()):
        record: dict[str, Any] = {"path": str(path)}
        if mask is None:
            yield record | described(row, predictor.task, top)
        else:
            found = predictor.class_map(row, shape)
            save_mask(found, mask)
            fractions = class_fractions(found, predictor.class_names)
            yield record | {"mask": str(mask), "fractions": fractions}


def described(
    row: npt.NDArray[Any], task: "Task", top: int | None = None
) -> dict[str, Any]:
    """Return a prediction [K] with its names.

    Args:
        row: Probabilities, or numbers.
        task: What they are predicted for.
        top: Number of classes or labels to name, the most probable first; None is all,
            labels in their order.

    Returns:
        `class`, `probability` and `probabilities`, or `labels`, or the numbers.
    """
    from jft.tasks import Classification, MultiLabel

    names, values = task.class_names, row.tolist()
    order = np.argsort(-row, kind="stable").tolist()
    if isinstance(task, Classification):
        first = order[0]
        best = {names[i]: values[i] for i in order[:top]}
        return {
            "class": names[first],
            "probability": values[first],
            "probabilities": best,
        }
    if isinstance(task, MultiLabel):
        chosen = range(len(names)) if top is None else order[:top]
        return {"labels": {names[i]: values[i] for i in chosen}}
    return dict(zip(names, values, strict=True))


def class_fractions(
    found: npt.NDArray[np.uint8], names: Sequence[str]
) -> dict[str, float]:
    """Return the fraction of pixels of each class that occurs in a mask [H, W]."""
    counts = np.bincount(found.ravel(), minlength=len(names)).tolist()
    pairs = zip(names, counts, strict=True)
    return {name: count / found.size for name, count in pairs if count}
