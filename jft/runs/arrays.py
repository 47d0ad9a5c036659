"""Trees of arrays through Orbax, with a digest of every file and every tensor.

Orbax notices missing and truncated files, but a flipped bit in an array comes back
as a wrong value without an error (benchmarks/reliability.py counts them).
"""

import errno
import json
import logging
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import disk_usage
from typing import Any

import jax
import orbax.checkpoint as ocp
import tensorstore
from flax import serialization

from jft import tree
from jft.console.text import size
from jft.errors import DamageError, StorageError
from jft.runs.sums import damaged

TENSORS = "tensors.json"
_LOCK = threading.Lock()


def require_space(folder: Path, saved: Any) -> None:
    """Check that the disk has space for a tree of arrays before Orbax writes it.

    Orbax itself ends a full disk with hundreds of lines from its threads.

    Args:
        folder: An existing folder on the disk.
        saved: The arrays. Orbax adds less than a megabyte of metadata.

    Raises:
        StorageError: There is too little space.
    """
    needed = sum(leaf.nbytes for leaf in jax.tree.leaves(saved)) + 2**20
    free = disk_usage(folder).free
    if free < needed:
        raise StorageError(
            f"the disk of {folder} is full: saving needs {size(needed)}, and "
            f"{size(free)} are free. Make room; the same command then resumes"
        )


def save_arrays(folder: Path, name: str, saved: Any) -> dict[str, str]:
    """Save a tree of arrays in a folder that `replacing` yields.

    Args:
        folder: The folder; `tensors.json` in it gets the digest of each leaf.
        name: Of the folder in it that Orbax makes.
        saved: The arrays, on the host.

    Returns:
        The digest of each leaf by name.

    Raises:
        OSError: The disk is full, for one.
    """
    digests = tree.leaf_digests(serialization.to_state_dict(saved))
    (folder / TENSORS).write_text(json.dumps(digests, indent=1) + "\n")
    try:
        with _orbax() as checkpointer:
            checkpointer.save((folder / name).absolute(), saved)
    except OSError:
        raise
    # TensorStore has errors of its own.
    except Exception as error:
        code = errno.ENOSPC if "RESOURCE_EXHAUSTED" in str(error) else errno.EIO
        raise OSError(code, _first_line(error)) from None
    return digests


def load_arrays(folder: Path, name: str, like: Any) -> Any:
    """Return the tree that `save_arrays` saved, once every file and leaf is checked.

    Args:
        folder: As for `save_arrays`.
        name: As for `save_arrays`.
        like: Its structure, shapes and dtypes.

    Raises:
        DamageError: Something in the folder has changed; the message has the files and
            the tensors.
    """
    wrong = damaged(folder)
    if wrong:
        raise DamageError(damage(folder, name, wrong))
    try:
        with _orbax() as checkpointer:
            saved = checkpointer.restore((folder / name).absolute(), like)
    # Orbax raises errors of many kinds where files do not fit each other.
    except Exception as error:
        reason = f"{folder} is damaged: {_first_line(error)}"
        raise DamageError(reason) from None
    now = tree.leaf_digests(serialization.to_state_dict(saved))
    before = _saved_digests(folder)
    if now != before:
        changed = [
            name for name in {**before, **now} if now.get(name) != before.get(name)
        ]
        raise DamageError(f"{folder} is damaged: {_these(changed)}")
    return saved


def damage(folder: Path, name: str, files: Sequence[str]) -> str:
    """Return a line about damaged files, with the names of the tensors in them.

    Args:
        folder: As for `save_arrays`.
        name: As for `save_arrays`.
        files: From `damaged`.
    """
    shown = ", ".join(files[:3]) + (", ..." if files[3:] else "")
    tensors = [] if TENSORS in files else _unlike(folder, name)
    return f"{folder} is damaged: {shown}" + (
        f" ({_these(tensors)})" if tensors else ""
    )


def _unlike(folder: Path, name: str) -> list[str]:
    """Return the tensors that cannot be read, or are not those that were saved."""
    base = f"file://{(folder / name).absolute()}/"
    found: list[str] = []
    for tensor, digest in _saved_digests(folder).items():
        store = {"driver": "ocdbt", "base": base, "path": tensor.replace("/", ".")}
        # One after the other: Orbax leaves the other reads behind if one fails.
        try:
            opened = tensorstore.open({"driver": "zarr", "kvstore": store}).result()
            now = tree.leaf_digests({tensor: opened.read().result()})[tensor]
        except Exception:
            now = ""
        if now != digest:
            found.append(tensor)
    return found


def _saved_digests(folder: Path) -> dict[str, str]:
    try:
        return json.loads((folder / TENSORS).read_text())
    except OSError:
        return {}


def _these(tensors: Sequence[str]) -> str:
    more = f" and {len(tensors) - 1} more" if tensors[1:] else ""
    return f"tensor {tensors[0]}{more}"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]


@contextmanager
def _orbax() -> Iterator[ocp.StandardCheckpointer]:
    """Yield a checkpointer: one at a time, since two in threads make the same folders.

    What it logs of an error that it raises too is left out.
    """
    logger = logging.getLogger("absl")
    with _LOCK, ocp.StandardCheckpointer() as checkpointer:
        before, logger.disabled = logger.disabled, True
        try:
            yield checkpointer
            checkpointer.wait_until_finished()
        except BaseException:
            sys.unraisablehook = _Unraisable(sys.unraisablehook)
            raise
        finally:
            logger.disabled = before


class _Unraisable:
    """Leaves out what TensorStore reports of writes that end after the first failed."""

    def __init__(self, otherwise: Any) -> None:
        self._otherwise = otherwise

    def __call__(self, unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            self._otherwise(unraisable)
