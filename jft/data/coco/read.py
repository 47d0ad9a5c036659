"""Images with outlines of objects in COCO's JSON, of which masks are drawn."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from jft.data.coco.file import CocoFile, Id, read_coco
from jft.data.coco.images import find_images
from jft.data.coco.objects import image_shapes
from jft.data.coco.shapes import Shape, paint
from jft.data.decode import MAX_PIXELS, DecodeError
from jft.data.describe import few, identity, require_choice, require_file, size_of
from jft.data.listing import Dataset, Listing, Paths, Split
from jft.data.masks.files import MAX_CLASSES
from jft.data.walk import require_folder
from jft.errors import InputError, nearest

BACKGROUND = "background"


@dataclass(frozen=True, eq=False)
class Outlines:
    """Masks drawn out of outlines at each access.

    Attributes:
        sizes: The declared height and width of each image.
        shapes: The objects of each image.
    """

    sizes: tuple[tuple[int, int], ...]
    shapes: tuple[tuple[Shape, ...], ...]

    def __len__(self) -> int:
        """Return the number of masks."""
        return len(self.sizes)

    def __getitem__(self, index: int) -> npt.NDArray[np.uint8]:
        """Return one mask [H, W] of class indices; crowds are `VOID`.

        Raises:
            DecodeError: Its size is absurd, or an outline is damaged.
        """
        height, width = self.sizes[index]
        if height * width > MAX_PIXELS:
            raise DecodeError("the JSON declares more pixels than are decoded")
        return paint(self.shapes[index], height, width)

    def stamp(self, index: int) -> str:
        """Return what changes with the outlines of an image."""
        digest = hashlib.sha256(repr(self.sizes[index]).encode())
        for shape in self.shapes[index]:
            outline = shape.outline
            polygons = outline if isinstance(outline, tuple) else ()
            kind = [len(polygon) for polygon in polygons] or outline
            digest.update(f"{shape.label} {kind!r}".encode())
            for polygon in polygons:
                digest.update(polygon.tobytes())
        return digest.hexdigest()


def check(path: str, options: Mapping[str, str]) -> None:
    """Raise `InputError` unless the files and the folder of images exist."""
    require_choice(options, "crowd", ("void", "use"))
    for file in _files(path, options).values():
        require_file(file)
    if "images" in options:
        require_folder(Path(options["images"]).expanduser())


def load(path: str, options: Mapping[str, str]) -> Dataset:
    """List the images of one file, or of one for training and one for testing.

    Class 0 is the background, the others are the categories in the order of their
    numbers; those of the same name are one class.
    """
    check(path, options)
    files = _files(path, options)
    read: dict[Split, CocoFile] = {s: read_coco(file) for s, file in files.items()}
    names = _class_names(read["train"])
    crowds = options.get("crowd") == "use"
    splits: dict[Split, Listing] = {}
    sizes: dict[Split, list[int]] = {}
    notes: list[str] = []
    for split, file in read.items():
        root, chosen = find_images(file, _folders(file.path, options.get("images")))
        shapes, found = image_shapes(file, _indices(file, names), crowds=crowds)
        images = file.images.values()
        outlines = Outlines(tuple((i.height, i.width) for i in images), tuple(shapes))
        # Two files may call images alike, and keys are unique.
        keys = tuple(f"{split}/{n}" if len(read) > 1 else n for n in chosen)
        splits[split] = Listing(keys, Paths(root, tuple(chosen)), outlines)
        sizes[split] = [size_of(root / name) for name in chosen]
        notes += found
    meaning = (names, [file.digest for file in read.values()], *["use"] * crowds)
    return Dataset(
        name=Path(path).resolve().stem,
        task="segmentation",
        class_names=names,
        splits=splits,
        fingerprint=identity(splits, sizes, meaning),
        notes=tuple(notes),
    )


def _files(path: str, options: Mapping[str, str]) -> dict[Split, Path]:
    files: dict[Split, Path] = {"train": Path(path)}
    if "test" in options:
        files["test"] = Path(options["test"]).expanduser()
    return files


def _class_names(file: CocoFile) -> tuple[str, ...]:
    """Return the background and the categories, each name once."""
    names = tuple(dict.fromkeys([BACKGROUND, *file.categories.values()]))
    if not 2 <= len(names) <= MAX_CLASSES:
        raise InputError(
            f"{str(file.path)!r} has {len(names)} classes with the background; valid "
            f"is 2 to {MAX_CLASSES}"
        )
    return names


def _indices(file: CocoFile, names: tuple[str, ...]) -> dict[Id, int]:
    """Return the class index of each category of a file, by its name."""
    lost = [
        f"{name!r}{nearest(name, names)}"
        for name in file.categories.values()
        if name not in names
    ]
    if lost:
        raise InputError(
            f"{str(file.path)!r} has categories that the training file does not have"
            f"{few(lost)}"
        )
    return {number: names.index(name) for number, name in file.categories.items()}


def _folders(file: Path, given: str | None) -> list[Path]:
    """Return where the images of a file may be: as given, or the usual folders."""
    if given is not None:
        return [Path(given).expanduser()]
    part = file.stem.removeprefix("instances_")  # annotations/instances_train2017.json
    above = file.parent.parent
    return [
        *(file.parent, file.parent / "images"),
        *(above / part, above / "images" / part, above / "images", above),
    ]
