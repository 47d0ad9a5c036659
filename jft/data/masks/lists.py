"""Lists of names that decide which pair is of which split, as VOC has them."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from jft.data.describe import few, read_text
from jft.data.folder import TEST_FOLDERS, TRAIN_FOLDERS
from jft.data.listing import Split
from jft.data.masks.pairs import Pairs
from jft.data.walk import MASK_EXTENSIONS
from jft.errors import InputError

Lists = Mapping[Path, tuple[Split, Sequence[str]]]

FOLDER = ("ImageSets", "Segmentation")


def read_lists(root: Path, options: Mapping[str, str]) -> Lists:
    """Return the lines of the lists of each split: as the options give, or VOC's.

    Without a list of training images there are none; such a list alone is enough.
    """
    splits: tuple[Split, ...] = ("train", "test")
    given: dict[Split, Path] = {s: root / options[s] for s in splits if s in options}
    folder = root.joinpath(*FOLDER)
    if not given and folder.is_dir():
        lower = {path.name.lower(): path for path in sorted(folder.iterdir())}
        words = zip(splits, ((*TRAIN_FOLDERS, "default"), TEST_FOLDERS), strict=True)
        for split, stems in words:
            found = [lower[f"{stem}.txt"] for stem in stems if f"{stem}.txt" in lower]
            if found:
                given[split] = found[0]
    if "train" not in given or not given["train"].is_file():
        return {}
    return {path: (split, _lines(path)) for split, path in given.items()}


def _lines(path: Path) -> list[str]:
    lines = map(str.strip, read_text(path).splitlines())
    return [line for line in lines if line]


def split_by_lists(pairs: Pairs, lists: Lists) -> dict[Split, Pairs]:
    """Return the pairs that lists name, in their order."""
    by_tail: dict[str, list[int]] = {}
    for i, (image, _) in enumerate(pairs):
        for tail in _tails(image):
            by_tail.setdefault(tail, []).append(i)
    used: Counter[int] = Counter()
    chosen: dict[Split, Pairs] = {}
    for path, (split, lines) in lists.items():
        fits = [_fitting(line, by_tail, pairs) for line in lines]
        lost = [line for line, some in zip(lines, fits, strict=True) if not some]
        if lost:
            raise InputError(
                f"{str(path)!r}: {len(lost)} of {len(lines)} names have no image and "
                f"mask{few(lost)}"
            )
        if several := [n for n, some in zip(lines, fits, strict=True) if len(some) > 1]:
            raise InputError(
                f"{str(path)!r}: {len(several)} names fit several images; write them "
                f"with their folders{few(several)}"
            )
        used.update(i for (i,) in fits)
        chosen[split] = [pairs[i] for (i,) in fits]
    if twice := [pairs[i][0] for i, count in used.items() if count > 1]:
        first = str(next(iter(lists)))
        raise InputError(f"{first!r}: images are listed twice{few(twice)}")
    return chosen


def _tails(path: str) -> set[str]:
    """Return the ends of a path, `a/b.jpg` and `b.jpg`, with and without the type."""
    parts = Path(path).parts
    tails = {"/".join(parts[i:]) for i in range(len(parts))}
    return tails | {os.path.splitext(tail)[0] for tail in tails}


def _fitting(
    line: str, by_tail: Mapping[str, Sequence[int]], pairs: Pairs
) -> Sequence[int]:
    """Return the pairs that a line of a list names; of several the least deep one.

    The line is the end of a path, with or without the type, or it begins with such a
    word, and the path of the mask or a number follows.
    """
    for name in dict.fromkeys((line, line.split()[0])):
        parts = [part for part in name.replace("\\", "/").split("/") if part]
        for i in range(len(parts)):
            tail = "/".join(parts[i:])
            stem, end = os.path.splitext(tail)
            for word in (tail, stem) if end.lower() in MASK_EXTENSIONS else (tail,):
                if fits := by_tail.get(word):
                    depths = {i: len(Path(pairs[i][0]).parts) for i in fits}
                    least = [i for i in fits if depths[i] == min(depths.values())]
                    return fits if len(least) > 1 else least
    return ()
