"""From what a form of data found in its files to a data set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jft.data.describe import identity
from jft.data.labels import Array, labelled
from jft.data.listing import ClassMaps, Dataset, Encoded, Listing, Split, TaskName
from jft.data.masks.class_file import read_class_file
from jft.data.masks.files import CodedMasks, Coding
from jft.data.masks.options import read_options
from jft.data.masks.values import VOID_VALUE, find_values, given, inferred
from jft.data.values import Values
from jft.errors import InputError


@dataclass(frozen=True)
class Parts:
    """What is known of a data set, except its labels.

    Attributes:
        name: As in `jft.data.listing.Dataset`.
        keys: Of each split, what its examples are called.
        images: Of each split, the image files.
        checks: Of each split, a number per example that changes with its files.
        skipped: Entries that are not examples.
    """

    name: str
    keys: Mapping[Split, tuple[str, ...]]
    images: Mapping[Split, Encoded]
    checks: Mapping[Split, Sequence[int]]
    skipped: int = 0

    def with_values(self, values: Values) -> Dataset:
        """Return the data set with labels that are numbers, words or lists of them."""
        found = labelled(values)
        names = found.class_names
        return self.dataset(found.task, names, found.labels, (found.task, names))

    def with_masks(
        self,
        files: Mapping[Split, Encoded],
        options: Mapping[str, str],
        names: tuple[str, ...] | None = None,
    ) -> Dataset:
        """Return the data set with masks, whose values are looked at.

        Args:
            files: Of each split, the mask files.
            options: May have `values`, `void` and `nearest`.
            names: What the classes 0, 1, ... are called; None if unknown.
        """
        coding, names = find_coding([*files.values()], options, names)
        labels: dict[Split, ClassMaps] = {
            split: CodedMasks(some, coding) for split, some in files.items()
        }
        return self.dataset("segmentation", names, labels, (names, coding))

    def dataset(
        self,
        task: TaskName,
        names: tuple[str, ...],
        labels: Mapping[Split, ClassMaps] | Mapping[Split, Array],
        meaning: object,
    ) -> Dataset:
        """Return the data set; `meaning` goes into its fingerprint."""
        splits: dict[Split, Listing] = {
            split: Listing(keys=keys, images=self.images[split], labels=labels[split])
            for split, keys in self.keys.items()
        }
        return Dataset(
            name=self.name,
            task=task,
            class_names=names,
            splits=splits,
            fingerprint=identity(splits, self.checks, meaning),
            skipped=self.skipped,
        )


def find_coding(
    files: Sequence[Encoded], options: Mapping[str, str], names: tuple[str, ...] | None
) -> tuple[Coding, tuple[str, ...]]:
    """Return which values are which class, and the class names.

    All masks are read once, unless the options give their `values`. Numbers without
    gaps that begin at 1 or above are classes too, called by their numbers, since
    their file names none; 255 is void. All else is as `masks:PATH` has it.

    Args:
        files: The masks of each split.
        options: May have `values`, `void` and `nearest`.
        names: What the classes 0, 1, ... are called; None if unknown.
    """
    wanted = read_options({k: v for k, v in options.items() if k != "classes"})
    wanted = replace(wanted, names=names)
    if wanted.values is not None:
        return given(wanted)
    found = find_values(files)
    numbers = sorted({*found.masks} - {VOID_VALUE})
    counted = list(range(numbers[0], numbers[0] + len(numbers))) if numbers else []
    if wanted.names is None and numbers == counted[:254] and numbers[:1] != [0]:
        wanted = replace(wanted, names=tuple(map(str, numbers)), source="the masks")
    return inferred(found, wanted)


def class_names(options: Mapping[str, str]) -> tuple[str, ...] | None:
    """Return the names that `classes` lists, or that are in the file it names."""
    text = options.get("classes")
    if text is None:
        return None
    names = text.split(",")
    if len(names) == 1:
        names = read_class_file(Path(text).expanduser()).in_order()
    names = [name.strip() for name in names if name.strip()]
    if len({*names}) < max(len(names), 2):
        raise InputError(f"classes={text}: valid are at least 2 names, each once")
    return tuple(names)


def require_mask_options(options: Mapping[str, str]) -> None:
    """Raise `InputError` unless the options for masks make sense."""
    class_names(options)
    read_options({name: text for name, text in options.items() if name != "classes"})


def require_no_mask_options(options: Mapping[str, str]) -> None:
    """Raise `InputError` if an option is given that only masks have."""
    if wrong := [name for name in ("values", "void", "nearest") if name in options]:
        raise InputError(f"{wrong[0]}= is for masks, and the labels here are not masks")
