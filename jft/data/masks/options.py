"""What options and class list files say of the values of masks."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jft.data.describe import read_text, require_choice
from jft.data.masks.values import VOID_VALUE, Wanted
from jft.errors import InputError

CLASS_FILES = (
    *("labelmap.txt", "label_colors.txt", "class_dict.csv"),
    *("classes.txt", "codes.txt", "class_names.txt", "labels.txt"),
)
_COLOUR = re.compile(r"#?[0-9a-fA-F]{6}")
_NUMBER = re.compile(r"[0-9]{1,5}")
# `64 128 64 Animal` (CamVid), `cat:128,0,0::` (CVAT), `Animal, 64, 128, 64`
_LINES = (
    re.compile(r"(?P<r>\d+)[\s,]+(?P<g>\d+)[\s,]+(?P<b>\d+)[\s,]+(?P<name>.+)"),
    re.compile(r"(?P<name>[^:]+):(?P<r>\d+),(?P<g>\d+),(?P<b>\d+):.*"),
    re.compile(r"(?P<name>.+?)\s*,\s*(?P<r>\d+)\s*,\s*(?P<g>\d+)\s*,\s*(?P<b>\d+)"),
)
_IGNORE = "__ignore__"  # labelme's first line, which stands for -1
_VOID = ("void", _IGNORE)


def read_options(options: Mapping[str, str]) -> Wanted:
    """Return what the options `classes`, `values`, `void` and `nearest` say.

    Raises:
        InputError: A value is neither a number nor a colour, or is there twice.
    """
    require_choice(options, "nearest", ("no", "yes"))
    nearest = options.get("nearest") == "yes"
    values = _values(options, "values")
    void = [] if options.get("void") == "none" else _values(options, "void")
    if nearest and values is None:
        raise InputError("nearest=yes needs values=..., such as values=0,255")
    names = _names(options["classes"]) if "classes" in options else None
    colour = bool(values) and all(map(_COLOUR.fullmatch, values or []))
    return Wanted(
        names=names,
        values=None if values is None else _numbers("values", values, colour),
        void=None if void is None else _numbers("void", void, colour),
        colour=colour,
        nearest=nearest,
    )


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise InputError(f"classes={text}: a name is empty")
    return names


def _values(options: Mapping[str, str], name: str) -> list[str] | None:
    if name not in options:
        return None
    words = [word.strip() for word in options[name].split(",")]
    for word in words:
        if not (_NUMBER.fullmatch(word) or _COLOUR.fullmatch(word)):
            raise InputError(
                f"{name}={options[name]}: {word!r} is neither a number of at most "
                "five digits nor a colour of six hexadecimal digits"
            )
    return words


def _numbers(name: str, words: list[str], colour: bool) -> tuple[int, ...]:
    form = _COLOUR if colour else _NUMBER
    numbers = [
        int(word.lstrip("#"), 16 if colour else 10)
        for word in words
        if form.fullmatch(word)
    ]
    if len({*numbers}) < len(words):
        raise InputError(
            f"{name}={','.join(words)}: each once; values= and void= are both numbers, "
            "or both colours of six hexadecimal digits"
        )
    return tuple(numbers)


@dataclass(frozen=True)
class ClassList:
    """What a class list file says; a class called void or __ignore__ does not count.

    Attributes:
        names: The classes in the order of the lines.
        colours: The colour 0xRRGGBB of each, or none.
        source: The name of the file.
    """

    names: tuple[str, ...]
    colours: tuple[int, ...]
    source: str

    def wanted(self, *, colour: bool) -> Wanted:
        """Return what it says of masks of colours, or of numbers.

        Lines stand for the numbers from 0 on; an __ignore__ in the first one for 255.
        """
        first = self.names[:1] == (_IGNORE,) and not colour
        names = self.names[1:] if first else self.names
        values = self.colours if colour else range(len(names))
        pairs = [*zip(names, values, strict=True)]
        kept = [pair for pair in pairs if pair[0].lower() not in _VOID]
        void = tuple(value for pair in pairs if pair not in kept for value in pair[1:])
        if (void or first) and not colour:
            void = (*void, VOID_VALUE)
        return Wanted(
            names=tuple(name for name, _ in kept),
            values=tuple(value for _, value in kept) if colour else None,
            void=void or None,
            colour=colour,
            source=self.source,
        )


def read_class_file(root: Path) -> ClassList | None:
    """Return what a class list file beside the masks says; None without one.

    A line names a class, or a class and its colour.

    Args:
        root: The folder of the data.

    Raises:
        InputError: It is no list of classes.
    """
    path = next((root / f for f in CLASS_FILES if (root / f).is_file()), None)
    if path is None:
        return None
    lines = [line.strip() for line in read_text(path).splitlines()]
    lines = [line for line in lines if line and line[0] != "#"]
    found = [_coloured(line) for line in lines]
    pairs = [pair for pair in found if pair]
    if pairs and any(pair is None for pair in found[1:]):  # the first may be a header
        wrong = lines[1 + found[1:].index(None)]
        raise InputError(f"{str(path)!r}: no class and colour in line {wrong!r}")
    names = [name for name, _ in pairs] or [line.partition(":")[0] for line in lines]
    return ClassList(tuple(names), tuple(colour for _, colour in pairs), path.name)


def _coloured(line: str) -> tuple[str, int] | None:
    """Return the class and the colour in a line, if it has both."""
    for pattern in _LINES:
        if match := pattern.fullmatch(line):
            red, green, blue = (int(match[channel]) for channel in "rgb")
            if max(red, green, blue) < 256:
                return match["name"].strip(), red << 16 | green << 8 | blue
    return None
