"""WebDataset shards: tar archives, where files of one name make one example."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jft.data.decode import DecodeError
from jft.data.describe import few, require_choice
from jft.data.listing import Dataset, Split
from jft.data.parts import (
    Parts,
    class_names,
    require_mask_options,
    require_no_mask_options,
)
from jft.data.values import TASKS, Values, numbers_or_words
from jft.data.walk import EXTENSIONS
from jft.data.webdataset.files import Shards, find_shards
from jft.data.webdataset.tar_index import Member, Members, read_members
from jft.errors import InputError, nearest

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
        archive: Index of the archive among those of its split.
        members: Its files, by the lower-case ends of their names.
    """

    key: str
    archive: int
    members: Mapping[str, Member]


@dataclass(frozen=True)
class Endings:
    """Which files of an example are what.

    Attributes:
        images: Ends of images; of an example, the first that it has.
        label: End of the label.
        key: Where the label is in a JSON file.
    """

    images: tuple[str, ...]
    label: str
    key: str = "label"

    def sizes(self, example: Example) -> int:
        """Return the sizes of image and label in one number; each is below 2^40."""
        image = _first(example, self.images)
        return image.size << 40 | example.members[self.label].size


def check(path: str, options: Mapping[str, str]) -> None:
    """Raise `InputError` unless there are such archives and the options make sense."""
    find_shards(path, options, (".tar",))
    require_choice(options, "task", TASKS)
    require_mask_options(options)


def load(path: str, options: Mapping[str, str]) -> Dataset:
    """List the examples in tar archives; headers, labels and masks are read once."""
    check(path, options)
    shards = find_shards(path, options, (".tar",))
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
        images=_members(shards, examples, endings.images),
        checks={
            split: [endings.sizes(example) for example in some]
            for split, some in examples.items()
        },
        skipped=others,
    )
    files = _members(shards, examples, (endings.label,))
    if f".{endings.label}".endswith(EXTENSIONS):
        return parts.with_masks(files, options, class_names(options))
    require_no_mask_options(options)
    task = options.get("task", "auto")
    values: dict[Split, list[Any]] = {
        split: _read_labels(some, examples[split], endings)
        for split, some in files.items()
    }
    if endings.label != "json":
        values = numbers_or_words(values, mixed=task == "regression")
    return parts.with_values(
        Values(
            splits=values,
            where=lambda split, i: examples[split][i].key,
            names=class_names(options),
            name=endings.key if endings.label == "json" else endings.label,
            task=task,
        )
    )


def list_examples(root: Path, names: tuple[str, ...]) -> tuple[list[Example], int]:
    """Return the examples in archives, and how many entries belong to none."""
    examples: list[Example] = []
    skipped = 0
    for index, name in enumerate(names):
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
        examples += [Example(f"{name}/{key}", index, g) for key, g in groups.items()]
    return examples, skipped


def choose_endings(examples: list[Example], options: Mapping[str, str]) -> Endings:
    """Return which files are images and labels, by the options or the names."""
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
    if "image" in options:
        images = tuple(options["image"].lower().split(","))
    else:
        images = _usual_images(examples, counts, {label, *masks})
    for what, ending in (*(("image", end) for end in images), ("label", label)):
        if ending not in counts:
            raise InputError(
                f"no {what} files {ending and '.' + ending!r} in the archives; names "
                f"end in {_commonest(counts)}; {what}=END chooses one"
                f"{nearest(ending, counts)}"
            )
    if label in images:
        raise InputError(f"image= and label= both name the files that end in .{label}")
    return Endings(images, label, key)


def _commonest(counts: Mapping[str, int]) -> str:
    """Return the most frequent endings, and what an ending is where there are many."""
    some = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    text = ", ".join(f".{end[:40]} ({count})" for end, count in some[:10])
    if len(some) <= 10:
        return text
    return (
        f"{text} and {len(some) - 10:,} more (everything behind the first dot of a "
        "name is its ending; use _ for other dots)"
    )


def _usual_images(
    examples: list[Example], counts: Mapping[str, int], others: set[str]
) -> tuple[str, ...]:
    """Return all ends of images if no example has two of them, else the commonest."""
    ends = [e for e in counts if f".{e}".endswith(EXTENSIONS) and e not in others]
    ends.sort(key=lambda end: -counts[end])
    if any(len(e.members.keys() & {*ends}) > 1 for e in examples):
        return (ends[0],)
    return tuple(ends) or ("",)


def _require_whole(examples: Mapping[Split, list[Example]], endings: Endings) -> None:
    """Raise `InputError` if an example has an image but no label, or the reverse."""
    everything = [example for some in examples.values() for example in some]
    wanted = (endings.images, (endings.label,))
    lines: list[str] = []
    for example in everything:
        missing = [ends for ends in wanted if example.members.keys().isdisjoint(ends)]
        if missing:
            words = [f"no .{' or .'.join(ends)}" for ends in missing]
            lines.append(f"{example.key}: {' and '.join(words)}")
    if lines:
        raise InputError(
            f"{len(lines)} of {len(everything)} examples are not whole:{few(lines)}"
        )


def _first(example: Example, endings: tuple[str, ...]) -> Member:
    return next(example.members[end] for end in endings if end in example.members)


def _members(
    shards: Shards, examples: Mapping[Split, list[Example]], endings: tuple[str, ...]
) -> dict[Split, Members]:
    return {
        split: Members(
            shards.root,
            shards.names[split],
            np.array([example.archive for example in some], np.int32),
            np.array([_first(e, endings).offset for e in some], np.int64),
            np.array([_first(e, endings).size for e in some], np.int64),
        )
        for split, some in examples.items()
    }


def _read_labels(
    files: Members, examples: list[Example], endings: Endings
) -> list[Any]:
    """Return the content of the label files: their text, or the value in their JSON."""
    values: list[Any] = []
    json_files = endings.label == "json"
    for i, example in enumerate(examples):
        if files.sizes[i] > _MAX_LABEL_BYTES:
            raise InputError(f"{example.key}.{endings.label}: too long for a label")
        try:
            text = files[i].decode("utf-8-sig").strip()
            values.append(_in_json(text, endings.key) if json_files else text)
        except (DecodeError, ValueError, RecursionError, KeyError) as error:
            raise InputError(
                f"{example.key}.{endings.label} holds no label: {error}"
            ) from error
    return values


def _in_json(text: str, key: str) -> Any:
    """Return what a JSON text has at `a.b`; all of it if that is not an object."""
    value: Any = json.loads(text)
    if key == "label" and not isinstance(value, dict):
        return value
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            known = sorted(value) if isinstance(value, dict) else []
            found = known or f"{str(value)[:60]!r} where {part!r} would be"
            raise InputError(
                f"the JSON has no {key!r}, but {found}; "
                f"label=json.KEY selects it{nearest(part, known)}"
            )
        value = value[part]
    return value
