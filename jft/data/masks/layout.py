"""Which mask belongs to which image: the ways in which folders hold both."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jft.data.describe import few, read_text
from jft.data.folder import TEST_FOLDERS, TRAIN_FOLDERS, split_folders
from jft.data.listing import Split
from jft.data.walk import EXTENSIONS, MASK_EXTENSIONS, list_images, require_folder
from jft.errors import InputError

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "jpegimages")
MASK_FOLDERS = (
    *("masks", "mask", "labels", "label", "annotations", "annotation", "gt"),
    *("groundtruth", "segmentationclass"),
)
SIBLINGS = ("annot", "_masks", "_mask", "_labels")  # train/ beside trainannot/
SUFFIXES = (
    *("_mask", "-mask", "_masks", "_label", "_labels", "_seg", "_segmentation"),
    *("_gt", "_annotation", "_L"),
)
LISTS = ("ImageSets", "Segmentation")
_MASK_TYPES = (".png", ".bmp", ".tif", ".tiff", ".pgm")

Pairs = list[tuple[str, str]]  # paths of image and mask within the data


@dataclass(frozen=True)
class Layout:
    """The pairs of each split.

    Attributes:
        pairs: The paths of image and mask, relative to the data, sorted.
        skipped: Entries that are in no pair.
        voc: Whether the folders are VOC's.
    """

    pairs: Mapping[Split, Pairs]
    skipped: int
    voc: bool = False


@dataclass(frozen=True)
class _Matched:
    """The pairs in a place, and what is in none."""

    pairs: Pairs
    lone_images: list[str]
    lone_masks: list[str]
    skipped: int = 0


def find_layout(root: Path, options: Mapping[str, str]) -> Layout:
    """Find images and masks: in two folders, in those of each split, or side by side.

    Args:
        root: The folder of the data.
        options: `images` and `masks`, folders within it; `unpaired=skip`.

    Raises:
        InputError: There are none, or images without masks, or masks without images.
    """
    skip = options.get("unpaired") == "skip"
    if "images" in options:
        matched = _two_folders(root, options["images"], options["masks"])
        return _by_folder(root, matched, options["images"], skip)
    whole = _place(root, "")
    if whole:
        matched = _two_folders(root, *whole)
        if lists := _read_lists(root):
            return _by_list(root, matched, lists, voc=True)
        layout = _by_folder(root, matched, whole[0], skip)
        voc = whole[1].lower() == "segmentationclass"
        return Layout(layout.pairs, layout.skipped, voc)
    if alone := _train_alone(root):
        matched = _two_folders(root, *alone)
        return Layout({"train": _used(root, matched, skip)}, _left(matched))
    folders = split_folders([name for name in _folders(root).values()], str(root))
    if not folders:
        matched = _side_by_side(root, "")
        return Layout({"train": _used(root, matched, skip)}, _left(matched))
    pairs: dict[Split, Pairs] = {}
    skipped = 0
    for split, name in folders.items():
        matched = _in_split(root, name)
        pairs[split] = _used(root, matched, skip)
        skipped += _left(matched)
    return Layout(pairs, skipped)


def _folders(folder: Path) -> dict[str, str]:
    """Return the visible folders in a folder, by their names in lower case."""
    require_folder(folder)
    names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    return {name.lower(): name for name in names if name[0] != "."}


def _place(root: Path, inside: str) -> tuple[str, str] | None:
    """Return the folders of images and of masks in `root/inside`, if both are there."""
    folders = _folders(root / inside)
    images = [folders[name] for name in IMAGE_FOLDERS if name in folders]
    masks = [folders[name] for name in MASK_FOLDERS if name in folders]
    if images and masks:
        return _join(inside, images[0]), _join(inside, masks[0])
    return None


def _in_split(root: Path, name: str) -> _Matched:
    """Match the images and masks of one split's folder."""
    place = _place(root, name) or _siblings(root, name)
    return _two_folders(root, *place) if place else _side_by_side(root, name)


def _siblings(root: Path, name: str) -> tuple[str, str] | None:
    """Return a split's folder and that of its masks beside it, if there is one."""
    masks = [name + end for end in SIBLINGS if (root / (name + end)).is_dir()]
    return (name, masks[0]) if masks else None


def _train_alone(root: Path) -> tuple[str, str] | None:
    """Return train/ and the folder of its masks, where no other split is (Carvana)."""
    folders = _folders(root)
    train = [folders[name] for name in TRAIN_FOLDERS if name in folders]
    if not train or any(name in folders for name in TEST_FOLDERS):
        return None
    return _siblings(root, train[0])


def _join(folder: str, name: str) -> str:
    return Path(folder, name).as_posix()


def _two_folders(root: Path, images: str, masks: str) -> _Matched:
    for folder in (images, masks):
        require_folder(root / folder)
    image_names, other = list_images(root / images)
    mask_names, others = list_images(root / masks, MASK_EXTENSIONS)
    return _match(
        [_join(images, name) for name in image_names],
        [_join(masks, name) for name in mask_names],
        (images, masks),
        other + others,
    )


def _side_by_side(root: Path, inside: str) -> _Matched:
    """Match x.jpg with x_mask.png or with x.png, wherever both are in one folder."""
    names, other = list_images(root / inside, MASK_EXTENSIONS)
    names = [_join(inside, name) for name in names]
    pictures = [name for name in names if name.lower().endswith(EXTENSIONS)]
    stems = Counter(os.path.splitext(name)[0] for name in pictures)
    masks = {
        name
        for name in names
        for stem, kind in [os.path.splitext(name)]
        if stem.endswith(SUFFIXES) or (stems[stem] > 1 and kind.lower() in _MASK_TYPES)
    }
    images = [name for name in pictures if name not in masks]
    other += len(names) - len(images) - len(masks)
    return _match(images, sorted(masks), ("", ""), other)


def _match(
    images: Sequence[str], masks: Sequence[str], folders: tuple[str, str], other: int
) -> _Matched:
    """Pair images and masks whose paths within their folders are called alike."""
    by_stem = _by_stem(images, folders[0])
    partner: dict[str, str] = {}
    lone: list[str] = []
    for mask in masks:
        stem = os.path.splitext(os.path.relpath(mask, folders[1] or "."))[0]
        ends = ["", *(end for end in SUFFIXES if stem.endswith(end))]
        bases = [stem.removesuffix(end) for end in ends]
        image = next((by_stem[base] for base in bases if base in by_stem), None)
        if image is None:
            lone.append(mask)
        elif image in partner:
            raise InputError(
                f"{image!r} has two masks: {partner[image]!r} and {mask!r}"
            )
        else:
            partner[image] = mask
    pairs = [(image, partner[image]) for image in images if image in partner]
    without = [image for image in images if image not in partner]
    return _Matched(sorted(pairs), without, lone, other)


def _by_stem(images: Sequence[str], folder: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for image in images:
        stem = os.path.splitext(os.path.relpath(image, folder or "."))[0]
        if stem in found:
            raise InputError(
                f"{found[stem]!r} and {image!r} differ in their type alone, so that "
                "no mask tells them apart"
            )
        found[stem] = image
    return found


def _left(matched: _Matched) -> int:
    return matched.skipped + len(matched.lone_images) + len(matched.lone_masks)


def _used(root: Path, matched: _Matched, skip: bool) -> Pairs:
    """Return the pairs; `InputError` if there are none, or others that are in none."""
    lone = [f"image without mask: {name!r}" for name in matched.lone_images]
    lone += [f"mask without image: {name!r}" for name in matched.lone_masks]
    if not matched.pairs:
        raise InputError(
            f"{str(root)!r} has no image with a mask of its name. Valid are images/ "
            "and masks/ (each with train/ and val/ or test/ inside, or both inside "
            "train/ and test/), x.jpg beside x_mask.png or x.png, VOC's JPEGImages/ "
            "and SegmentationClass/, or images=FOLDER&masks=FOLDER" + few(lone)
        )
    if lone and not skip:
        raise InputError(
            f"{str(root)!r}: {len(matched.lone_images)} images have no mask and "
            f"{len(matched.lone_masks)} masks no image, beside {len(matched.pairs)} "
            f"pairs; unpaired=skip leaves them out{few(lone)}"
        )
    return matched.pairs


def _by_folder(root: Path, matched: _Matched, images: str, skip: bool) -> Layout:
    """Split pairs by the first folder within that of the images, if there are such."""
    pairs = _used(root, matched, skip)
    firsts = [Path(os.path.relpath(image, images)).parts[0] for image, _ in pairs]
    folders = split_folders([*_folders(root / images).values()], str(root / images))
    if not folders:
        return Layout({"train": pairs}, _left(matched))
    chosen: dict[Split, Pairs] = {
        split: [pair for pair, at in zip(pairs, firsts, strict=True) if at == name]
        for split, name in folders.items()
    }
    for split, name in folders.items():
        if not chosen[split]:
            raise InputError(f"{str(root / images / name)!r} has no image with a mask")
    rest = len(pairs) - sum(map(len, chosen.values()))
    return Layout(chosen, _left(matched) + rest)


def _read_lists(root: Path) -> dict[Split, list[str]]:
    """Return the names in VOC's train.txt and val.txt, where there are both."""
    folder = root.joinpath(*LISTS)
    found: dict[Split, list[str]] = {}
    known: dict[Split, tuple[str, ...]] = {"train": TRAIN_FOLDERS, "test": TEST_FOLDERS}
    for split, stems in known.items():
        path = next((p for s in stems if (p := folder / f"{s}.txt").is_file()), None)
        if path is not None:
            lines = [line.strip() for line in read_text(path).splitlines()]
            found[split] = [line for line in lines if line]
    return found if len(found) == 2 else {}


def _by_list(
    root: Path, matched: _Matched, lists: Mapping[Split, list[str]], *, voc: bool
) -> Layout:
    """Split pairs by lists of names; images that are in none have no mask in VOC."""
    by_name = {Path(image).stem: (image, mask) for image, mask in matched.pairs}
    names = [name for some in lists.values() for name in some]
    if lost := [name for name in names if name not in by_name]:
        raise InputError(
            f"{str(root.joinpath(*LISTS))!r}: {len(lost)} of {len(names)} names have "
            f"no image and mask{few(lost)}"
        )
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError(
            f"{str(root.joinpath(*LISTS))!r}: names are listed twice{few(twice)}"
        )
    pairs: dict[Split, Pairs] = {
        split: [by_name[name] for name in some] for split, some in lists.items()
    }
    rest = len(matched.pairs) - len(names)
    return Layout(pairs, _left(matched) + rest, voc)
