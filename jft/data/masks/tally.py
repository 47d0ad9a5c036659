"""Numbers or colours: what the masks of a data set hold, taken together."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from jft.data.describe import few
from jft.data.masks.pixels import SATURATED, WHITE, Pixels, grey, white, written
from jft.errors import InputError

MANY = 1024  # more values than this are not classes, whatever the options are


@dataclass(frozen=True)
class Found:
    """The values that occur in masks.

    Attributes:
        masks: How many masks hold each value; of more than `MANY`, those met first.
        colour: Whether they are colours.
        lossy: Whether a mask is a JPEG, which changes values.
        palette: The colours of palettes, of which only the indices were taken.
        why: Why the colours of palettes were taken, if that has to be reported.
        step: As in `Pixels`, the largest.
    """

    masks: Counter[int]
    colour: bool
    lossy: bool
    palette: frozenset[int] = frozenset()
    why: str = ""
    step: int = 1

    def listed(self) -> str:
        """Return the values and how many masks hold each, a line for each."""
        return few(
            [
                f"{written(value, self.colour)} in {count} masks"
                for value, count in sorted(self.masks.items())
            ],
            24,
        )


def distinct(pixels: Pixels) -> npt.NDArray[np.uint32]:
    """Return the sorted values of a mask: of more than `MANY`, these and the last."""
    flat = pixels.values.ravel()
    if pixels.clear is not None:
        flat = flat[~pixels.clear.ravel()]
    if not len(flat):
        return flat
    # Runs are long, and sorting is slow.
    values = np.unique(flat[np.r_[True, flat[1:] != flat[:-1]]])
    return values if len(values) <= MANY else np.r_[values[:MANY], values[-1]]


@dataclass
class Tally:
    """Counts in how many masks each value is, by the kind of file.

    Attributes:
        counts: Of each kind of `Pixels`, in how many masks its values are.
        colours: In how many masks each colour of a palette is.
        tables: Of each index into palettes, the colours that it has.
        lossy: Whether a mask is a JPEG.
        step: The largest of `Pixels`.
    """

    counts: dict[str, Counter[int]] = field(default_factory=dict)
    colours: Counter[int] = field(default_factory=Counter)
    tables: dict[int, set[int]] = field(default_factory=dict)
    lossy: bool = False
    step: int = 1

    def add(self, pixels: Pixels) -> None:
        """Add a mask, of which `values` need only have each value once."""
        self.counts.setdefault(pixels.kind, Counter()).update(pixels.values.tolist())
        self.lossy |= pixels.lossy
        self.step = max(self.step, pixels.step)
        if pixels.kind == "palette":
            indices = pixels.values[pixels.values < len(pixels.table)]
            colours = pixels.table[indices]
            self.colours.update({*colours.tolist()})
            for index, colour in zip(indices.tolist(), colours.tolist(), strict=True):
                self.tables.setdefault(index, set()).add(colour)

    @property
    def full(self) -> bool:
        """Whether there are more than `MANY` values, so that no more need be read."""
        return any(len(count) > MANY for count in self.counts.values())

    def found(self, listed: Collection[int] = ()) -> Found:
        """Return the values, all of them numbers or all of them colours.

        They are colours if a mask has colours without a palette; if palettes differ, so
        that their indices mean nothing; or if a list of classes has them all.

        Args:
            listed: The colours that a list of classes has.
        """
        coloured = not grey(np.array([*self._count("rgb")], np.uint32)).all()
        why = "" if coloured else self._difference()
        if coloured or why or (listed and self._are_all_in(listed)):
            colours = self._as_colours()
            return Found(colours, True, self.lossy, why=why, step=self.step)
        # A palette of greys in their order is as good as none.
        shown = frozenset(
            colour
            for index, some in self.tables.items()
            for colour in some
            if colour != _grey(index)
        )
        return Found(
            self._as_numbers(), False, self.lossy, palette=shown, step=self.step
        )

    def _count(self, kind: str) -> Counter[int]:
        return self.counts.get(kind, Counter())

    def _are_all_in(self, listed: Collection[int]) -> bool:
        """Return whether all values are listed colours; above 255 they are not."""
        high = max(self._count("grey"), default=0) > 255
        return not high and {*self._as_colours()} <= {*listed}

    def _as_colours(self) -> Counter[int]:
        greys = {_grey(v): n for v, n in self._count("grey").items() if v < 256}
        bits = {v * WHITE: n for v, n in self._count("bits").items()}
        return self._count("rgb") + self.colours + Counter(greys) + Counter(bits)

    def _greys(self) -> Counter[int]:
        """Return the numbers in files that have neither a palette nor one bit."""
        levels = Counter({v & 0xFF: n for v, n in self._count("rgb").items()})
        return self._count("grey") + levels

    def _white(self) -> int:
        others = {*self._greys(), *self._count("palette")} - {0}
        return white(others or {1})

    def _as_numbers(self) -> Counter[int]:
        others = self._greys() + self._count("palette")
        top = self._white()
        if self._count("bits")[1] and top in SATURATED and 1 in others:
            raise InputError(
                f"some masks have one bit, and others hold both 1 and {top}: it is "
                "unclear which of them white is. Best save all with 8 bits; else "
                f"values=0,1 takes it for 1, and values=0,1,{top} for {top}"
            )
        return others + Counter({v * top: n for v, n in self._count("bits").items()})

    def _difference(self) -> str:
        """Return which index has several colours in the files, if any."""
        for index, colours in sorted(self.tables.items()):
            if len(colours) > 1:
                some = " and ".join(written(v, True) for v in sorted(colours)[:2])
                return (
                    f"the palettes of the masks differ (index {index} is {some}), so "
                    "that their colours count"
                )
        numbers = {_grey(v): v for v in self._greys() if v < 256}
        if bits := self._count("bits"):
            numbers |= {v * WHITE: v * self._white() for v in bits}
        for index, (colour,) in sorted(self.tables.items()):
            number = numbers.get(colour, index)
            if number != index and colour not in self.tables.get(number, ()):
                return (
                    f"{written(colour, True)} is index {index} in palettes and "
                    f"{number} in masks without one, so that the colours count"
                )
        return ""


def _grey(level: int) -> int:
    """Return the colour 0xRRGGBB of a grey level."""
    return level * 0x010101
