"""WebDataset shards: tar archives, where files of one name make one example."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jft.data.decode import DecodeError
from jft.data.formats.describe import few, require_choice
from jft.data.formats.folder import EXTENSIONS
from jft.data.formats.parts import (
    Parts,
    class_names,
    require_mask_options,
    require_no_mask_options,
)
from jft.data.formats.shard_files import Shards, find_shards
from jft.data.formats.tar_index import Member, Members, read_members
from jft.data.formats.value_labels import Values
from jft.data.listing import Dataset, Split
from jft.errors import InputError, nearest

TASKS = ("auto", "regression")
MASK_ENDINGS = tuple(
    f"{word}.{end}" for word in ("mask", "seg") for end in ("png", "tif", "bmp")
)
LABEL_ENDINGS = ("cls", "json", "txt")
_MAX_LABEL_BYTES = 2**20
# webdataset's own rule: all before the first dot of the last part of the path.
_NAME = re.compile(r"((?:.*/)?[^/.]+)\.([^/]+)", re.DOTALL)


@dataclass(frozen=True)
class Example:
    """The files of one example.

    Attributes:
        key: Its name, after that of its archive.
        archive: Place of the archive among those of its split.
        members: Its files, by the lower-case ends of their names.
    """

    key: str
    archive: int
    members: Mapping[str, Member]


@dataclass(frozen=True)
class Endings:
    """Which files of an example are what; the part of a JSON file may be named."""

    image: str
    label: str
    key: str = "label"

    def sizes(self, example: Example) -> int:
        """Return the sizes of image and label in one number; each is below 2^40."""
        members = example.members
        return members[self.image].size << 40 | members[self.label].size


def check(place: str, options: Mapping[str, str]) -> None:
    """Raise `InputError` unless there are such archives and the options make sense."""
    find_shards(place, options, (".tar",))
    require_choice(options, "task", TASKS)
    require_mask_options(options)


def load(place: str, options: Mapping[str, str]) -> Dataset:
    """List the examples in tar archives; headers, labels and masks are read once.

    Raises:
        InputError: The archives do not hold examples as they must.
    """
    check(place, options)
    shards = find_shards(place, options, (".tar",))
    examples: dict[Split, list[Example]] = {}
    others = shards.skipped
    for split, names in shards.names.items():
        examples[split], skipped = list_examples(shards.root, names)
        others += skipped
    endings = choose_endings([e for some in examples.values() for e in some], options)
    _require_whole(examples, endings)
    parts = Parts(
        name=shards.name,
        keys={split: tuple(e.key for e in some) for split, some in examples.items()},
        images=_members(shards, examples, endings.image),
        checks={
            split: [endings.sizes(example) for example in some]
            for split, some in examples.items()
        },
        skipped=others,
    )
    files = _members(shards, examples, endings.label)
    if f".{endings.label}".endswith(EXTENSIONS):
        return parts.with_masks(files, options, class_names(options))
    require_no_mask_options(options)
    return parts.with_values(
        Values(
            splits={s: _read_labels(f, examples[s], endings) for s, f in files.items()},
            where=lambda split, i: examples[split][i].key,
            names=class_names(options),
            name=endings.key if endings.label == "json" else endings.label,
            regression=options.get("task") == "regression",
        )
    )


def list_examples(root: Path, names: tuple[str, ...]) -> tuple[list[Example], int]:
    """Return the examples in archives, and the number of entries that belong to none.

    Raises:
        InputError: An example has two files with the same end.
    """
    examples: list[Example] = []
    skipped = 0
    for place, name in enumerate(names):
        groups: dict[str, dict[str, Member]] = {}
        for member in read_members(root / name):
            match = _NAME.fullmatch(member.name) if member else None
            if member is None or match is None:
                skipped += 1
                continue
            group = groups.setdefault(match[1].removeprefix("./"), {})
            ending = match[2].lower()
            if ending in group:
                raise InputError(f"{name!r} has {member.name!r} twice")
            group[ending] = member
        examples += [Example(f"{name}/{key}", place, g) for key, g in groups.items()]
    return examples, skipped


def choose_endings(examples: list[Example], options: Mapping[str, str]) -> Endings:
    """Return which files are images and which are labels, by the options or the names.

    Raises:
        InputError: There are none, or several kinds that could be meant.
    """
    counts: dict[str, int] = {}
    for example in examples:
        for ending in example.members:
            counts[ending] = counts.get(ending, 0) + 1
    masks = [ending for ending in MASK_ENDINGS if ending in counts]
    labels = [ending for ending in LABEL_ENDINGS if ending in counts]
    label = options.get("label") or next(iter(labels[:1] or masks), "")
    key = "label"
    if label.startswith("json."):
        label, key = "json", label.removeprefix("json.")
    rest = [
        e for e in counts if f".{e}".endswith(EXTENSIONS) and e not in (label, *masks)
    ]
    image = options.get("image") or max(rest, key=lambda e: counts[e], default="")
    for what, ending in (("image", image), ("label", label)):
        if ending not in counts:
            raise InputError(
                f"no {what} files {ending and '.' + ending!r} in the archives; names "
                f"end in {dict(sorted(counts.items()))}; {what}=END says which is it"
                f"{nearest(ending, counts)}"
            )
    return Endings(image, label, key)


def _require_whole(examples: Mapping[Split, list[Example]], endings: Endings) -> None:
    """Raise `InputError` if an example has an image but no label, or the reverse."""
    wanted = {endings.image, endings.label}
    everything = [example for some in examples.values() for example in some]
    missing = [(e.key, sorted(wanted - e.members.keys())) for e in everything]
    lines = [f"{key}: no .{' and no .'.join(some)}" for key, some in missing if some]
    if lines:
        raise InputError(
            f"{len(lines)} of {len(everything)} examples are not whole:{few(lines)}"
        )


def _members(
    shards: Shards, examples: Mapping[Split, list[Example]], ending: str
) -> dict[Split, Members]:
    return {
        split: Members(
            shards.root,
            shards.names[split],
            np.array([example.archive for example in some], np.int32),
            np.array([e.members[ending].offset for e in some], np.int64),
            np.array([e.members[ending].size for e in some], np.int64),
        )
        for split, some in examples.items()
    }


def _read_labels(
    files: Members, examples: list[Example], endings: Endings
) -> list[Any]:
    """Return what the label files say: a number, a word, or a list."""
    values: list[Any] = []
    for i, example in enumerate(examples):
        if files.sizes[i] > _MAX_LABEL_BYTES:
            raise InputError(f"{example.key}.{endings.label}: too long for a label")
        try:
            text = files[i].decode("utf-8-sig").strip()
            values.append(_value(text, endings))
        except (DecodeError, ValueError, RecursionError, KeyError) as error:
            raise InputError(
                f"{example.key}.{endings.label} holds no label: {error}"
            ) from error
    return values


def _value(text: str, endings: Endings) -> Any:
    if endings.label != "json":
        return int(text) if re.fullmatch(r"-?\d{1,18}", text, re.ASCII) else text
    value: Any = json.loads(text)
    if isinstance(value, dict):
        for part in endings.key.split("."):
            if part not in value:
                raise InputError(
                    f"the JSON has no {endings.key!r}, but {sorted(value)}; "
                    f"label=json.KEY says which is meant{nearest(part, value)}"
                )
            value = value[part]
    return value
