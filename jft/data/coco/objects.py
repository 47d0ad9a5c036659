"""The objects of a COCO file, by image, and what is unusual about them."""

from collections import Counter
from collections.abc import Mapping

from jft.data.coco.file import CocoFile, Id, read_id, refuse
from jft.data.coco.shapes import (
    DIALECTS,
    NO_SEGMENTATION,
    Shape,
    covers_nothing,
    read_shape,
)
from jft.data.describe import few
from jft.types import VOID


def image_shapes(
    file: CocoFile, classes: Mapping[Id, int], *, crowds: bool
) -> tuple[list[tuple[Shape, ...]], list[str]]:
    """Return the shapes of each image, and what a person has to know of them.

    Args:
        file: What was read.
        classes: The class index of each category.
        crowds: Whether `iscrowd` marks objects like all others; else they are void.
    """
    shapes: dict[Id, list[Shape]] = {number: [] for number in file.images}
    counts: Counter[str] = Counter()
    lost: list[str] = []
    for entry in file.annotations:
        image, category = (read_id(entry.get(k)) for k in ("image_id", "category_id"))
        size, label = file.images.get(image), classes.get(category)
        if size is None or label is None:
            keys = ("id", "image_id", "category_id")
            lost.append(ascii({key: entry.get(key) for key in keys})[:99])
            continue
        crowd = entry.get("iscrowd") in (1, "1")
        label = VOID if crowd and not crowds else label
        shape = read_shape(entry.get("segmentation"), label)
        counts["crowd"] += crowd
        counts[shape.dialect] += 1
        counts["nothing"] += covers_nothing(shape, size.height, size.width)
        shapes[image].append(shape)
    total = len(file.annotations)
    if lost:
        refuse(
            file.path,
            f"{len(lost)} of {total} annotations are of an image or category that it "
            f"does not have{few(lost)}",
        )
    outlines = [shape.outline for some in shapes.values() for shape in some]
    if outlines and all(outline == NO_SEGMENTATION for outline in outlines):
        refuse(file.path, "no annotation has a segmentation; boxes make no masks")
    return [tuple(some) for some in shapes.values()], _notes(file, counts, crowds)


def _notes(file: CocoFile, counts: Counter[str], crowds: bool) -> list[str]:
    """Return a sentence for each way in which objects are not as COCO has them."""
    total, name = len(file.annotations), file.path.name
    found = [
        f"{n:,} objects in {name!r}: {dialect}"
        for dialect in DIALECTS
        if (n := counts[dialect])
    ]
    if n := counts["crowd"]:
        text = f"{n:,} of {total:,} objects in {name!r} are crowds (iscrowd)"
        more = "which are void; crowd=use takes them for objects of their class"
        found.append(f"{text}, {'used as objects' if crowds else more}")
    if n := counts["nothing"]:
        found.append(
            f"{n:,} objects in {name!r} cover no pixel: their outlines are smaller "
            "than a pixel, or outside of the image"
        )
    if file.roots:
        found.append(
            f"no class for the category {file.roots[0]!r} in {name!r}, which is the "
            "parent of others and has no object"
        )
    return found
