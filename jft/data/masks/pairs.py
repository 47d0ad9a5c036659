"""Which mask belongs to which image: by what their files are called."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from jft.data.describe import few
from jft.data.walk import EXTENSIONS, kind
from jft.errors import InputError

SUFFIXES = (
    *("_mask", "-mask", "_masks", "_label", "_labels", "_seg", "_segmentation"),
    *("_gt", "_annotation", "_L"),
)
_MASK_PREFIX = re.compile(
    r"^(mask|label|seg|segmentation|annotation|gt|target)s?([_-]|(?=\d))", re.IGNORECASE
)
_IMAGE_PREFIX = re.compile(
    r"^(image|img|im|sat|photo|frame|rgb|input)s?([_-]|(?=\d))", re.IGNORECASE
)
_IMAGE_SUFFIX = re.compile(r"_(sat|image|img|rgb|leftImg8bit)$", re.IGNORECASE)
_MASK_TYPES = (".png", ".bmp", ".tif", ".tiff", ".pgm")

Pairs = list[tuple[str, tuple[str, ...]]]
"""Paths of an image and of its masks within the data."""


@dataclass(frozen=True)
class Naming:
    """How masks are called.

    Attributes:
        suffixes: What may end their names, before the type.
        prefixes: What may begin their names; None for the usual ones.
        only: Whether files with other names are not masks.
        several: Whether an image may have several masks.
    """

    suffixes: tuple[str, ...] = SUFFIXES
    prefixes: tuple[str, ...] | None = None
    only: bool = False
    several: bool = False

    def bases(self, stem: str) -> Iterator[str]:
        """Yield what the image of a mask may be called, the likeliest first.

        Args:
            stem: The path of the mask within its folder, without the type.
        """
        folder, name = os.path.split(stem)
        for part in self._bare(name):
            yield os.path.join(folder, part)

    def _bare(self, name: str) -> Iterator[str]:
        if not self.only:
            yield name
        for end in self.suffixes:
            if name.endswith(end):
                yield name.removesuffix(end)
            elif numbered := re.fullmatch(rf"(.*){re.escape(end)}[_-]?\d+", name):
                yield numbered[1]
        if self.prefixes is None and (found := _MASK_PREFIX.match(name)):
            yield name[found.end() :]
        for start in self.prefixes or ():
            if name.startswith(start):
                yield name.removeprefix(start)


def read_naming(options: Mapping[str, str]) -> Naming:
    """Return the naming that `suffix`, `prefix` and `several` give."""
    several = options.get("several") == "merge"
    if "suffix" not in options and "prefix" not in options:
        return Naming(several=several)
    suffixes, prefixes = (
        tuple(options[name].split(",")) if name in options else ()
        for name in ("suffix", "prefix")
    )
    return Naming(suffixes, prefixes, True, several)


@dataclass(frozen=True)
class Matched:
    """The pairs in a folder, and what is in no pair."""

    pairs: Pairs
    lone_images: list[str]
    lone_masks: list[str]


def match(
    images: Sequence[str],
    masks: Sequence[str],
    folders: tuple[str, str],
    naming: Naming,
    skipped: Counter[str],
) -> Matched:
    """Pair images and masks whose paths within their folders are called alike."""
    keys = _image_keys(images, folders[0])
    found: dict[str, list[str]] = {}
    lone: list[str] = []
    for mask in masks:
        stem = os.path.splitext(os.path.relpath(mask, folders[1] or "."))[0]
        bases = [*naming.bases(stem)]
        image = next((keys[base] for base in bases if base in keys), None)
        if image is not None:
            found.setdefault(image, []).append(mask)
        elif naming.only and not bases:
            skipped[kind(mask)] += 1
        else:
            lone.append(mask)
    if not naming.several:
        _require_one(found)
    pairs: Pairs = [(i, tuple(sorted(found[i]))) for i in sorted(images) if i in found]
    return Matched(pairs, [image for image in images if image not in found], lone)


def _require_one(found: Mapping[str, Sequence[str]]) -> None:
    lines = [
        f"{image!r} has {len(some)} masks: {some[0]!r} and {some[1]!r}"
        for image, some in found.items()
        if len(some) > 1
    ]
    if lines:
        raise InputError(
            f"{len(lines)} images have several masks; several=merge lays them over "
            f"each other, suffix=_mask (or prefix=) chooses one{few(lines)}"
        )


def _image_keys(images: Sequence[str], folder: str) -> dict[str, str]:
    """Return images by what masks may call them: `1`, `1.jpg`, `1` of `image_1.jpg`."""
    names = {image: os.path.relpath(image, folder or ".") for image in images}
    keys: dict[str, str] = {}
    for image, name in names.items():
        stem = os.path.splitext(name)[0]
        if stem in keys:
            raise InputError(
                f"{keys[stem]!r} and {image!r} differ only in their file type, so "
                "their masks are ambiguous"
            )
        keys[stem] = image
    bare: dict[str, list[str]] = {}
    for stem, image in keys.items():
        inside, name = os.path.split(stem)
        short = _IMAGE_SUFFIX.sub("", _IMAGE_PREFIX.sub("", name, 1))
        bare.setdefault(os.path.join(inside, short), []).append(image)
    alone = {key: some[0] for key, some in bare.items() if len(some) == 1}
    return alone | {name: image for image, name in names.items()} | keys


def split_side_by_side(
    names: Sequence[str], naming: Naming, skipped: Counter[str]
) -> tuple[list[str], list[str]]:
    """Return the images and the masks among files that are in one folder.

    Masks are called `x_mask.png`, `mask_x.png` or `x.jpg.png` beside `x.jpg`, or
    `x.png` beside an `x` of another type.
    """
    pictures = [name for name in names if name.lower().endswith(EXTENSIONS)]
    stems = Counter(os.path.splitext(name)[0] for name in pictures)
    files, known = {*names}, {*names, *stems}

    def is_mask(name: str, naming: Naming) -> bool:
        stem, end = os.path.splitext(name)
        bases = {*naming.bases(stem)} - {stem}
        if naming.only:
            return bool(bases)
        beside = stem in files or (stems[stem] > 1 and end.lower() in _MASK_TYPES)
        return stem.endswith(naming.suffixes) or beside or bool(bases & known)

    masks = sorted(name for name in names if is_mask(name, naming))
    others = {name for name in names if is_mask(name, Naming())} - {*masks}
    no_images = {*masks, *others}
    images = [name for name in pictures if name not in no_images]
    skipped.update(kind(name) for name in {*names} - {*images, *masks})
    return images, masks
