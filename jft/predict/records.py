"""Predictions as records, and the images they are made for."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jft.data.masks.output import save_mask
from jft.errors import InputError

if TYPE_CHECKING:
    from jft.predict.predictor import Predictor
    from jft.tasks import Task

THERE = 0.5  # the probability from which on the table has a label


class Found(NamedTuple):
    """An image that a person named, or that lies in a folder that they named.

    Attributes:
        path: The file.
        name: The same from the folder on, or without any folder.
    """

    path: Path
    name: Path


def find_images(names: Sequence[str]) -> list[Found]:
    """Return the files among the names, and the images in the folders, in order.

    Raises:
        InputError: A name does not exist, or there is no image at all.
    """
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
) -> Iterator[dict[str, Any]]:
    """Yield what there is to say of each image, if it can be read; write its mask.

    Args:
        predictor: What predicts.
        images: The images.
        masks: Where the mask of each goes; None for a run that makes none.
        unreadable: Takes the reasons why images could not be read.
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
            yield record | described(row, predictor.task)
        else:
            found = predictor.class_map(row, shape)
            save_mask(found, mask)
            shares = class_shares(found, predictor.class_names)
            yield record | {"mask": str(mask), "shares": shares}


def described(row: np.ndarray, task: "Task") -> dict[str, Any]:
    """Return what a row [K] says: the class, each label's probability, the numbers."""
    from jft.tasks import Classification, MultiLabel

    if isinstance(task, Classification):
        place = int(row.argmax())
        return {"class": task.class_names[place], "probability": float(row[place])}
    values = dict(zip(task.class_names, row.tolist(), strict=True))
    return {"labels": values} if isinstance(task, MultiLabel) else values


def class_shares(found: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """Return which share of the pixels each class has, of those that have any."""
    counts = np.bincount(found.ravel(), minlength=len(names)).tolist()
    pairs = zip(names, counts, strict=True)
    return {name: count / found.size for name, count in pairs if count}
