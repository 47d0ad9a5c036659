"""Damage to the files of a run, of every kind."""

import random
from collections.abc import Iterator
from pathlib import Path


def files_of(run: Path) -> list[Path]:
    """Return the files of a run that are not empty, in order."""
    found = (path for path in run.rglob("*") if path.is_file())
    return sorted(path for path in found if path.stat().st_size)


def flip(path: Path, draw: random.Random) -> None:
    """Flip one bit of a file."""
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def harms(path: Path, other: Path) -> Iterator[str]:
    """Do one kind of harm to a file after the other; what is between is undone.

    Args:
        path: The file.
        other: A file of the same name, of another run.
    """
    content = path.read_bytes()
    for kind, new in (
        ("truncated", content[: len(content) // 2]),
        ("emptied", b""),
        ("deleted", None),
        ("swapped", other.read_bytes() if other.is_file() else None),
    ):
        if new == content:
            continue
        path.unlink() if new is None else path.write_bytes(new)
        yield kind
        path.write_bytes(content)
