"""A JSON file in COCO's form, each list checked; exporters' dialects are read too."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, cast

from jft.data.describe import few, read_text
from jft.errors import InputError

LISTS = ("images", "annotations", "categories")

Id = int | str
Entries = list[dict[str, Any]]


@dataclass(frozen=True)
class CocoImage:
    """One entry of `images`.

    Attributes:
        name: The file's path as written, which may be absolute or have backslashes.
        height: Pixels.
        width: Pixels.
    """

    name: str
    height: int
    width: int


@dataclass(frozen=True, eq=False)
class CocoFile:
    """The lists of a file.

    Attributes:
        path: The file.
        categories: The name of each category, by its id, in the order of the ids.
        images: Each image, by its id.
        annotations: The objects.
        digest: Hex SHA-256 of the text.
        roots: Categories that are parents of others and have no object: no classes.
    """

    path: Path
    categories: dict[Id, str]
    images: dict[Id, CocoImage]
    annotations: Entries
    digest: str
    roots: tuple[str, ...] = ()


def read_coco(path: Path) -> CocoFile:
    """Read a file."""
    text = read_text(path)
    try:
        content = json.loads(text)
    except RecursionError:
        refuse(path, "it is nested too deeply")
    except ValueError as error:
        refuse(path, str(error))
    images, annotations, categories = (_entries(path, content, n) for n in LISTS)
    named = _by_id(path, categories, "categories", "name")
    roots = _roots(named, annotations)
    # Numbers go before text.
    order = sorted(named.keys() - roots, key=lambda key: (isinstance(key, str), key))
    read = {
        number: _image(path, entry)
        for number, entry in _by_id(path, images, "images", "file_name").items()
    }
    if not order or not read:
        refuse(path, "it has no categories, or no images")
    return CocoFile(
        path=path,
        categories={number: named[number]["name"] for number in order},
        images=read,
        annotations=annotations,
        digest=hashlib.sha256(text.encode()).hexdigest(),
        roots=tuple(named[number]["name"] for number in sorted(roots, key=str)),
    )


def refuse(path: Path, why: str) -> NoReturn:
    """Raise `InputError` for a file that is not of COCO's form."""
    raise InputError(f"{str(path)!r} is not of COCO's form: {why}")


def _entries(path: Path, content: Any, name: str) -> Entries:
    entries = cast(Any, content).get(name) if isinstance(content, dict) else None
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) for entry in cast(list[Any], entries)
    ):
        refuse(path, f"it has no list of objects called {name!r}")
    return cast(Entries, entries)


def _whole(value: Any) -> int | None:
    """Return a whole number, also one written as 40.0 or "40"."""
    if isinstance(value, str) and value.isascii() and len(value) < 19:
        value = int(value) if value.isdigit() and str(int(value)) == value else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int else None


def read_id(value: Any) -> Id:
    """Return an id, "" if it is not one; exporters mix numbers and text of numbers."""
    number = _whole(value)
    return number if number is not None else value if isinstance(value, str) else ""


def _by_id(
    path: Path, entries: Entries, name: str, text: str
) -> dict[Id, dict[str, Any]]:
    """Return entries by their `id`, each of which has a text."""
    found: dict[Id, dict[str, Any]] = {}
    twice: list[str] = []
    for entry in entries:
        word, key = entry.get(text), read_id(entry.get("id"))
        if key == "" or not isinstance(word, str):
            refuse(path, f"{name}: {ascii(entry)[:80]} has no id and {text}")
        if any("\ud800" <= character <= "\udfff" for character in word):
            refuse(path, f"{name}: {word!a} is not Unicode text")
        twice += [ascii(key)] if key in found else []
        found[key] = entry
    if twice:
        refuse(path, f"{name} have the same id:{few(twice)}")
    return found


def _image(path: Path, entry: dict[str, Any]) -> CocoImage:
    height, width = (_whole(entry.get(side)) for side in ("height", "width"))
    if not height or not width or min(height, width) < 0:
        known = {key: entry.get(key) for key in ("id", "height", "width")}
        refuse(path, f"an image has no height and width in pixels: {ascii(known)[:99]}")
    return CocoImage(entry["file_name"], height, width)


def _roots(categories: Mapping[Id, dict[str, Any]], annotations: Entries) -> set[Id]:
    """Return the categories that others have as `supercategory`, without an object.

    Roboflow writes such a category first, called like the project.
    """
    parents = {
        entry.get("supercategory")
        for entry in categories.values()
        if isinstance(entry.get("supercategory"), str)
        and entry["supercategory"] != entry["name"]
    }
    used = {read_id(entry.get("category_id")) for entry in annotations}
    return {
        key
        for key, entry in categories.items()
        if entry["name"] in parents and key not in used
    }
