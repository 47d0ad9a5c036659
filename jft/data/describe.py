"""What all data forms use: files that describe data, and lists of what is wrong."""

import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path, PureWindowsPath

from jft.data.listing import Listing, Split, fingerprint
from jft.errors import InputError, nearest


def shown(path: Path) -> str:
    """Return a path for messages: absolute, in quotes."""
    return repr(os.path.abspath(path))


def require_file(path: Path) -> None:
    """Raise `InputError` unless there is a regular file, or a link to one."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        number = error.errno if isinstance(error, OSError) else None
        why = os.strerror(number).lower() if number else str(error)
        near = nearest(path.name, _neighbours(path))
        raise InputError(f"cannot read {shown(path)}: {why}{near}") from error
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "no regular file"
        raise InputError(f"cannot read {shown(path)}: it is {kind}")


def _neighbours(path: Path) -> list[str]:
    try:
        return os.listdir(path.parent)
    except (OSError, ValueError):
        return []


def read_text(
    path: Path, encoding: str = "utf-8", remedy: str = "save it as UTF-8"
) -> str:
    """Return the text of a file, without its byte order mark if it has one."""
    require_file(path)
    try:
        return path.read_bytes().decode(encoding).removeprefix("\ufeff")
    except UnicodeError as error:
        line = ""
        if isinstance(error, UnicodeDecodeError):
            number = error.object.count(b"\n", 0, error.start) + 1
            line = f" (line {number})"
        raise InputError(
            f"{str(path)!r} is not {encoding.upper()} text{line}; {remedy}"
        ) from error
    except OSError as error:
        why = os.strerror(error.errno or 0).lower()
        raise InputError(f"cannot read {str(path)!r}: {why}") from error


def few(lines: Sequence[str], count: int = 5) -> str:
    """Return the first lines, each on a line of its own, and how many more there are.

    >>> print("two are wrong:" + few(["a", "b"], 1))
    two are wrong:
      a
      and 1 more
    """
    more = [f"and {len(lines) - count} more"] if len(lines) > count else []
    return "".join(f"\n  {line}" for line in [*lines[:count], *more])


def size_of(path: Path) -> int:
    """Return the size of a file in bytes; -1 if it is unknown."""
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return -1


def with_slashes(path: str, root: Path) -> str:
    """Return a path in which backslashes divide folders, as Windows writes them.

    A file below `root` that has backslashes in its name keeps them.
    """
    if "\\" not in path or size_of(root / path) >= 0:
        return path
    return PureWindowsPath(path).as_posix()


def identity(
    splits: Mapping[Split, Listing],
    sizes: Mapping[Split, Sequence[int]],
    meaning: object,
) -> str:
    """Return hex SHA-256 over what was listed, and over what its labels mean.

    Args:
        splits: What was listed.
        sizes: As in `jft.data.listing.fingerprint`.
        meaning: Class names, task and the like, by their `repr`.
    """
    words = f"{fingerprint(splits, sizes)} {meaning!r}"
    return hashlib.sha256(words.encode("utf-8", "surrogateescape")).hexdigest()


def require_choice(options: Mapping[str, str], name: str, valid: Sequence[str]) -> None:
    """Raise `InputError` if an option is given and is not one of its valid values."""
    given = options.get(name, valid[0])
    if given not in valid:
        near = nearest(given, valid)
        raise InputError(f"{name}={given}: valid are {', '.join(valid)}{near}")


def absent_classes(counts: Mapping[str, float], split: str) -> tuple[str, list[str]]:
    """Return the classes without an example, in words and by name; '' if none.

    Args:
        counts: How many examples each class has.
        split: Of which split.
    """
    names = [name for name, n in counts.items() if not n]
    if not names:
        return "", []
    return f"{len(names)} of {len(counts)} classes have no example in {split}", names
