"""Pairs of an image and a mask, whose pixels are the classes of the image's pixels."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from jft.data.describe import few, identity, require_choice, size_of
from jft.data.listing import ClassMaps, Dataset, Encoded, Listing, Paths, Split
from jft.data.masks.class_file import ClassList, find_class_file
from jft.data.masks.files import CodedMasks, Coding, MergedMasks
from jft.data.masks.layout import Layout, find_layout
from jft.data.masks.options import read_options
from jft.data.masks.pixels import written
from jft.data.masks.tally import Found
from jft.data.masks.values import (
    VOC_INDICES,
    VOC_NAMES,
    VOID_VALUE,
    Wanted,
    background,
    find_values,
    given,
    inferred,
    voc_colour,
)
from jft.data.walk import require_folder
from jft.errors import InputError


def check(path: str, options: Mapping[str, str]) -> None:
    """Raise `InputError` unless the folder exists and the options make sense."""
    require_folder(Path(path))
    require_choice(options, "unpaired", ("no", "skip"))
    require_choice(options, "several", ("no", "merge"))
    require_choice(options, "transparent", ("no", "void", "background"))
    if "test" in options and "train" not in options:
        raise InputError(f"test={options['test']} needs train= as well")
    if ("images" in options) != ("masks" in options):
        raise InputError("images=FOLDER and masks=FOLDER need each other")
    for name in ("images", "masks"):
        require_folder(Path(path, options.get(name, "")))
    wanted = read_options(options)
    if wanted.values is not None:
        given(wanted)


def load(path: str, options: Mapping[str, str]) -> Dataset:
    """List the pairs of a folder; every mask is read once unless `values` are given."""
    check(path, options)
    root = Path(path)
    layout = find_layout(root, options)
    coding, names, notes = _coding(root, layout, read_options(options))
    splits: dict[Split, Listing] = {}
    sizes: dict[Split, list[int]] = {}
    for split, pairs in layout.pairs.items():
        images = tuple(image for image, _ in pairs)
        groups = tuple(masks for _, masks in pairs)
        splits[split] = Listing(
            keys=images,
            images=Paths(root, images),
            labels=_masks(root, groups, coding, background(names)),
        )
        # Both sizes in one number: images stay far below 2^40 bytes.
        sizes[split] = [
            size_of(root / image) << 40 | sum(size_of(root / mask) for mask in masks)
            for image, masks in pairs
        ]
    return Dataset(
        name=root.resolve().name,
        task="segmentation",
        class_names=names,
        splits=splits,
        fingerprint=identity(splits, sizes, (names, coding)),
        skipped=layout.skipped.total(),
        skipped_kinds=layout.skipped,
        notes=notes,
    )


def _masks(
    root: Path, groups: tuple[tuple[str, ...], ...], coding: Coding, ground: int
) -> ClassMaps:
    """Return masks of one file each, or of several that are laid over each other."""
    masks = CodedMasks(Paths(root, tuple(m for some in groups for m in some)), coding)
    if len(masks) == len(groups):
        return masks
    return MergedMasks(masks, tuple(map(len, groups)), ground)


def _coding(
    root: Path, layout: Layout, wanted: Wanted
) -> tuple[Coding, tuple[str, ...], tuple[str, ...]]:
    """Return which values are which class, the names, and notes.

    The options decide, else a class file, else the values themselves.
    """
    if wanted.values is not None:
        return *given(wanted), ()
    masks = [
        tuple(mask for _, masks in pairs for mask in masks)
        for pairs in layout.pairs.values()
    ]
    files = [Paths(root, names) for names in masks]
    first = next(iter(layout.pairs.values()))[0]
    folders = [Path(root, name).parent for name in (first[0], *first[1])]
    listed = None if wanted.names else find_class_file([root, *folders])
    if listed is not None:
        return _by_list(files, listed, wanted)
    found = find_values(files, transparent=wanted.transparent)
    if wanted.names is None and layout.voc and _is_voc(found):
        wanted = replace(wanted, names=VOC_NAMES, source="VOC")
    return *inferred(found, wanted), ()


def _by_list(
    files: Sequence[Encoded], listed: ClassList, wanted: Wanted
) -> tuple[Coding, tuple[str, ...], tuple[str, ...]]:
    """Return which values are which class by a class file, the names, and notes."""
    known = {*listed.colours, voc_colour(VOID_VALUE)} if listed.colours else set[int]()
    found = find_values(files, known, wanted.transparent)
    if listed.colours and found.palette:
        strange = [written(value, True) for value in sorted(found.palette - known)]
        raise InputError(
            f"{listed.source!r} gives the colours of the classes, and the palettes of "
            "masks have others. values=0,1,... takes the indices in the palettes, "
            f"values=RRGGBB,... the colours:{few(strange, 24)}"
        )
    chosen = listed.wanted(colour=found.colour and bool(listed.colours))
    chosen = replace(chosen, transparent=wanted.transparent)
    if wanted.void is not None:
        chosen = replace(chosen, void=wanted.void)
    colours = sorted({*found.masks} - {*(chosen.void or ()), voc_colour(VOID_VALUE)})
    if found.colour and not listed.colours:
        if chosen.values is None or {*colours} <= {*VOC_INDICES}:
            return *inferred(found, replace(chosen, values=None)), ()
        if colours[0] == 0 and len(colours) == len(listed.names):
            chosen = replace(
                chosen, values=tuple(colours), void=wanted.void, colour=True
            )
            return *given(chosen), (_in_order(listed, colours),)
    if chosen.values is None:
        return *inferred(found, chosen), ()
    coding, names = given(chosen)
    if strange := sorted({*found.masks} - {*coding.values, *coding.void}):
        values = [written(value, found.colour) for value in strange]
        raise InputError(
            f"{listed.source!r} does not have all values of the masks. values=... is "
            f"the value of each class, void=... does not count:{few(values, 24)}"
        )
    return coding, names, ()


def _in_order(listed: ClassList, colours: Sequence[int]) -> str:
    """Return the note that classes were given to colours in their order."""
    pairs = zip(colours, listed.names, strict=True)
    shown = ", ".join(f"{written(colour, True)} {name}" for colour, name in pairs)
    return (
        f"{listed.source!r} has numbers, and the masks have colours, taken in their "
        f"order: {shown[:300]}. If that is wrong: values=RRGGBB,...&classes=NAME,..."
    )


def _is_voc(found: Found) -> bool:
    """Return whether the values are VOC's classes, and not only two."""
    numbers = {VOC_INDICES.get(v, v) if found.colour else v for v in found.masks}
    classes = numbers - {VOID_VALUE}
    return len(classes) > 1 and max(classes) < len(VOC_NAMES)
