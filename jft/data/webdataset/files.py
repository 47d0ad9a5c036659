"""Data in files of many examples each: which files there are, and of which split."""

import fnmatch
import functools
import itertools
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from jft.data.describe import few, require_file
from jft.data.folder import TEST_FOLDERS, TRAIN_FOLDERS, require_folder
from jft.data.listing import Split, stamp
from jft.errors import InputError, nearest

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d{1,9})\.\.(\d{1,9})")
_MAX_NAMES = 100_000  # what one pattern may stand for


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
    place: str, options: Mapping[str, str], suffixes: Sequence[str]
) -> Shards:
    """Find the files of a data set.

    Args:
        place: A file; a folder with files anywhere in it; or a pattern such as
            `train-{000..003}.tar`.
        options: `train` and `test` may hold patterns of names in the folder. Without
            them the names decide: `train-0.tar`, `val/0.tar`.
        suffixes: How the names end.

    Raises:
        InputError: There are no such files, a folder cannot be listed, or only one
            split of two has any.
    """
    path = Path(place)
    told = options.keys() & {"train", "test"}
    if _is_pattern(place) and not path.exists():
        parts = path.parts
        magic = next(i for i, part in enumerate(parts) if _is_pattern(part))
        root, first = Path(*parts[:magic]), "/".join(parts[magic:])
        require_folder(root)
        everything, linked = _list(root, suffixes)
        train = _matching(root, everything, first)
    elif path.is_dir():
        root = path
        everything, linked = _list(root, suffixes)
        train = everything
        if not (train or told):
            raise InputError(f"{place!r} holds no file that ends in {_or(suffixes)}")
    else:
        require_file(path)
        root, train = path.parent, [path.name]
        everything, linked = _list(root, suffixes) if told else (train, 0)
    name = path.stem if path.is_file() else root.resolve().name
    if told:
        shards = _as_told(name, root, train, everything, options)
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
    """Return the sorted names of the files under a folder; count linked folders.

    Hidden files and folders are left out. Links to folders are not followed, as they
    may loop.
    """
    names: list[str] = []
    linked = 0
    for parent, folders, files in os.walk(root, onerror=_refuse):
        inside = Path(parent).relative_to(root)
        folders[:] = [name for name in folders if name[0] != "."]
        linked += sum(os.path.islink(os.path.join(parent, name)) for name in folders)
        good = [f for f in files if f[0] != "." and f.lower().endswith(tuple(suffixes))]
        names += [(inside / name).as_posix() for name in good]
    return sorted(names), linked


def _refuse(error: OSError) -> NoReturn:
    """Raise `InputError` for a folder that `os.walk` cannot list (and would skip)."""
    why = os.strerror(error.errno or 0).lower()
    raise InputError(f"cannot list folder {str(error.filename)!r}: {why}") from error


def _as_told(
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
    split = {one: _split_word(one) for one in names}
    train = [one for one in names if split[one] in TRAIN_FOLDERS]
    word = next((w for w in TEST_FOLDERS if w in split.values()), None)
    if not train and word is None:
        return Shards(name, root, _splits(names, ()))
    test = [one for one in names if split[one] == word]
    if not train and len(names) > 1:
        raise InputError(
            f"{str(root)!r} has files of {word!r} but none of 'train':{few(names)}\n"
            "train=PATTERN and test=PATTERN say which are which"
        )
    left = len(names) - len(train) - len(test)
    return Shards(name, root, _splits(train or names, test if train else ()), left)


def _split_word(name: str) -> str | None:
    """Return the word in a name that says its split, the one nearest to its end."""
    for part in reversed(Path(name).parts):
        for word in re.split(r"[^a-z]+", part.lower()):
            if word in TRAIN_FOLDERS or word in TEST_FOLDERS:
                return word
    return None


def _matching(root: Path, names: Sequence[str], pattern: str) -> list[str]:
    """Return the names that a pattern stands for; `InputError` if one is missing."""
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
    """Return what a pattern with braces stands for, as a shell does.

    Raises:
        InputError: It stands for more than 100,000 names.

    >>> expand("{train,val}-{08..10}.tar")[:4]
    ['train-08.tar', 'train-09.tar', 'train-10.tar', 'val-08.tar']
    """
    pieces = _BRACES.split(pattern)  # text and what stands in braces, in turns
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
        raise InputError(f"{pattern!r} stands for {count} files")
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
