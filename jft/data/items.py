"""The items of data sets that other libraries, or a notebook, hold: image and label."""

import hashlib
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jft.data.describe import few, size_of
from jft.data.listing import File
from jft.data.parquet.columns import IMAGE_NAMES, LABEL_NAMES, MASK_NAMES
from jft.data.rgb import DecodeError, pixels
from jft.errors import InputError

_LARGEST = 2**31  # examples; Grain's endless data sets have more
_READING = threading.Lock()  # most data sets are not made for several threads
_EXPECTED = (
    "valid are (images, labels), a list of (image, label), or a data set with len() "
    'and [i] whose items are (image, label) or {"image": ..., "label": ...}'
)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Images and labels that are given apart, as examples: `[i]` has both."""

    images: Any
    labels: Any

    def __len__(self) -> int:
        """Return the number of examples; `InputError` if one sequence is longer."""
        lengths: list[int] = []
        for name in ("images", "labels"):
            part = getattr(self, name)
            try:
                lengths.append(len(part))
            except TypeError as error:
                raise InputError(
                    f"the {name} are a {type(part).__name__}, which has no length; "
                    f"{_EXPECTED}"
                ) from error
        if lengths[0] != lengths[1]:
            raise InputError(f"there are {lengths[0]} images and {lengths[1]} labels")
        return lengths[0]

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """Return one image and its label; of labels [N, 1], as in Keras, the number."""
        label = self.labels[index]
        column = tuple(getattr(self.labels, "shape", ()))[1:] == (1,)
        return self.images[index], label[0] if column else label


@dataclass(frozen=True, eq=False)
class Images:
    """The images of a data set, read from it at each access.

    Attributes:
        items: Has `[i]`.
        name: Where the image is in an item: 0, or the key of a mapping.
        indices: Of N examples, their indices in `items`.
    """

    items: Any
    name: Any
    indices: Sequence[int]

    def __len__(self) -> int:
        """Return the number of examples N."""
        return len(self.indices)

    def __getitem__(self, index: int) -> File:
        """Return a path, a file's bytes, or pixels [H, W, 3].

        Raises:
            DecodeError: The data set raises an error, or its image cannot be read.
        """
        return _file(_item(self.items, self.indices[index])[self.name])


@dataclass(eq=False)
class Items:
    """What the first pass over a data set finds, of each example.

    Attributes:
        images: Reads the image again.
        class_names: What the data set calls the classes 0, 1, ..., if it does.
        labels: A number, a text, a list of these, None, or a mask [H, W].
        paths: Of the image, if it is a path.
        hashes: A hash of the image's pixels or bytes; of a path, the file's size.
    """

    images: Images
    class_names: tuple[str, ...] | None
    labels: list[Any] = field(default_factory=list[Any])
    paths: list[str | None] = field(default_factory=list[str | None])
    hashes: list[str] = field(default_factory=list[str])


def read_items(data: Any, split: str) -> Items:
    """Read every example once.

    Args:
        data: As in `jft.data.objects.list_objects`.
        split: What the user calls it: `train` or `test`.
    """
    pair = isinstance(data, tuple) and len(data) == 2 and not _is_example(data[0])
    items = Pairs(*data) if pair else data
    count = _length(items, split)
    indices: list[int] = []
    wrong: list[str] = []
    found: Items | None = None
    label: Any = None
    for i in range(count):
        try:
            item = _item(items, i)
            if item is None:  # Grain's value for what a filter leaves out
                continue
            if found is None:
                image, label = _names_in(item)
                names = _class_names(data, label)
                found = Items(Images(items, image, indices), names)
            _add(found, item, label)
            indices.append(i)
        except DecodeError as error:
            wrong.append(f"{split}[{i}]: {error}")
            if found is None:  # no valid item shows the form of the others
                raise InputError(f"{wrong[0]}; {_EXPECTED}") from error
    if wrong:
        raise InputError(
            f"{len(wrong)} of the {count} examples of {split}= are not valid:"
            f"{few(wrong)}"
        )
    if found is None:
        raise InputError(f"{split}= holds no example: all {count} items are None")
    return found


def _is_example(item: Any) -> bool:
    return isinstance(item, (tuple, list, Mapping)) and len(item) == 2


def _length(data: Any, split: str) -> int:
    """Return the number of items; `InputError` if they cannot be read by index."""
    kind = type(data).__name__
    if isinstance(data, (str, bytes, os.PathLike)):
        raise InputError(f"{split}={data!r} is a path: write folder:PATH or the like")
    if isinstance(data, Mapping):
        keys = ", ".join(map(str, [*data][:9]))
        raise InputError(f"{split}= is a {kind} of {keys}; {_EXPECTED}")
    if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
        hint = "; give its .dataset" if hasattr(data, "dataset") else ""
        raise InputError(
            f"{split}= is a {kind}, without len() or [i]{hint}; {_EXPECTED}"
        )
    count = len(data)
    if not 0 < count < _LARGEST:
        why = "it is empty" if count == 0 else "it repeats; leave out .repeat()"
        raise InputError(f"{split}= is a {kind} of {count} items: {why}")
    return count


def _add(found: Items, item: Any, label: Any) -> None:
    """Take the label of an item, and what identifies its image."""
    try:
        assert isinstance(item, Mapping) or len(item) == 2
        image, value = _file(item[found.images.name]), _plain(item[label])
    except (LookupError, TypeError, AssertionError) as error:
        raise DecodeError(
            "not like the first example, which has an image and a label at "
            f"{found.images.name!r} and {label!r}"
        ) from error
    found.labels.append(value)
    found.paths.append(os.fspath(image) if isinstance(image, Path) else None)
    found.hashes.append(_hash(image))


def _item(items: Any, index: int) -> Any:
    """Return one item; `DecodeError` with what the data set raises."""
    try:
        with _READING:
            return items[index]
    except Exception as error:  # a data set of somebody else raises anything
        raise DecodeError(f"{type(error).__name__}: {error}"[:300]) from error


def _names_in(item: Any) -> tuple[Any, Any]:
    """Return where image and label are in an item."""
    if isinstance(item, Mapping):
        images = [name for name in IMAGE_NAMES if name in item]
        labels = [name for name in (*LABEL_NAMES, *MASK_NAMES) if name in item]
        if len(images) == len(labels) == 1:
            return images[0], labels[0]
        raise DecodeError(f"a mapping of {', '.join(map(repr, [*item][:9]))}")
    if not _is_example(item):
        raise DecodeError(f"is {_described(item)}")
    return 0, 1


def _described(item: Any) -> str:
    shape = f" {[*item.shape]}" if hasattr(item, "shape") else ""
    dtype = f" {item.dtype}" if hasattr(item, "dtype") else ""
    return f"a {type(item).__name__}{dtype}{shape}"


def _class_names(data: Any, label: Any) -> tuple[str, ...] | None:
    """Return the class names that torch's and Hugging Face's data sets carry."""
    features = getattr(data, "features", None)
    names = getattr(data, "classes", None)
    if isinstance(features, Mapping) and label in features:
        names = getattr(features[label], "names", None)
    if not isinstance(names, (list, tuple)):
        return None
    return tuple(map(str, names)) if all(isinstance(n, str) for n in names) else None


def _plain(label: Any) -> Any:
    """Return Python's own number, text or list; or a mask [H, W]."""
    if label is None or isinstance(label, (str, bool, int, float)):
        return label
    if isinstance(label, (list, tuple)) and not any(map(np.ndim, label)):
        return [_plain(part) for part in label]
    array = np.asarray(label)
    if array.ndim > 2 or array.dtype.kind not in "biufU":
        raise DecodeError(
            f"the label is {_described(label)}; valid are a class name or index, a "
            "number, a list of them, or a mask [H, W]"
        )
    return array if array.ndim == 2 else array.tolist()


def _file(image: Any) -> File:
    if isinstance(image, (str, os.PathLike)):
        return Path(image).expanduser()
    if isinstance(image, Mapping) and {*image} == {"bytes", "path"}:  # Hugging Face's
        return image["bytes"] or Path(image["path"])
    if isinstance(image, bytes):
        return image
    # Other numbers of channels are for a network that takes them.
    shape = list[int](getattr(image, "shape", ()))
    many = len(shape) == 3 and min(shape[0], shape[2]) > 4
    return pixels(image, shape[2] if many else 3)


def _hash(image: File) -> str:
    if isinstance(image, Path):
        return str(size_of(image))
    digest = hashlib.sha256(f"{np.shape(image)}".encode())
    digest.update(image if isinstance(image, bytes) else image.tobytes())
    return digest.hexdigest()
