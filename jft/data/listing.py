"""The list of a data set: each example's name and where it is, not decoded."""

import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from jft.data.decode import DecodeError

_BLOCK = 4096

TaskName = Literal["classification", "multilabel", "segmentation", "regression"]
Split = Literal["train", "test"]

File = Path | bytes | npt.NDArray[np.uint8]
"""An undecoded image: a path, a file's bytes, or pixels [H, W, 3] already."""


class Encoded(Protocol):
    """Random access to undecoded images: `len` and `[i]`.

    Pickled into worker processes, so it holds no open files.
    """

    def __len__(self) -> int:
        """Return the number of files."""
        ...

    def __getitem__(self, index: int, /) -> File:
        """Return one image."""
        ...


@dataclass(frozen=True)
class Paths:
    """Files by their paths.

    Attributes:
        root: Their folder.
        names: Their paths within it.
    """

    root: Path
    names: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self.names)

    def __getitem__(self, index: int) -> Path:
        """Return the path of one file."""
        return self.root / self.names[index]


class ClassMaps(Protocol):
    """Random access to masks: `len`, and `[i]`, the classes of an image's pixels.

    Pickled into worker processes, so it holds no open files.
    """

    def __len__(self) -> int:
        """Return the number of masks."""
        ...

    def __getitem__(self, index: int, /) -> npt.NDArray[np.uint8]:
        """Return one mask [H, W] of class indices, `VOID` where nothing counts.

        Raises:
            DecodeError: Its file does not hold a mask, or a value is not a class.
        """
        ...


@runtime_checkable
class Stamped(Protocol):
    """What shows, without reading it, whether it has changed."""

    def stamp(self, index: int, /) -> str:
        """Return what changes with the file behind `[index]`."""
        ...


@dataclass(frozen=True, eq=False)
class Listing:
    """One split, not decoded.

    Attributes:
        keys: N names: what reports call an example, and what decides whether it is
            held out. They do not depend on where the data is.
        images: The image files, N.
        labels: int32 [N] class indices; int32 [N, K] of 0, 1 or -1 (unknown); float64
            [N, K] (NaN is unknown); or masks, N.
        weights: float32 [N], how many examples each counts as; None counts each once.
    """

    keys: tuple[str, ...]
    images: Encoded
    labels: npt.NDArray[np.int32] | npt.NDArray[np.float64] | ClassMaps
    weights: npt.NDArray[np.float32] | None = None

    @property
    def class_labels(self) -> npt.NDArray[np.int32] | npt.NDArray[np.float64] | None:
        """The labels, where they are not masks."""
        return self.labels if isinstance(self.labels, np.ndarray) else None

    @property
    def masks(self) -> ClassMaps | None:
        """The labels, where they are masks."""
        return None if isinstance(self.labels, np.ndarray) else self.labels


@dataclass(frozen=True, eq=False)
class Dataset:
    """Splits, not decoded.

    Attributes:
        name: For people, and for the names of runs.
        task: What there is to learn.
        class_names: Names of the K outputs: classes, labels, or numbers.
        splits: `train` and `test`; or `train` alone, of which a fifth is held out.
        fingerprint: Hex SHA-256 over what was listed: split, key, label and size of
            each file; where the data is does not matter.
        skipped: Entries that are not examples: hidden, or of other types.
        skipped_kinds: Of these, how many of each ending or kind, where that is known.
        framed: Whether the pictures fill their frames, so that nothing is cut off.
        notes: Sentences about the files that a person has to know, for `data check`.
    """

    name: str
    task: TaskName
    class_names: tuple[str, ...]
    splits: Mapping[Split, Listing]
    fingerprint: str
    skipped: int = 0
    skipped_kinds: Mapping[str, int] = field(default_factory=dict[str, int])
    framed: bool = False
    notes: tuple[str, ...] = ()


def fingerprint(
    splits: Mapping[Split, Listing],
    sizes: Mapping[Split, Sequence[int]] | None = None,
) -> str:
    """Hash split, key, label, weight and size of each example; NUL ends a field.

    Args:
        splits: What was listed.
        sizes: A number per example that changes with its files, such as the size of
            image and mask together; None takes that of the images (-1: unknown).
    """
    digest = hashlib.sha256()
    for split, listing in splits.items():
        labels = listing.class_labels
        for i, key in enumerate(listing.keys):
            size = sizes[split][i] if sizes else _size(listing.images[i])
            label = "" if labels is None else labels[i].tolist()
            fields = [split, key, str(label), str(size)]
            if listing.weights is not None:
                fields.append(str(float(listing.weights[i])))
            digest.update(b"".join(os.fsencode(field) + b"\0" for field in fields))
    return digest.hexdigest()


def _size(file: File) -> int:
    if not isinstance(file, Path):
        return len(file)
    return file.stat().st_size if file.exists() else -1


def stamp(part: Encoded | ClassMaps, index: int) -> str:
    """Return what changes with a file or with what is not a file.

    Of a file: its size, its time of change, and a hash of its first, middle and last
    4 KiB; of anything else, a hash of all of it.
    """
    if isinstance(part, Stamped):
        return part.stamp(index)
    try:
        item = part[index]
        if isinstance(item, Path):
            return _stamp_of_file(item)
    except OSError as error:
        return error.strerror or str(error)
    except (DecodeError, ValueError) as error:  # a name with NUL is a ValueError
        return str(error)
    content = item.tobytes() if isinstance(item, np.ndarray) else item
    return f"{np.shape(item)} {hashlib.sha256(content).hexdigest()}"


def _stamp_of_file(path: Path) -> str:
    digest = hashlib.sha256()
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe is not waited for
    try:
        status = os.fstat(file)
        size = status.st_size
        if stat.S_ISREG(status.st_mode):
            for at in sorted({0, max(0, size - _BLOCK) // 2, max(0, size - _BLOCK)}):
                digest.update(os.pread(file, _BLOCK, at))
    finally:
        os.close(file)
    return f"{size} {status.st_mtime_ns} {digest.hexdigest()}"
