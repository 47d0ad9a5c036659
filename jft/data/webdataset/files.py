"""Data in files of many examples each: which files there are, and of which split."""

import fnmatch
import functools
import itertools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jft.data.describe import few, require_file
from jft.data.listing import Split, stamp
from jft.data.names import split_of, split_word
from jft.data.walk import LINKED, find_images, require_folder
from jft.errors import InputError, nearest

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d{1,9})\.\.(\d{1,9})")
_MAX_NAMES = 100_000  # what one pattern may expand to


@dataclass(frozen=True)
class Shards:
    """The files of a data set.

    Attributes:
        name: What the data set is called.
        root: The folder that names are relative to.
        names: Of each split, the sorted names with '/' between their parts; `train`
            and `test`, or `train` alone.
        skipped: Files of the form that belong to neither split, and linked folders.
    """

    name: str
    root: Path
    names: Mapping[Split, tuple[str, ...]]
    skipped: int = 0

    def files(self) -> list[tuple[Split, str]]:
        """Return split and name of each file, the training split first."""
        return [(split, name) for split, names in self.names.items() for name in names]


def find_shards(
    path: str, options: Mapping[str, str], suffixes: Sequence[str]
) -> Shards:
    """Find the files of a data set.

    Args:
        path: A file; a folder with files anywhere in it; or a pattern such as
            `train-{000..003}.tar`.
        options: `train` and `test` may hold patterns of names in the folder. Without
            them the names decide: `train-0.tar`, `val/0.tar`.
        suffixes: How the names end.
    """
    given = Path(path)
    chosen = options.keys() & {"train", "test"}
    if _is_pattern(path) and not given.exists():
        parts = given.parts
        magic = next(i for i, part in enumerate(parts) if _is_pattern(part))
        root, first = Path(*parts[:magic]), "/".join(parts[magic:])
        require_folder(root)
        everything, linked = _list(root, suffixes)
        train = _matching(root, everything, first)
    elif given.is_dir():
        root = given
        everything, linked = _list(root, suffixes)
        train = everything
        if not (train or chosen):
            raise InputError(f"{path!r} holds no file that ends in {_or(suffixes)}")
    else:
        require_file(given)
        root, train = given.parent, [given.name]
        everything, linked = _list(root, suffixes) if chosen else (train, 0)
    name = given.stem if given.is_file() else root.resolve().name
    if chosen:
        shards = _as_chosen(name, root, train, everything, options)
    else:
        shards = _by_name(name, root, train)
    for _, one in shards.files():
        require_file(root / one)
    return replace(shards, skipped=shards.skipped + linked)


def _is_pattern(text: str) -> bool:
    return any(character in text for character in "{*?")


def _or(suffixes: Sequence[str]) -> str:
    return " or ".join(suffixes)


def _list(root: Path, suffixes: Sequence[str]) -> tuple[list[str], int]:
    """Return the sorted names of the files under a folder; count linked folders."""
    skipped = Counter[str]()
    names = find_images(root, skipped, tuple(suffixes))
    return [Path(name).as_posix() for name in names], skipped[LINKED]


def _as_chosen(
    name: str,
    root: Path,
    names: list[str],
    everything: list[str],
    options: Mapping[str, str],
) -> Shards:
    """Return the files that the options `train` and `test` name; the rest trains."""
    test = _matching(root, everything, options["test"]) if "test" in options else []
    if "train" in options:
        train = _matching(root, everything, options["train"])
    else:
        train = [one for one in names if one not in {*test}]
    if both := sorted({*train} & {*test}):
        raise InputError(f"these files are in train= and in test=:{few(both)}")
    if not train:
        raise InputError(f"test={options['test']} leaves no file to train on")
    left = len(names) - len({*names} & {*train, *test})
    return Shards(name, root, _splits(train, test), left)


def _splits(
    train: Sequence[str], test: Sequence[str]
) -> Mapping[Split, tuple[str, ...]]:
    if not test:
        return {"train": tuple(train)}
    return {"train": tuple(train), "test": tuple(test)}


def _by_name(name: str, root: Path, names: list[str]) -> Shards:
    """Sort files into splits by words in their names; all train if none has one."""
    words = {one: _split_word(one) for one in names}
    splits = split_of(word for word in words.values() if word)
    train = [one for one in names if splits.get(words[one] or "") == "train"]
    test = [one for one in names if splits.get(words[one] or "") == "test"]
    if not train and len(names) > 1 and test:
        raise InputError(
            f"{str(root)!r} has files of {words[test[0]]!r} but none of 'train':"
            f"{few(names)}\ntrain=PATTERN and test=PATTERN choose them"
        )
    if not train:
        return Shards(name, root, _splits(names, ()))
    left = len(names) - len(train) - len(test)
    return Shards(name, root, _splits(train, test), left)


def _split_word(name: str) -> str | None:
    """Return the word in a path that means a split, the one nearest to its end."""
    words = (split_word(part) for part in reversed(Path(name).parts))
    return next((word for word in words if word), None)


def _matching(root: Path, names: Sequence[str], pattern: str) -> list[str]:
    """Return the names that match a pattern; `InputError` if one is missing."""
    found: dict[str, None] = {}
    missing: list[str] = []
    for one in expand(pattern):
        some = fnmatch.filter(names, one) if _is_pattern(one) else []
        if not some and (root / one).is_file():
            some = [one]
        found |= dict.fromkeys(some)
        missing += [] if some else [one]
    if missing:
        near = nearest(missing[0], names)
        raise InputError(f"no such files in {str(root)!r}:{few(missing)}{near}")
    return sorted(found)


def expand(pattern: str) -> list[str]:
    """Expand the braces of a pattern as a shell does.

    Raises:
        InputError: It expands to more than 100,000 names.

    >>> expand("{train,val}-{08..10}.tar")[:4]
    ['train-08.tar', 'train-09.tar', 'train-10.tar', 'val-08.tar']
    """
    pieces = _BRACES.split(pattern)  # text and the content of braces, in turn
    choices: list[Sequence[str]] = []
    count = 1
    for i, piece in enumerate(pieces):
        span = _RANGE.fullmatch(piece) if i % 2 else None
        if span:
            first, last = int(span[1]), int(span[2])
            count *= max(0, last - first + 1)
            width = len(span[1])
            steps = range(first, min(last, first + _MAX_NAMES) + 1)
            choices.append([f"{n:0{width}}" for n in steps])
        else:
            choices.append(piece.split(",") if i % 2 else [piece])
            count *= len(choices[-1])
    if not 0 < count <= _MAX_NAMES:
        raise InputError(f"{pattern!r} expands to {count} files")
    return ["".join(parts) for parts in itertools.product(*choices)]


def file_stamp(path: Path) -> str:
    """Return what changes with a file of many examples, as `jft.data.listing.stamp`.

    Some of it is read only if size or time of change are new.
    """
    try:
        status = path.stat()
    except OSError as error:
        return error.strerror or str(error)
    return _stamp(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _stamp(path: Path, size: int, time: int) -> str:
    return stamp([path], 0)
