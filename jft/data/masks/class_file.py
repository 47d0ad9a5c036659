"""Files that name the classes of masks, in all the forms that tools write."""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from jft.data.describe import few, read_text
from jft.data.masks.values import VOID_VALUE, Wanted
from jft.errors import InputError

CLASS_FILES = (
    *("labelmap.txt", "label_colors.txt", "class_dict.csv", "labelmap.csv"),
    *("_classes.csv", "dataset_meta.json", "classes.txt", "classes.csv", "codes.txt"),
    *("class_names.txt", "labels.txt", "objectInfo150.txt", "id2label.json"),
)
_NAMES = (
    *("name", "names", "class", "classes", "class_name", "class name", "classname"),
    *("label", "labels", "label_name", "category", "title"),
)
_VALUES = (
    *("id", "idx", "index", "value", "pixel value", "pixel_value", "pixel"),
    *("class_id", "class id", "classid", "label_id", "labelid", "number"),
)
_RED, _GREEN, _BLUE = ("r", "red"), ("g", "green"), ("b", "blue")
_COLOURS = ("color", "colour", "rgb", "color_rgb", "hex")
_GAP = r"[\s,;]+"
_RGB = rf"(?P<r>\d+){_GAP}(?P<g>\d+){_GAP}(?P<b>\d+)"
_ID = rf"(?:(?P<id>\d+){_GAP})?"
_LINES = [
    re.compile(pattern)
    for pattern in (
        r"(?P<name>[^:]+):(?P<r>\d+),(?P<g>\d+),(?P<b>\d+):.*",  # CVAT
        rf"{_ID}{_RGB}{_GAP}(?P<name>[^\d\s,;].*)",  # CamVid: 64 128 64 Animal
        rf"{_ID}(?P<name>[^\d\s,;].*?){_GAP}{_RGB}([,;\t].*)?",
        rf"{_ID}(?P<name>[^\d\s,;].*?){_GAP}(?P<hex>#[0-9a-fA-F]{{6}})",
        r"(?P<id>\d+)\s*[\s:=,;]\s*(?P<name>.+)",
        r"(?P<name>.*[^\d\s])\s*[,;\t]\s*(?P<id>\d+)",
    )
]
_IGNORE = "__ignore__"  # labelme's first line, which means -1
_VOID = ("void", _IGNORE)


@dataclass(frozen=True)
class _Class:
    """One class: its name, and its value or its colour 0xRRGGBB if the file has any."""

    name: str
    value: int | None = None
    colour: int | None = None


@dataclass(frozen=True)
class ClassList:
    """The classes that a file lists; one called void or __ignore__ does not count.

    Attributes:
        names: The classes in the order of the file.
        colours: The colour 0xRRGGBB of each, or none.
        values: The number of each, or none.
        source: The path of the file.
    """

    names: tuple[str, ...]
    colours: tuple[int, ...]
    values: tuple[int, ...]
    source: str

    def in_order(self) -> list[str]:
        """Return the names of the numbers 0, 1, ...."""
        values = [*self.values] or [*range(len(self.names))]
        if sorted(values) != [*range(len(values))]:
            raise InputError(f"{self.source!r}: its numbers are not 0, 1, ...")
        return [name for _, name in sorted(zip(values, self.names, strict=True))]

    def wanted(self, *, colour: bool) -> Wanted:
        """Return the options for masks of colours, or of numbers.

        Without numbers, its lines mean 0, 1, ...; a first __ignore__ for 255.
        """
        first = self.names[:1] == (_IGNORE,) and not colour and not self.values
        names = self.names[1:] if first else self.names
        values = self.colours if colour else self.values or range(len(names))
        pairs = [*zip(names, values, strict=True)]
        classes = [pair for pair in pairs if pair[0].lower() not in _VOID]
        void = tuple(
            value for pair in pairs if pair not in classes for value in pair[1:]
        )
        if (void or first) and not colour and VOID_VALUE not in values:
            void = (*void, VOID_VALUE)
        given = colour or bool(self.values)
        return Wanted(
            names=tuple(name for name, _ in classes),
            values=tuple(value for _, value in classes) if given else None,
            void=void or None,
            colour=colour,
            source=self.source,
        )


def find_class_file(folders: Sequence[Path]) -> ClassList | None:
    """Read the first class file in some folders; None if there is none."""
    paths = (folder / name for folder in folders for name in CLASS_FILES)
    path = next((path for path in paths if path.is_file()), None)
    return None if path is None else read_class_file(path)


def read_class_file(path: Path) -> ClassList:
    """Read a class file: JSON, a table with or without a header, or names alone.

    A line of a table has a name, and perhaps a number or a colour, separated by commas,
    semicolons, tabs or spaces; further columns do not count.
    """
    text = read_text(path)
    found = _from_json(path, text) if path.suffix == ".json" else _from_text(path, text)
    if not found:
        raise InputError(f"{str(path)!r} names no class")
    counts = Counter(one.name for one in found)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise InputError(f"{str(path)!r}: classes have the same name{few(twice)}")
    return ClassList(
        names=tuple(one.name for one in found),
        colours=_all(one.colour for one in found),
        values=_all(one.value for one in found),
        source=str(path),
    )


def _all(numbers: Iterable[int | None]) -> tuple[int, ...]:
    """Return the numbers, none unless all classes have one."""
    some = [*numbers]
    return () if None in some else tuple(n for n in some if n is not None)


def _from_text(path: Path, text: str) -> list[_Class]:
    lines = {
        number: line.strip()
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip() and not line.lstrip().startswith("#")
    }
    rows, needed = _table(lines), set[str]()
    if rows:
        first = next(iter(rows))
        columns = _columns(path, first, rows.pop(first))
        needed = {{"r": "colour"}.get(what, what) for what in columns} - {"g", "b"}
        found = {number: _by_column(row, columns) for number, row in rows.items()}
    else:
        found = {number: _by_pattern(line) for number, line in lines.items()}
        every = [*found.values()]
        values = [one.value for one in every if one.value is not None]
        if any(one.colour is not None for one in every):
            needed = {"colour"}
        elif len(values) < len(every) or not _are_ids(lines, values):
            return [_Class(line.partition("::")[0].strip()) for line in lines.values()]
    for number, one in found.items():
        lost = [what for what in sorted(needed) if getattr(one, what) in (None, "")]
        if lost:
            raise InputError(
                f"{str(path)!r}, line {number}: a class has no {lost[0]} in "
                f"{lines[number][:80]!r}"
            )
    return [*found.values()]


def _are_ids(lines: Mapping[int, str], values: Sequence[int]) -> bool:
    """Return whether numbers before names are ids, and not part of them (`2 euro`)."""
    divided = not any(re.match(r"\d+\s+[^\s:=,;]", line) for line in lines.values())
    return divided or [*values] in ([*range(n, n + len(values))] for n in (0, 1))


def _by_pattern(line: str) -> _Class:
    bare = line.replace('"', "")
    match = next((m for form in _LINES if (m := form.fullmatch(bare))), None)
    if match is None:
        return _Class(line)
    groups = match.groupdict()
    cells = [groups.get(key) or "" for key in ("hex", "r", "g", "b")]
    return _class(match["name"], groups.get("id") or "", " ".join(cells))


def _table(lines: Mapping[int, str]) -> dict[int, list[str]]:
    """Return the cells of a table whose first line names the columns, or nothing."""
    first = next(iter(lines.values()), "")
    for mark in ("\t", ";", ","):
        header, *_ = [*csv.reader([first], delimiter=mark)] or [[]]
        words = [cell.strip().lower() for cell in header]
        known = {*_NAMES, *_VALUES, *_RED, *_GREEN, *_BLUE, *_COLOURS}
        if {*words} & {*_NAMES} and len({*words} & known) > 1:
            cells = csv.reader(lines.values(), delimiter=mark, skipinitialspace=True)
            return dict(zip(lines, cells, strict=True))
    return {}


def _columns(path: Path, line: int, header: Sequence[str]) -> dict[str, int]:
    """Return where the name, the number and the colour are."""
    words = [cell.strip().lower() for cell in header]
    known = {"name": _NAMES, "value": _VALUES, "colour": _COLOURS}
    known |= {"r": _RED, "g": _GREEN, "b": _BLUE}
    found = {
        what: next(i for i, word in enumerate(words) if word in usual)
        for what, usual in known.items()
        if {*words} & {*usual}
    }
    if 0 < len({*found} & {*"rgb"}) < 3:
        raise InputError(
            f"{str(path)!r}, line {line}: a colour has the columns r, g and b, and the "
            f"columns are {', '.join(words)[:80]!r}"
        )
    return found


def _by_column(row: Sequence[str], columns: Mapping[str, int]) -> _Class:
    cells = {what: row[i] if i < len(row) else "" for what, i in columns.items()}
    channels = " ".join(cells.get(key, "") for key in ("colour", "r", "g", "b"))
    return _class(cells["name"], cells.get("value", ""), channels)


def _class(name: str, value: str, colour: str) -> _Class:
    """Return a class of cells; an invalid number or colour is left out."""
    whole = re.fullmatch(r"(\d{1,5})(\.0+)?", value.strip())
    return _Class(name.strip(), int(whole[1]) if whole else None, _colour(colour))


def _colour(text: str) -> int | None:
    """Return the colour 0xRRGGBB in `#ff0000` or `255 0 0`, `(255, 0, 0)`."""
    text = text.strip("()[] ")
    if re.fullmatch(r"#?[0-9a-fA-F]{6}", text):
        return int(text.lstrip("#"), 16)
    cells = re.split(r"[\s,]+", text)
    if len(cells) != 3 or not all(re.fullmatch(r"\d{1,3}(\.0+)?", c) for c in cells):
        return None
    red, green, blue = (int(float(cell)) for cell in cells)
    return red << 16 | green << 8 | blue if max(red, green, blue) < 256 else None


def _from_json(path: Path, text: str) -> list[_Class]:
    """Read Datumaro's dataset_meta.json, id2label.json, and lists of classes."""
    try:
        content: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{str(path)!r} is not JSON: {error}") from error
    table = cast(dict[str, Any], content) if isinstance(content, dict) else {}
    keys = ("label_map", "id2label", "classes", "labels", "categories")
    inner = next((table[key] for key in keys if table.get(key)), content)
    listed = inner if isinstance(inner, list) else ()
    pairs = [*inner.items()] if isinstance(inner, dict) else [("", e) for e in listed]
    found = [_entry(key, value) for key, value in pairs]
    colours = table.get("segmentation_colors") or table.get("palette")
    if isinstance(colours, list) and len(colours) == len(found):
        found = [
            replace(one, colour=_colour(str(colour)))
            for one, colour in zip(found, colours, strict=True)
        ]
    for pair, one in zip(pairs, found, strict=True):
        if not one.name:
            raise InputError(
                f"{str(path)!r}: a class has no name in {ascii(pair)[:80]}"
            )
    return found


def _entry(key: str, value: Any) -> _Class:
    """Read `"0": "cat"`, `"cat": 0`, `"cat": [255, 0, 0]`, `"cat"`, or an object."""
    if isinstance(value, dict):
        entry = cast(dict[str, Any], value)
        name = next((entry[k] for k in ("name", "title", "label") if k in entry), "")
        return _class(str(name), str(entry.get("id", "")), str(entry.get("color", "")))
    if isinstance(value, str):
        return _class(value, key, "")
    return _class(key, "" if isinstance(value, list) else str(value), str(value))
