"""Which values of masks are which class: as the options give, or as the masks show."""

import os
from collections import Counter
from collections.abc import Collection, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from jft.data.decode import DecodeError
from jft.data.listing import Encoded
from jft.data.masks.files import MAX_CLASSES, Coding
from jft.data.masks.pixels import SATURATED, Pixels, read_pixels, written
from jft.data.masks.tally import MANY, Found, Tally, distinct
from jft.errors import InputError

VOC_NAMES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car"),
    *("cat", "chair", "cow", "diningtable", "dog", "horse", "motorbike", "person"),
    *("pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
VOID_VALUE = 255
BACKGROUND = ("background", "bg")
_BLURRED = 32  # more values than this, with gaps between them, are not classes


def voc_colour(index: int) -> int:
    """Return the colour 0xRRGGBB of a class in VOC's table; that of 255 is void's.

    Bits of the index, three at a time, fill the channels from the highest bit down.
    Source: VOC2012's development kit, `VOClabelcolormap.m`.

    >>> [f"{voc_colour(i):06x}" for i in (0, 1, 2, 20, 255)]
    ['000000', '800000', '008000', '004080', 'e0e0c0']
    """
    red = green = blue = 0
    for bit in range(7, -1, -1):
        red |= (index & 1) << bit
        green |= (index >> 1 & 1) << bit
        blue |= (index >> 2 & 1) << bit
        index >>= 3
    return red << 16 | green << 8 | blue


VOC_INDICES = {voc_colour(i): i for i in (*range(len(VOC_NAMES)), VOID_VALUE)}


@dataclass(frozen=True)
class Wanted:
    """The options for the masks' values; None where not given.

    Attributes:
        names: Class names, in the order of their values.
        values: The value of each class.
        void: Values that do not count.
        colour: Whether values are colours.
        nearest: As in `Coding`.
        transparent: As in `Coding`.
        source: Where this is written, for messages.
    """

    names: tuple[str, ...] | None = None
    values: tuple[int, ...] | None = None
    void: tuple[int, ...] | None = None
    colour: bool = False
    nearest: bool = False
    transparent: str = "no"
    source: str = "classes"


def background(names: Sequence[str]) -> int:
    """Return the index of the class that is called background, or else 0.

    >>> background(["cat", "_background_"]), background(["road", "crack"])
    (1, 0)
    """
    plain = [name.strip("_ ").lower() for name in names]
    return next((plain.index(word) for word in BACKGROUND if word in plain), 0)


def find_values(
    masks: Sequence[Encoded], listed: Collection[int] = (), transparent: str = "no"
) -> Found:
    """Read all masks and collect their values; those that cannot be read are left out.

    Args:
        masks: The mask files of each split.
        listed: The colours that a list of classes has.
        transparent: As in `Coding`.
    """
    tally, why = Tally(), ""
    with closing(_distinct(masks, transparent)) as seen:
        for pixels in seen:
            if isinstance(pixels, str):
                why = why or pixels
                continue
            tally.add(pixels)
            if tally.full:
                break
    if not tally.counts:
        raise InputError(f"no mask can be read: {why}")
    return tally.found(listed)


def _distinct(
    masks: Sequence[Encoded], transparent: str
) -> Generator[Pixels | str, None, None]:
    """Yield the distinct values of each mask, or what is wrong with it."""

    def read(where: tuple[Encoded, int]) -> Pixels | str:
        name = ""
        try:
            file = where[0][where[1]]
            name = f"{file.name!r}: " if isinstance(file, Path) else ""
            pixels = read_pixels(file, transparent=transparent != "no")
            if transparent == "background":
                pixels = replace(pixels, clear=None)  # their value is 0
        except DecodeError as error:
            return f"{name}{error}"
        return replace(pixels, values=distinct(pixels))

    encoded = [(some, i) for some in masks for i in range(len(some))]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(read, encoded)


def given(wanted: Wanted) -> tuple[Coding, tuple[str, ...]]:
    """Return the coding and the class names where the values are given."""
    values = wanted.values or ()
    names = wanted.names or tuple(written(v, wanted.colour) for v in values)
    if len(names) != len(values):
        raise InputError(
            f"{len(names)} classes {list(names)}, but {len(values)} values"
        )
    usual = voc_colour(VOID_VALUE) if wanted.colour else VOID_VALUE
    void = (usual,) if wanted.void is None else wanted.void
    if wanted.void is None:
        void = tuple(value for value in void if value not in values)
    if both := [written(v, wanted.colour) for v in void if v in values]:
        raise InputError(f"{', '.join(both)} cannot be void and a class")
    _require_count(names)
    coding = Coding(values, void, wanted.colour, wanted.nearest, wanted.transparent)
    return coding, names


def inferred(found: Found, wanted: Wanted) -> tuple[Coding, tuple[str, ...]]:
    """Return the coding and the class names that the masks' values show.

    Numbers that count up from 0 are classes, and 255 is void; 0 and 255 alone (or 0
    and 65535) are background and foreground. Colours have to be VOC's.
    """
    numbers = {*found.masks}
    if len(numbers) > MANY:
        _blurred(found)
    if found.lossy and not any(numbers <= {0, top} for top in (1, *SATURATED)):
        _blurred(found)
    if found.colour:
        if strange := sorted(numbers - {*VOC_INDICES}):
            _strange(found, len(strange))
        numbers = {VOC_INDICES[value] for value in numbers}
    values, void = _choose(found, numbers, wanted)
    names = wanted.names or _names(values)
    _require_count(names)
    if found.colour:
        values, void = (tuple(map(voc_colour, some)) for some in (values, void))
    return Coding(values, void, found.colour, transparent=wanted.transparent), names


def _choose(
    found: Found, numbers: set[int], wanted: Wanted
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the values of the classes and of void."""
    count = len(wanted.names) if wanted.names else None
    void = wanted.void
    if void is None:
        for top in SATURATED:
            if numbers == {0, top} and count in (None, 2) and not found.colour:
                return (0, top), ()
        void = (VOID_VALUE,)
        classes = numbers - {VOID_VALUE}
        if classes != numbers and count == len(numbers) and max(classes) < len(numbers):
            _refuse(
                found, wanted, "255 may be void or a class: give void=255 or values="
            )
    rest = sorted(numbers - {*void})
    if len(rest) < 2:
        _refuse(found, wanted, "there is one value, which leaves nothing to learn")
    if len(rest) > MAX_CLASSES and not count:
        _blurred(found)
    usual = _usual(count or len(rest), void)
    if {*rest} <= {*usual}:
        return usual, void
    if count == len(rest):
        return tuple(rest), void
    if len(numbers) > _BLURRED:
        _blurred(found)
    _refuse(found, wanted, "they do not count up from 0 without gaps")


def _usual(count: int, void: Sequence[int]) -> tuple[int, ...]:
    """Return the first `count` numbers from 0 that are not void."""
    candidates = (n for n in range(count + len(void)) if n not in void)
    return tuple(candidates)[:count]


def _names(values: Sequence[int]) -> tuple[str, ...]:
    two = len(values) == 2 and values[0] == 0 and values[1] in (1, *SATURATED)
    return ("background", "foreground") if two else tuple(map(str, values))


def _refuse(found: Found, wanted: Wanted, why: str) -> NoReturn:
    """Raise `InputError` that lists the values and the options that would settle it."""
    named = ""
    if wanted.names:
        named = f" and {wanted.source} names {len(wanted.names)} classes"
    if found.step > 1:
        bits = 4 if found.step == 17 else 2
        named += f"; greys of {bits} bits are read times {found.step}, as white is 255"
    copy = ",".join(written(v, found.colour) for v in sorted(found.masks)[:24])
    raise InputError(
        f"which values of the masks are classes is unclear:{found.listed()}\n"
        f"{why}{named}. classes=NAME,... names the classes of values from 0 on; "
        f"values={copy} selects the values that are classes, void=... those that are "
        "ignored"
    )


def _strange(found: Found, count: int) -> NoReturn:
    """Raise `InputError` for colours that are not in VOC's table."""
    copy = ",".join(written(v, True) for v in sorted(found.masks)[:24])
    indices = ". values=0,1,... takes indices into the palettes instead"
    raise InputError(
        f"{found.why or 'the masks are coloured'}, and {count} of their "
        f"{len(found.masks)} colours are not in VOC's table; give the class of each, "
        f"such as values={copy}&classes=NAME,NAME,..."
        f"{indices if found.why else ''}{found.listed()}"
    )


def _blurred(found: Found) -> NoReturn:
    """Raise `InputError` for masks that JPEG or a resize with smoothing has changed."""
    lossy = "some are JPEG files, which change values" if found.lossy else "blurred"
    low, high = min(found.masks), max(found.masks)
    ends = f"{written(low, found.colour)},{written(high, found.colour)}"
    count = len(found.masks)
    many = f"more than {MANY}" if count > MANY else str(count)
    raise InputError(
        f"the masks hold {many} different values ({lossy}), between "
        f"{ends.replace(',', ' and ')}; best save them again as PNG without smoothing. "
        f"Else values={ends}&nearest=yes takes each pixel for the nearest of these"
    )


def _require_count(names: Sequence[str]) -> None:
    if not 2 <= len(names) <= MAX_CLASSES:
        raise InputError(f"{len(names)} classes; valid is 2 to {MAX_CLASSES}")
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError(f"several classes are called {twice}")
