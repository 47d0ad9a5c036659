"""The options for the values of masks."""

import re
from collections.abc import Mapping

from jft.data.describe import require_choice
from jft.data.masks.values import Wanted
from jft.errors import InputError

_COLOUR = re.compile(r"#?[0-9a-fA-F]{6}")
_NUMBER = re.compile(r"[0-9]{1,5}")


def read_options(options: Mapping[str, str]) -> Wanted:
    """Read the options `classes`, `values`, `void` and `nearest`."""
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
        transparent=options.get("transparent", "no"),
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
