"""python -m jft.predict: say what is in images, with a run's parameters."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
import tyro

from jft.cli import guarded, parse
from jft.data.mask_output import make_way, save_mask
from jft.errors import InputError
from jft.runlog import finite, open_run

if TYPE_CHECKING:
    from jft.inference import Predictor
    from jft.tasks import Task

THERE = 0.5  # the probability from which on the table has a label


@dataclass(frozen=True)
class Flags:
    """Say what is in images, with a run's parameters.

    Attributes:
        run: Folder of a run.
        images: Image files, and folders that are searched for images.
        which: The parameters after the last step, or those of the epoch with the
            highest score on the test images.
        output: Folder for the masks of a run that has learned from masks: a PNG of
            each image's size, whose pixels are the places of their classes. Masks lie
            in it as the images do in theirs, and replace no file.
        tta: Average over several views of each image: flip is it and its mirror
            image, flips adds both upside down, d4 has all turns and mirrors.
        json: Print one JSON object a line instead of a table, also with the labels
            that are less likely than not; null is a number that is not finite.
    """

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    images: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE_OR_FOLDER")
    ]
    which: Literal["final", "best"] = "final"
    output: str | None = None
    tta: Literal["none", "flip", "flips", "d4"] = "none"
    json: bool = False


class Found(NamedTuple):
    """An image that a person named, or that lies in a folder that they named.

    Attributes:
        path: The file.
        name: The same from the folder on, or without any folder.
    """

    path: Path
    name: Path


def main(args: Sequence[str] | None = None) -> int:
    """Run the door; return the exit status."""
    flags = parse(Flags, "predict", args)
    return guarded(lambda: predict(flags))


def predict(flags: Flags) -> int:
    """Predict and print; unreadable images are named on standard error (status 1)."""
    saved = open_run(flags.run).path / flags.which
    images = find_images(flags.images)
    from jft.checkpoint import load_card
    from jft.devices import tune_cpu
    from jft.inference import Predictor
    from jft.tasks import from_dict

    masks: Sequence[Path | None] = [None] * len(images)
    if from_dict(load_card(saved).task).dense:
        if flags.output is None:
            raise InputError("this run makes masks: say with --output FOLDER where to")
        masks = make_way([image.name for image in images], flags.output)
    elif flags.output is not None:
        raise InputError("--output is for masks, which this run does not make")
    tune_cpu()
    predictor = Predictor.from_run(flags.run, flags.which, views=flags.tta)
    unreadable: list[str] = []
    show = print_json if flags.json else print_table
    show(records(predictor, images, masks, unreadable))
    for reason in unreadable:
        print(f"not read: {reason}", file=sys.stderr)
    return 1 if unreadable else 0


def find_images(names: Sequence[str]) -> list[Found]:
    """Return the files among the names, and the images in the folders, in order.

    Raises:
        InputError: A name does not exist, or there is no image at all.
    """
    from jft.data.formats.folder import list_images

    found: list[Found] = []
    for name in names:
        path = Path(os.path.expanduser(name))
        if path.is_dir():
            inside = map(Path, list_images(path)[0])
            found += [Found(path / name, name) for name in inside]
        elif path.exists():
            found.append(Found(path, Path(path.name)))
        else:
            raise InputError(f"no image or folder {name!r}")
    if not names:
        raise InputError("name at least one image or folder")
    if not found:
        raise InputError(f"no images in {', '.join(map(repr, names))}")
    return found


def records(
    predictor: "Predictor",
    images: Sequence[Found],
    masks: Sequence[Path | None],
    unreadable: list[str],
) -> Iterator[dict[str, Any]]:
    """Yield what there is to say of each image, if it can be read; write its mask.

    Args:
        predictor: What predicts.
        images: The images.
        masks: Where the mask of each goes; None for a run that makes none.
        unreadable: Takes the reasons why images could not be read.
    """

    def squares() -> Iterator[tuple[tuple[Path, Path | None, tuple[int, int]], Any]]:
        for image, mask in zip(images, masks, strict=True):
            try:
                pixels = predictor.load(image.path)
            except InputError as error:
                unreadable.append(str(error))
                continue
            shape = (pixels.shape[0], pixels.shape[1])
            yield (image.path, mask, shape), predictor.pixels(pixels)

    for (path, mask, shape), row in predictor.rows(squares()):
        record: dict[str, Any] = {"path": str(path)}
        if mask is None:
            yield record | described(row, predictor.task)
        else:
            found = predictor.class_map(row, shape)
            save_mask(found, mask)
            shares = class_shares(found, predictor.class_names)
            yield record | {"mask": str(mask), "shares": shares}


def described(row: np.ndarray, task: "Task") -> dict[str, Any]:
    """Return what a row [K] says: the class, each label's probability, the numbers."""
    from jft.tasks import Classification, MultiLabel

    if isinstance(task, Classification):
        place = int(row.argmax())
        return {"class": task.class_names[place], "probability": float(row[place])}
    values = dict(zip(task.class_names, row.tolist(), strict=True))
    return {"labels": values} if isinstance(task, MultiLabel) else values


def class_shares(found: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """Return which share of the pixels each class has, of those that have any."""
    counts = np.bincount(found.ravel(), minlength=len(names)).tolist()
    pairs = zip(names, counts, strict=True)
    return {name: count / found.size for name, count in pairs if count}


def print_json(table: Iterator[dict[str, Any]]) -> None:
    """Print each prediction as soon as it is there."""
    for record in table:
        print(json.dumps(finite(record)), flush=True)


def print_table(table: Iterator[dict[str, Any]]) -> None:
    """Print a table with aligned columns."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rows = list(table)
    shown = Table(box=None, pad_edge=False)
    columns = list(rows[0]) if rows else ["path"]
    for name in columns:
        right = rows and isinstance(rows[0][name], float)
        heading = "image" if name == "path" else name
        shown.add_column(heading, overflow="fold", justify="right" if right else "left")
    for record in rows:
        shown.add_row(*(Text(cell(name, record[name])) for name in columns))
    Console(highlight=False, emoji=False).print(shown)


def cell(name: str, value: Any) -> str:
    """Return a value as it stands in the table.

    Names are shown as they are: no markup, and control characters escaped.
    """
    if isinstance(value, dict):
        least = THERE if name == "labels" else 0.0
        parts = [f"{_plain(k)} {_percent(v)}" for k, v in value.items() if v >= least]
        return ", ".join(parts) or "none"
    if isinstance(value, float):
        return _percent(value) if name == "probability" else f"{value:.6g}"
    return _plain(value)


def _percent(share: float) -> str:
    return "<0.1%" if 0 < share < 0.0005 else f"{share:.1%}"


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


if __name__ == "__main__":
    sys.exit(main())
