"""Where images and masks are: the ways in which folders hold both."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jft.data.describe import few
from jft.data.folder import TEST_FOLDERS, TRAIN_FOLDERS, split_folders
from jft.data.listing import Split
from jft.data.masks.lists import read_lists, split_by_lists
from jft.data.masks.pairs import (
    Matched,
    Naming,
    Pairs,
    match,
    read_naming,
    split_side_by_side,
)
from jft.data.names import split_word
from jft.data.walk import (
    EXTENSIONS,
    LINKED,
    MASK_EXTENSIONS,
    find_images,
    list_folders,
    require_folder,
)
from jft.errors import InputError

IMAGE_FOLDERS = (
    *("images", "image", "imgs", "img", "jpegimages", "img_dir", "leftimg8bit"),
    *("image_2", "rgb", "original_images"),
)
MASK_FOLDERS = (
    *("segmentationclass", "segmentationclasspng", "masks", "mask", "labels", "label"),
    *("annotations", "annotation", "gt", "groundtruth", "ann_dir", "gtfine"),
    *("semantic", "segmentation", "segmentations", "label_images_semantic"),
)
SIBLINGS = ("annot", "_masks", "_mask", "_labels")  # train/ beside trainannot/


@dataclass(frozen=True)
class Layout:
    """The pairs of each split.

    Attributes:
        pairs: The paths of images and their masks, relative to the data, sorted.
        skipped: Entries that are in no pair, by their endings.
        voc: Whether the folders are VOC's.
    """

    pairs: Mapping[Split, Pairs]
    skipped: Counter[str]
    voc: bool = False


@dataclass(frozen=True)
class _Search:
    """Looks for pairs in a folder, with what the options give.

    Attributes:
        root: The folder of the data.
        options: Of `masks:PATH`.
        naming: How masks are called.
        skipped: Counts what is in no pair.
    """

    root: Path
    options: Mapping[str, str]
    naming: Naming
    skipped: Counter[str]

    def layout(self) -> Layout:
        """Find the pairs of each split."""
        root = self.root
        if "images" in self.options:
            whole = self.options["images"], self.options["masks"]
        else:
            whole = self.image_and_mask_folders("")
        if whole:
            matched = self.two_folders(*whole)
            voc = Path(whole[1]).name.lower().startswith("segmentationclass")
            if lists := read_lists(root, self.options):
                pairs = split_by_lists(matched.pairs, lists)
                listed = sum(map(len, pairs.values()))
                self.skipped["unpaired"] += len(matched.lone_images)
                self.skipped["unpaired"] += len(matched.lone_masks)
                self.skipped["in no list"] += len(matched.pairs) - listed
                return Layout(pairs, self.skipped, voc)
            return Layout(self.by_folder(matched, whole[0]), self.skipped, voc)
        if alone := self.train_alone():
            return Layout({"train": self.used(self.two_folders(*alone))}, self.skipped)
        folders = self.splits([*_folders(root).values()], str(root))
        if not folders:
            return Layout({"train": self.used(self.side_by_side(""))}, self.skipped)
        chosen: dict[Split, Pairs] = {
            split: self.used(self.in_split(name), name)
            for split, name in folders.items()
        }
        return Layout(chosen, self.skipped)

    def splits(self, names: Sequence[str], where: str) -> dict[Split, str]:
        """Return the folders of the splits: as the options give, or by their names."""
        both: tuple[Split, ...] = ("train", "test")
        given: dict[Split, str] = {
            s: self.options[s] for s in both if s in self.options
        }
        return given or split_folders(names, where)

    def image_and_mask_folders(self, inside: str) -> tuple[str, str] | None:
        """Return the folders of images and of masks in `root/inside`, if there are.

        A folder without any image, such as VOC's Annotations/, is not one of masks.
        """
        folders = _folders(self.root / inside)
        images, masks = (
            [
                path
                for name in usual
                if name in folders
                for path in [Path(inside, folders[name]).as_posix()]
                if self.listed(path, extensions, Counter())
            ]
            for usual, extensions in (
                (IMAGE_FOLDERS, EXTENSIONS),
                (MASK_FOLDERS, MASK_EXTENSIONS),
            )
        )
        for some, what in ((images, "images"), (masks, "masks")):
            if images and masks and len(some) > 1:
                raise InputError(
                    f"{str(self.root)!r} has several folders that may hold the {what}: "
                    f"{', '.join(map(repr, some))}; images=FOLDER&masks=FOLDER decide"
                )
        return (images[0], masks[0]) if images and masks else None

    def listed(
        self, folder: str, extensions: tuple[str, ...], skipped: Counter[str]
    ) -> list[str]:
        """Return the images in a folder, also in folders of splits that are links."""
        found = find_images(self.root / folder, skipped, extensions)
        for name in list_folders(self.root / folder, Counter()):
            path = self.root / folder / name
            if path.is_symlink() and split_word(name):
                skipped[LINKED] -= 1
                inner = find_images(path, skipped, extensions)
                found += [os.path.join(name, image) for image in inner]
        return [Path(folder, name).as_posix() for name in sorted(found)]

    def in_split(self, name: str) -> Matched:
        """Match the images and masks of one split's folder."""
        folders = self.image_and_mask_folders(name) or self.siblings(name)
        return self.two_folders(*folders) if folders else self.side_by_side(name)

    def siblings(self, name: str) -> tuple[str, str] | None:
        """Return a split's folder and that of its masks beside it, if there is one."""
        masks = [name + end for end in SIBLINGS if (self.root / (name + end)).is_dir()]
        return (name, masks[0]) if masks else None

    def train_alone(self) -> tuple[str, str] | None:
        """Return train/ and the folder of its masks, if it is the only split."""
        folders = _folders(self.root)
        train = [folders[name] for name in TRAIN_FOLDERS if name in folders]
        if not train or any(name in folders for name in TEST_FOLDERS):
            return None
        return self.siblings(train[0])

    def two_folders(self, images: str, masks: str) -> Matched:
        """Match the files of two folders."""
        for folder in (images, masks):
            require_folder(self.root / folder)
        return match(
            self.listed(images, EXTENSIONS, self.skipped),
            self.listed(masks, MASK_EXTENSIONS, self.skipped),
            (images, masks),
            self.naming,
            self.skipped,
        )

    def side_by_side(self, inside: str) -> Matched:
        """Match images and masks that are in one folder."""
        names = self.listed(inside, MASK_EXTENSIONS, self.skipped)
        images, masks = split_side_by_side(names, self.naming, self.skipped)
        return match(images, masks, ("", ""), self.naming, self.skipped)

    def used(self, matched: Matched, split: str = "") -> Pairs:
        """Return the pairs, unless there are none, or some files are in no pair."""
        lone = [f"image without mask: {name!r}" for name in matched.lone_images]
        lone += [f"mask without image: {name!r}" for name in matched.lone_masks]
        where = repr(str(self.root / split))
        if not matched.pairs:
            raise InputError(
                f"{where} has no image with a mask of its name. Valid are images/ and "
                "masks/ (each with train/ and val/ or test/ inside, or both inside "
                "train/ and test/), x.jpg beside x_mask.png or x.png, JPEGImages/ and "
                "SegmentationClass/ of VOC, or images=FOLDER&masks=FOLDER. train= and "
                "test= name the folders of the splits; with train= alone, a fifth is "
                "held out. Of links to folders, only those of splits are followed"
                + few(lone)
            )
        if lone and self.options.get("unpaired") != "skip":
            raise InputError(
                f"{where}: {len(matched.lone_images)} images have no mask and "
                f"{len(matched.lone_masks)} masks no image, beside "
                f"{len(matched.pairs)} pairs; unpaired=skip leaves them out, suffix= "
                f"and prefix= are what the names of masks end or begin with{few(lone)}"
            )
        self.skipped["unpaired"] += len(lone)
        return matched.pairs

    def by_folder(self, matched: Matched, images: str) -> dict[Split, Pairs]:
        """Split pairs by the first folder within that of the images, if there are."""
        pairs, inner = self.used(matched), _folders(self.root / images)
        folders = self.splits([*inner.values()], str(self.root / images))
        if not folders:
            return {"train": pairs}
        chosen: dict[Split, Pairs] = {
            split: [
                pair for pair in pairs if Path(images, name) in Path(pair[0]).parents
            ]
            for split, name in folders.items()
        }
        for split, name in folders.items():
            if not chosen[split]:
                folder = str(self.root / images / name)
                raise InputError(f"{folder!r} has no image with a mask")
        self.skipped["other split"] += len(pairs) - sum(map(len, chosen.values()))
        return chosen


def find_layout(root: Path, options: Mapping[str, str]) -> Layout:
    """Find images and masks: in two folders, in those of each split, or side by side.

    Args:
        root: The folder of the data.
        options: `images`, `masks`, `train` and `test`, folders within it (the latter
            also lists of names); `suffix`, `prefix`, `several`; `unpaired=skip`.
    """
    return _Search(root, options, read_naming(options), Counter()).layout()


def _folders(folder: Path) -> dict[str, str]:
    """Return the visible folders in a folder, by their names in lower case."""
    return {name.lower(): name for name in list_folders(folder, Counter())}
