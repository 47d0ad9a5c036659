"""Tensors by name, each read from its file when it is asked for."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from jft.errors import InputError

Reader = Callable[[], np.ndarray]
"""Gives one tensor; raises InputError if the file turns out to be damaged."""


class Contents(NamedTuple):
    """What one file holds.

    Attributes:
        readers: A reader for each tensor, by the tensor's name.
        metadata: The file's own notes.
    """

    readers: dict[str, Reader]
    metadata: dict[str, str]


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
