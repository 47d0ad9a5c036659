"""Image folders: `train/CLASS/...` beside `val/CLASS/...`, or class folders alone."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from jft.data.describe import few, shown
from jft.data.listing import Dataset, Listing, Paths, Split, fingerprint
from jft.data.names import TEST_WORDS, TRAIN_WORDS, split_of, split_word
from jft.data.walk import (
    EXTENSIONS,
    find_images,
    holds_folders,
    list_folders,
    listed,
    require_folder,
)
from jft.errors import InputError, nearest

TRAIN_FOLDERS = ("train", "training")
TEST_FOLDERS = ("val", "valid", "validation", "test", "testing")

_SHOWN = 20  # classes that an error names

Entries = list[tuple[str, int]]  # the path relative to the data folder, and the label


def check(path: str, options: Mapping[str, str]) -> None:
    """Raise `InputError` unless there is a folder that can be listed."""
    require_folder(Path(path))
    if "test" in options and "train" not in options:
        raise InputError(f"test={options['test']} needs train=FOLDER as well")
    for folder in options.values():
        require_folder(Path(path) / folder)


def load(path: str, options: Mapping[str, str]) -> Dataset:
    """List the images of a folder of class folders."""
    check(path, options)
    root, skipped = Path(path), Counter[str]()
    entries, names = list_splits(root, options, skipped)
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
        skipped=skipped.total(),
        skipped_kinds=skipped,
    )


def list_splits(
    root: Path, options: Mapping[str, str], skipped: Counter[str]
) -> tuple[dict[Split, Entries], tuple[str, ...]]:
    """Return the entries of the splits, and the class names."""
    folders = list_folders(root, skipped)
    given = _find_splits(root, folders, options)
    if not given:
        return _only_train(root, "", skipped)
    _count_unused(
        root, {*folders} - {path.split(os.sep)[0] for path in given.values()}, skipped
    )
    if "test" not in given:
        return _only_train(root, given["train"], skipped)
    train, names = _list_classes(root, given["train"], skipped)
    test, test_names = _list_classes(root, given["test"], skipped)
    _require_same_classes(given, names, test_names)
    return {"train": train, "test": test}, names


def _only_train(
    root: Path, inside: str, skipped: Counter[str]
) -> tuple[dict[Split, Entries], tuple[str, ...]]:
    entries, names = _list_classes(root, inside, skipped)
    both = [name for name in names if _splits_within(root / inside / name)]
    if len(both) == len(names):
        raise InputError(
            f"the class folders of {shown(root / inside)} have a folder for each "
            f"split, such as {both[0]!r}; valid is the other order: train/CLASS and "
            "test/CLASS"
        )
    return {"train": entries}, names


def _splits_within(folder: Path) -> bool:
    words = (split_word(name) for name in list_folders(folder, Counter()))
    return len(split_of(word for word in words if word)) > 1


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


def _find_splits(
    root: Path, folders: Sequence[str], options: Mapping[str, str]
) -> dict[Split, str]:
    """Return the folders of the splits, below the root; none where all are classes.

    Names of other words than `train` and `test` alone, such as `seg_train`, count if
    the folder holds folders and no images.
    """
    names: tuple[Split, ...] = ("train", "test")
    if options:
        return {
            split: _inner(root, options[split]) for split in names if split in options
        }
    words = {
        name: word
        for name in folders
        if (word := split_word(name))
        and (name.lower() in (*TRAIN_WORDS, *TEST_WORDS) or holds_folders(root / name))
    }
    splits = split_of(words.values())
    found = {s: [n for n, w in words.items() if splits.get(w) == s] for s in names}
    remedy = (
        "train=FOLDER and test=FOLDER choose them, and train=. takes all as classes"
    )
    for split, some in found.items():
        exact = [name for name in some if name.lower() == words[name]]
        found[split] = exact[:1] or some
        if len(found[split]) > 1:
            raise InputError(
                f"{shown(root)} has several {split} folders {some}: {remedy}"
            )
    if not words:
        return {}
    if not (found["train"] and found["test"]):
        raise InputError(
            f"{shown(root)} has {next(iter(words))!r} but not the other split; valid "
            f"are one of {TRAIN_FOLDERS} with one of {TEST_FOLDERS}, or neither; "
            + remedy
        )
    return {split: _inner(root, found[split][0]) for split in names}


def _inner(root: Path, folder: str) -> str:
    """Return the folder with the classes: `seg_train/seg_train` of `seg_train`."""
    while True:
        inner = list_folders(root / folder, Counter())
        if len(inner) != 1 or not holds_folders(root / folder / inner[0]):
            return os.path.normpath(folder)
        folder = os.path.join(folder, inner[0])


def _count_unused(root: Path, folders: set[str], skipped: Counter[str]) -> None:
    """Count the entries of a third split's folders, and each other folder as one."""
    for name in folders:
        if split_word(name):
            skipped["of another split"] += len(find_images(root / name, skipped))
        else:
            skipped["folder beside the splits"] += 1


def _list_classes(
    root: Path, split: str, skipped: Counter[str]
) -> tuple[Entries, tuple[str, ...]]:
    """List `root/split/<class>/**`; the label is the index among the sorted folders."""
    names = list_folders(root / split, Counter() if split in ("", ".") else skipped)
    if len(names) < 2:
        raise InputError(_too_few(root / split, names))
    entries: Entries = []
    found = Counter[str]()
    for label, name in enumerate(names):
        images = find_images(root / split / name, found)
        entries += [
            (os.path.normpath(os.path.join(split, name, image)), label)
            for image in images
        ]
    if empty := sorted({*names} - {names[label] for _, label in entries}):
        others = f"; skipped are {listed(found)}" if found.total() else ""
        raise InputError(
            f"{shown(root / split)}: no images in {len(empty)} class folders "
            f"{empty[:_SHOWN]}; images end in {' '.join(EXTENSIONS)}{others}"
        )
    skipped.update(found)
    return entries, tuple(names)


def _too_few(folder: Path, names: list[str]) -> str:
    """Return the error about a folder without class folders."""
    direct = [f for f in os.listdir(folder) if f.lower().endswith(EXTENSIONS)]
    hint = ""
    if direct:
        hint = (
            f". {len(direct)} images are directly in it: move them into one folder for "
            "each class, or give csv:FILE, a table with the columns path and label"
        )
    elif names and holds_folders(folder / names[0]):
        hint = f"; did you mean 'folder:{folder / names[0]}'?"
    return (
        f"{shown(folder)} has {len(names)} class folders {names}; at least 2 are "
        f"needed, each with its images{hint}"
    )


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
