"""A sha256 for every file of a folder, in a file that `sha256sum --check` reads."""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from jft.errors import DamageError, StorageError

SUMS = "SHA256SUMS"


def sha256(path: Path) -> str:
    """Return the hex digest of a file; empty if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def read_sums(folder: Path) -> dict[str, set[str]]:
    """Return the digests of each file that a folder's record allows.

    A file that is about to be replaced has two, so that a kill in between is none.

    Raises:
        DamageError: The record is missing or damaged.
    """
    found: dict[str, set[str]] = {}
    try:
        head, _, lines = (folder / SUMS).read_bytes().partition(b"\n")
    except FileNotFoundError:
        raise DamageError(f"{folder / SUMS} is missing") from None
    if head != _head(lines):
        raise DamageError(f"{folder / SUMS} is damaged")
    for line in lines.decode().splitlines():
        digest, name = line.split("  ", 1)
        found.setdefault(name, set()).add(digest)
    return found


def _head(lines: bytes) -> bytes:
    """Return the digest of the record itself, in a line that `sha256sum` skips."""
    return b"# " + hashlib.sha256(lines).hexdigest().encode()


def write_sums(folder: Path, sums: dict[str, set[str]]) -> None:
    """Write a folder's record, whole or not at all."""
    pairs = [(digest, name) for name in sorted(sums) for digest in sorted(sums[name])]
    lines = "".join(f"{digest}  {name}\n" for digest, name in pairs).encode()
    write_file(folder / SUMS, _head(lines) + b"\n" + lines)


def write_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        StorageError: It cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise unwritten(path, error) from None


def unwritten(path: Path, error: OSError) -> StorageError:
    """Return the error of a file or folder that cannot be written."""
    reason = error.strerror or str(error)
    if error.errno == errno.ENOSPC:
        reason = "the disk is full"
    return StorageError(
        f"{path} cannot be saved: {reason}. What was saved before is intact, and the "
        "same command resumes from there"
    )


def damaged(folder: Path) -> list[str]:
    """Return the files of a folder that are not those its record lists.

    That is the record itself if it is missing or damaged.
    """
    try:
        allowed = read_sums(folder)
    except DamageError:
        return [SUMS]
    return [n for n in sorted(allowed) if sha256(folder / n) not in allowed[n]]


def checked_bytes(folder: Path, name: str) -> bytes:
    """Return the content of a file, once it is found to be the one in the record.

    Raises:
        DamageError: It is another.
        FileNotFoundError: It is missing.
    """
    content = (folder / name).read_bytes()
    allowed = read_sums(folder).get(name)
    if allowed is None:
        raise DamageError(f"{folder / SUMS} is damaged: it lacks {name}")
    if hashlib.sha256(content).hexdigest() not in allowed:
        raise DamageError(
            f"{folder / name} is damaged: its bytes are not those that were saved"
        )
    return content


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Make a folder with a record, or replace it: after a kill it is the old or new.

    Yields:
        An empty folder, which is renamed once it is filled, and on the disk.

    Raises:
        StorageError: It cannot be written; the old one is left as it was.
    """
    part, old = (folder.with_name(f".{folder.name}.{end}") for end in ("part", "old"))
    try:
        for rest in (part, old):
            shutil.rmtree(rest, ignore_errors=True)
        part.mkdir(parents=True)
        yield part
        _seal(part)
        if folder.exists():
            os.replace(folder, old)
        os.replace(part, folder)
        _sync(folder.parent)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise unwritten(folder, error) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _seal(folder: Path) -> None:
    """Write the record of a folder as its last file, with everything on the disk."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sums: dict[str, set[str]] = {}
    for path in files:
        sums[path.relative_to(folder).as_posix()] = {sha256(path)}
        _sync(path)
    write_sums(folder, sums)
    _sync(folder / SUMS)
    _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def recover(folder: Path) -> None:
    """Remove what killed saves have left in a folder; put back what they moved away."""
    for rest in folder.glob(".*.old"):
        place = folder / rest.name[1:].removesuffix(".old")
        if place.exists():
            shutil.rmtree(rest, ignore_errors=True)
        else:
            os.replace(rest, place)
    for rest in folder.glob(".*.part"):
        if rest.is_dir():
            shutil.rmtree(rest, ignore_errors=True)
        else:
            rest.unlink()
