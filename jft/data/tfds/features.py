"""Which features of a TensorFlow data set are the image and the labels."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from jft.errors import InputError, nearest

Kind = Literal["image", "class", "classes", "number", "numbers", "truth", "other"]


@dataclass(frozen=True)
class Leaf:
    """A feature that has no parts.

    Attributes:
        name: Its name, with '/' between those of its parents and its own.
        kind: What its values are; `classes` and `numbers` are lists of them.
        names: What its classes are called; None if unknown.
        channels: Of an image.
    """

    name: str
    kind: Kind
    names: tuple[str, ...] | None = None
    channels: int = 0

    @property
    def root(self) -> str:
        """Name of the feature of the example that it is part of."""
        return self.name.partition("/")[0]


@dataclass(frozen=True)
class Chosen:
    """The features that are learned from.

    Attributes:
        image: The image.
        labels: The labels, or one mask.
    """

    image: Leaf
    labels: tuple[Leaf, ...]

    @property
    def mask(self) -> bool:
        """Whether the label is a mask."""
        return self.labels[0].kind == "image"


def leaves(features: Any) -> dict[str, Leaf]:
    """Return all features by their names."""
    return {leaf.name: leaf for leaf in _walk(features, "", listed=False)}


def _walk(feature: Any, name: str, *, listed: bool) -> Iterator[Leaf]:
    from tensorflow_datasets import features as kinds

    if isinstance(feature, kinds.FeaturesDict):
        for key, inner in feature.items():
            yield from _walk(inner, f"{name}/{key}" if name else key, listed=listed)
    elif isinstance(feature, kinds.Sequence):
        if listed:
            yield Leaf(name, "other")
        else:
            yield from _walk(feature.feature, name, listed=True)
    elif isinstance(feature, kinds.ClassLabel):
        yield Leaf(name, "classes" if listed else "class", _names(feature))
    elif isinstance(feature, kinds.Image):
        shape: Any = feature.shape
        images = not listed and shape[-1] in (1, 3) and _integer(feature)
        names = _names(feature) if isinstance(feature, kinds.LabeledImage) else None
        yield Leaf(name, "image" if images else "other", names, shape[-1])
    elif type(feature) in (kinds.Scalar, kinds.Tensor) or isinstance(
        feature, kinds.BBoxFeature
    ):
        yield Leaf(name, "other" if listed else _numbers(feature))
    else:
        yield Leaf(name, "other")


def _names(feature: Any) -> tuple[str, ...] | None:
    return tuple(feature.names) if feature.num_classes else None


def _integer(feature: Any) -> bool:
    return np.issubdtype(feature.np_dtype, np.integer)


def _numbers(feature: Any) -> Kind:
    kind = np.dtype(feature.np_dtype).kind
    if len(feature.shape) > 1 or None in feature.shape:
        return "other"
    if kind == "b":
        return "other" if feature.shape else "truth"
    if kind not in "iuf":
        return "other"
    return "numbers" if feature.shape else "number"


def choose_features(
    features: Any, supervised: Any, options: Mapping[str, str]
) -> Chosen:
    """Return the image and the labels.

    Args:
        features: Those of the data set.
        supervised: TFDS's `supervised_keys`: what its authors mean to be learned.
        options: `image` and `label` may name features; one with parts means all
            of them.
    """
    known = leaves(features)
    pair: Sequence[Any] = (None, None)
    if isinstance(supervised, tuple) and len(supervised) == 2:
        pair = supervised
    labels = _labels(known, pair[1], options.get("label"))
    if "image" in options:
        image = _named(known, options["image"])[0]
    else:
        image = _image(known, pair[0], labels)
    if image.kind != "image" or "/" in image.name:
        raise InputError(f"image={image.name} is not a uint8 image; {_listed(known)}")
    return Chosen(image, labels)


def _labels(
    known: Mapping[str, Leaf], usual: Any, wanted: str | None
) -> tuple[Leaf, ...]:
    """Return the labels: those wanted, or the usual one."""
    labels = _named(known, wanted) if wanted else (_label(known, usual),)
    first, kinds = labels[0], {leaf.kind for leaf in labels}
    lists = len(labels) > 1 and kinds & {"image", "classes", "numbers"}
    inside = "image" in kinds and "/" in first.name
    if "other" in kinds or lists or inside or _ids_as_numbers(labels):
        raise InputError(
            f"label={wanted or first.name}: valid are one feature with a class, "
            "classes, numbers or a mask, or several with one number each, or several "
            f"with a truth or one of two classes each; {_listed(known)}"
        )
    return labels


def _ids_as_numbers(labels: Sequence[Leaf]) -> bool:
    """Return whether classes would be taken for numbers, or three for truths."""
    several = [leaf for leaf in labels if leaf.kind == "class"] if labels[1:] else []
    return any(len(leaf.names or ()) != 2 for leaf in several) or (
        bool(several) and any(leaf.kind == "number" for leaf in labels)
    )


def _named(known: Mapping[str, Leaf], text: str) -> tuple[Leaf, ...]:
    found: list[Leaf] = []
    for name in text.split(","):
        some = [leaf for key, leaf in known.items() if f"{key}/".startswith(f"{name}/")]
        if not some:
            near = nearest(name, known)
            raise InputError(f"no feature {name!r}{near}; {_listed(known)}")
        found += some
    return tuple(dict.fromkeys(found))


def _label(known: Mapping[str, Leaf], usual: Any) -> Leaf:
    if isinstance(usual, str) and usual in known and known[usual].kind != "other":
        return known[usual]
    some = [leaf for leaf in known.values() if leaf.kind in ("class", "classes")]
    some = some or [leaf for leaf in known.values() if leaf.names is not None]
    if len(some) != 1:
        raise InputError(f"label=FEATURE must select the label; {_listed(known)}")
    return some[0]


def _image(known: Mapping[str, Leaf], usual: Any, labels: tuple[Leaf, ...]) -> Leaf:
    some = {
        name: leaf
        for name, leaf in known.items()
        if leaf.kind == "image" and leaf not in labels
    }
    for name in (usual, "image"):
        if isinstance(name, str) and name in some:
            return some[name]
    if len(some) > 1:
        some = {name: leaf for name, leaf in some.items() if leaf.channels == 3}
    if len(some) != 1:
        raise InputError(f"image=FEATURE must select the image; {_listed(known)}")
    return next(iter(some.values()))


def _listed(known: Mapping[str, Leaf]) -> str:
    lines = (f"{leaf.name} ({leaf.kind})" for leaf in known.values())
    return f"features are {', '.join(lines)}"
