"""A JSON file in COCO's form: what it holds, each list checked."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn, cast

from jft.data.coco.shapes import Shape, read_shape
from jft.data.describe import few, read_text
from jft.errors import InputError
from jft.types import VOID

LISTS = ("images", "annotations", "categories")

Entries = list[dict[str, Any]]


@dataclass(frozen=True, eq=False)
class CocoFile:
    """The lists of a file.

    Attributes:
        path: The file.
        categories: The name of each category, by its number.
        images: The entry of each image, by its number.
        annotations: The objects.
        digest: Hex SHA-256 of the text.
    """

    path: Path
    categories: dict[int, str]
    images: dict[int, dict[str, Any]]
    annotations: Entries
    digest: str


def read_coco(path: Path) -> CocoFile:
    """Read a file.

    Raises:
        InputError: It is no JSON, or not of COCO's form.
    """
    text = read_text(path)
    try:
        content = json.loads(text)
    except RecursionError:
        _refuse(path, "it is nested too deeply")
    except ValueError as error:
        _refuse(path, str(error))
    lists = {name: _entries(path, content, name) for name in LISTS}
    images = _by_number(path, lists["images"], "images", "file_name")
    for entry in images.values():
        size = [entry.get("height"), entry.get("width")]
        if not all(type(side) is int and side > 0 for side in size):
            _refuse(path, f"image {entry['id']} has no height and width")
    categories = _by_number(path, lists["categories"], "categories", "name")
    names = {number: str(entry["name"]) for number, entry in categories.items()}
    if not names or not images:
        _refuse(path, "it has no categories, or no images")
    digest = hashlib.sha256(text.encode()).hexdigest()
    return CocoFile(path, names, images, lists["annotations"], digest)


def _refuse(path: Path, why: str) -> NoReturn:
    raise InputError(f"{str(path)!r} is not of COCO's form: {why}")


def _entries(path: Path, content: Any, name: str) -> Entries:
    entries = cast(Any, content).get(name) if isinstance(content, dict) else None
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) for entry in cast(list[Any], entries)
    ):
        _refuse(path, f"it has no list of objects called {name!r}")
    return cast(Entries, entries)


def _by_number(
    path: Path, entries: Entries, name: str, text: str
) -> dict[int, dict[str, Any]]:
    """Return entries by their `id`, each of which has a text."""
    for entry in entries:
        word = entry.get(text)
        if type(entry.get("id")) is not int or not isinstance(word, str):
            _refuse(path, f"{name}: {ascii(entry)[:80]} has no id and {text}")
        if any("\ud800" <= character <= "\udfff" for character in word):
            _refuse(path, f"{name}: {word!a} is not Unicode text")
    counts = Counter(entry["id"] for entry in entries)
    if twice := [str(number) for number, count in counts.items() if count > 1]:
        _refuse(path, f"{name} have the same id:{few(twice)}")
    return {entry["id"]: entry for entry in entries}


def image_names(file: CocoFile) -> list[str]:
    """Return the path of each image, as written but for '.'.

    Raises:
        InputError: A path is absolute, or is there twice.
    """
    names = [PurePosixPath(entry["file_name"]) for entry in file.images.values()]
    if absolute := [str(name) for name in names if name.is_absolute()]:
        _refuse(file.path, f"file names have to be relative{few(absolute)}")
    counts = Counter(map(str, names))
    if twice := [name for name, count in counts.items() if count > 1]:
        _refuse(file.path, f"images have the same file name{few(twice)}")
    return [str(name) for name in names]


def image_shapes(file: CocoFile, places: Mapping[int, int]) -> list[tuple[Shape, ...]]:
    """Return the shapes of each image; those of crowds are void.

    Args:
        file: What was read.
        places: The class of each category.

    Raises:
        InputError: An object is of no image or category, or none has an outline.
    """
    shapes: dict[int, list[Shape]] = {number: [] for number in file.images}
    lost: list[str] = []
    for entry in file.annotations:
        image: Any = entry.get("image_id")
        category: Any = entry.get("category_id")
        numbers = isinstance(image, int) and isinstance(category, int)
        if not numbers or image not in shapes or category not in places:
            lost.append(f"id {entry.get('id')}: image {image}, category {category}")
            continue
        place = VOID if entry.get("iscrowd") == 1 else places[category]
        shapes[image].append(read_shape(entry.get("segmentation"), place))
    if lost:
        _refuse(
            file.path,
            f"{len(lost)} of {len(file.annotations)} annotations are of an image or "
            f"category that it does not have{few(lost)}",
        )
    outlines = [shape.outline for some in shapes.values() for shape in some]
    if outlines and all(isinstance(outline, str) for outline in outlines):
        _refuse(file.path, "no annotation has a segmentation; boxes make no masks")
    return [tuple(some) for some in shapes.values()]
