"""Image folders: `train/CLASS/...` beside `val/CLASS/...`, or class folders alone."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np

from jft.data.describe import few
from jft.data.listing import Dataset, Listing, Paths, Split, fingerprint
from jft.errors import InputError, nearest

# No .gif: in image folders these are animations, whose first frame is rarely meant.
EXTENSIONS = (
    *(".bmp", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm"),
    *(".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
)
MASK_EXTENSIONS = (*EXTENSIONS, ".gif")
TRAIN_FOLDERS = ("train", "training")
TEST_FOLDERS = ("val", "valid", "validation", "test", "testing")

_SHOWN = 20  # classes that an error names

Entries = list[tuple[str, int]]  # the path relative to the data folder, and the label


def check(place: str, options: Mapping[str, str]) -> None:
    """Raise `InputError` unless there is a folder that can be listed."""
    require_folder(Path(place))


def load(place: str, options: Mapping[str, str]) -> Dataset:
    """List the images of a folder of class folders.

    Raises:
        InputError: The folder is not laid out as above.
    """
    root = Path(place)
    entries, names, skipped = list_splits(root)
    splits: dict[Split, Listing] = {
        split: Listing(
            keys=tuple(path for path, _ in some),
            images=Paths(root, tuple(path for path, _ in some)),
            labels=np.array([label for _, label in some], np.int32),
        )
        for split, some in entries.items()
    }
    return Dataset(
        name=root.resolve().name,
        task="classification",
        class_names=names,
        splits=splits,
        fingerprint=fingerprint(splits),
        skipped=skipped,
    )


def list_splits(root: Path) -> tuple[dict[Split, Entries], tuple[str, ...], int]:
    """Return the entries of the splits, the class names, the number skipped."""
    folders, loose = _list_folders(root)
    given = split_folders(folders, str(root))
    if given:
        loose += _count_unused(root, {*folders} - {*given.values()})
        train, names, skipped = _list_classes(root, given["train"])
        test, test_names, test_skipped = _list_classes(root, given["test"])
        _require_same_classes(given, names, test_names)
        return {"train": train, "test": test}, names, loose + skipped + test_skipped
    entries, names, skipped = _list_classes(root, "")
    return {"train": entries}, names, skipped


def list_images(
    folder: Path, extensions: tuple[str, ...] = EXTENSIONS
) -> tuple[list[str], int]:
    """Return the sorted relative paths of images under a folder; count other entries.

    Names decide. Hidden entries are skipped, and links to folders, as they may loop.

    Args:
        folder: Where to look.
        extensions: How the names of images end, in lower case.
    """
    images: list[str] = []
    skipped = 0
    for parent, folders, files in os.walk(folder, onerror=_refuse):
        inside = os.path.relpath(parent, folder)
        good = [f for f in files if f[0] != "." and f.lower().endswith(extensions)]
        images += [os.path.normpath(os.path.join(inside, f)) for f in good]
        links = [f for f in folders if os.path.islink(os.path.join(parent, f))]
        visible = [f for f in folders if f[0] != "." and f not in links]
        skipped += len(files) - len(good) + len(folders) - len(visible)
        folders[:] = visible
    return sorted(images), skipped


def split_folders(folders: Sequence[str], where: str) -> dict[Split, str]:
    """Return the folders of both splits, or none; `InputError` if one is alone.

    Args:
        folders: Names of the folders there are.
        where: What they are in, for the error.
    """
    by_name = {name.lower(): name for name in folders}
    train = [by_name[name] for name in TRAIN_FOLDERS if name in by_name]
    test = [by_name[name] for name in TEST_FOLDERS if name in by_name]
    if bool(train) != bool(test):
        raise InputError(
            f"{where!r} has {(train or test)[0]!r} but not the other split; valid are "
            f"one of {TRAIN_FOLDERS} with one of {TEST_FOLDERS}, or neither"
        )
    return {"train": train[0], "test": test[0]} if train else {}


def _count_unused(root: Path, folders: set[str]) -> int:
    """Count the entries of a third split's folders, and each other folder as one."""
    count = 0
    for name in folders:
        if name.lower() in (*TRAIN_FOLDERS, *TEST_FOLDERS):
            images, others = list_images(root / name)
            count += len(images) + others
        else:
            count += 1
    return count


def _list_classes(root: Path, split: str) -> tuple[Entries, tuple[str, ...], int]:
    """List `root/split/<class>/**`; the label is the place among the sorted folders."""
    names, skipped = _list_folders(root / split)
    if len(names) < 2:
        raise InputError(
            f"{str(root / split)!r} has {len(names)} class folders {names}; "
            "at least 2 are needed, each with its images"
        )
    entries: Entries = []
    for label, name in enumerate(names):
        images, others = list_images(root / split / name)
        entries += [(os.path.join(split, name, image), label) for image in images]
        skipped += others
    if empty := sorted({*names} - {names[label] for _, label in entries}):
        raise InputError(
            f"{str(root / split)!r}: no images in class folders {empty}; images end in "
            + " ".join(EXTENSIONS)
        )
    return entries, tuple(names), skipped


def _list_folders(folder: Path) -> tuple[list[str], int]:
    """Return the sorted names of visible folders, and the number of other entries."""
    _, folders, files = next(os.walk(folder, onerror=_refuse))
    visible = sorted(name for name in folders if name[0] != ".")
    return visible, len(files) + len(folders) - len(visible)


def _require_same_classes(
    splits: Mapping[Split, str], train: tuple[str, ...], test: tuple[str, ...]
) -> None:
    """Raise `InputError` naming each class folder that only one of the splits has."""
    one, other = {*train}, {*test}
    only = [(name, splits["train"], other - one) for name in one - other]
    only += [(name, splits["test"], one - other) for name in other - one]
    if only:
        shown = sorted(only, key=lambda alone: alone[0])[:_SHOWN]
        lines = [f"{name!r} only in {at!r}{nearest(name, o)}" for name, at, o in shown]
        lines += [""] * (len(only) - len(lines))
        raise InputError("the splits differ in their classes:" + few(lines, _SHOWN))


def require_folder(folder: Path) -> None:
    """Raise `InputError` unless there is a folder that can be listed."""
    try:
        os.scandir(folder).close()
    except OSError as error:
        _refuse(error)


def _refuse(error: OSError) -> NoReturn:
    """Raise `InputError` for a folder that `os.walk` cannot list (and would skip)."""
    folder, why = Path(error.filename), os.strerror(error.errno or 0).lower()
    near = ""
    if not folder.exists() and folder.parent.is_dir():
        near = nearest(folder.name, os.listdir(folder.parent))
    raise InputError(f"cannot list folder {str(folder)!r}: {why}{near}") from error
