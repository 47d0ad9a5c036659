"""Tensors by name, each read from its file when it is asked for."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from jft.errors import InputError
from jft.weights.ranges import FileRange

Reader = Callable[[], np.ndarray]
"""Gives one tensor; raises InputError if the file turns out to be damaged."""


@dataclass(frozen=True)
class Contents:
    """The tensors and notes of one file, or of all files that an index lists.

    Attributes:
        readers: A reader for each tensor, by the tensor's name.
        metadata: The file's own notes (safetensors `__metadata__`), else empty.
        files: What was read.
        source: The path, which begins every message.
        entry: The name of the entry that holds the tensors, in files with several.
        entries: All of them.
    """

    readers: Mapping[str, Reader]
    metadata: Mapping[str, str]
    files: tuple[FileRange, ...] = ()
    source: str = ""
    entry: str = ""
    entries: tuple[str, ...] = ()

    @property
    def tensors(self) -> "LazyTensors":
        """Each array in the file's dtype, bf16 as `ml_dtypes.bfloat16`.

        Arrays may be read-only, may overlap in memory and need not be contiguous.
        Those of safetensors, NumPy and Keras are read from the file at each access; an
        InputError is raised if the file has changed or is damaged.
        """
        return LazyTensors(self.readers, self.source)

    @property
    def sha256(self) -> str:
        """The hex digest of the file's bytes, which are read once more for it.

        Of several files, the digest of their sorted digests, one on each line.
        """
        digests = sorted(file.sha256() for file in self.files)
        if len(digests) == 1:
            return digests[0]
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()


class LazyTensors(Mapping[str, np.ndarray]):
    """Maps names to arrays; keeps no array, so asking again reads again.

    Args:
        readers: For each name, what gives its array.
        source: Begins the message when an array cannot be read.
    """

    def __init__(self, readers: Mapping[str, Reader], source: str) -> None:
        self._readers = readers
        self._source = source

    def __getitem__(self, name: str) -> np.ndarray:
        reader = self._readers[name]
        try:
            return reader()
        except InputError as error:
            raise InputError(f"{self._source}: tensor {name!r:.200} {error}") from None

    def __contains__(self, name: object) -> bool:
        return name in self._readers

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)
