"""Reads checkpoints in several files, which an index file lists.

transformers writes them: `model.safetensors.index.json` maps each tensor to the file
next to it that has it, `pytorch_model.bin.index.json` likewise.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, cast

from jft.errors import InputError
from jft.weights.lazy import Contents
from jft.weights.ranges import FileRange
from jft.weights.strict_json import check_length, parse_json

INDEX_SUFFIX = ".index.json"
"""Ends the name of an index file."""

# Names that another system or reader would not take as plain are refused too.
_PLAIN = re.compile(r"\w[\w.-]*\.(safetensors|bin)", re.ASCII)

# Each stays open as long as the tensors are in use.
_MOST_SHARDS = 200

Shards = dict[str, tuple[FileRange, Contents]]
"""The files that an index lists, by name."""


def read_shards(
    index: FileRange, read: Callable[[str], tuple[FileRange, Contents]]
) -> Shards:
    """Read all files that an index lists, and check that they have just its tensors.

    Raises:
        InputError: If the index is damaged or leads out of its folder, or a file has
            not just the tensors that the index lists.
    """
    check_length(index.size, "its JSON")
    files = weight_map(parse_json(index.read(0, index.size), "its JSON"))
    names = sorted(set(files.values()))
    if len(names) > _MOST_SHARDS:
        raise InputError(f"lists {len(names)} files, at most {_MOST_SHARDS} are read")
    shards: Shards = {}
    for name in names:
        shards[name] = read(name)
        listed = {tensor for tensor, file in files.items() if file == name}
        _check_same(name, listed, shards[name][1].readers)
    return shards


def merged(shards: Shards) -> Contents:
    """Return all tensors, sorted by name, and all notes of the files."""
    contents = [contents for _, contents in shards.values()]
    readers = {n: r for content in contents for n, r in content.readers.items()}
    notes = {key: note for c in contents for key, note in c.metadata.items()}
    return Contents(dict(sorted(readers.items())), notes)


def weight_map(index: Mapping[str, Any]) -> dict[str, str]:
    """Return the file of each tensor that an index lists, all of them next to it."""
    files = index.get("weight_map")
    if not isinstance(files, dict) or not files:
        raise InputError("is not the index of a checkpoint: it has no weight_map")
    for name in cast(dict[str, Any], files).values():
        if not isinstance(name, str) or not _PLAIN.fullmatch(name):
            raise InputError(
                f"lists {name!a:.80}, which is not the plain name of a .safetensors or "
                ".bin file next to it"
            )
    return cast(dict[str, str], files)


def _check_same(shard: str, listed: set[str], present: Mapping[str, Any]) -> None:
    for problem, names in (
        ("assigns to it, but it is missing", listed - set(present)),
        ("does not assign to it", set(present) - listed),
    ):
        if names:
            raise InputError(
                f"does not agree with its file {shard!r:.80} on {len(names)} names: "
                f"{min(names)!r:.80}, which the index {problem}"
            )
