"""python -m jft.predict: say what is in images, with a run's parameters."""

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import tyro

from jft.cli import guarded, parse
from jft.errors import InputError
from jft.runlog import open_run

if TYPE_CHECKING:
    from jft.tasks import Task


@dataclass(frozen=True)
class Flags:
    """Say what is in images, with a run's parameters.

    Attributes:
        run: Folder of a run.
        images: Image files, and folders that are searched for images.
        which: The parameters after the last step, or those of the epoch with the
            highest score on the test images.
        output: Folder for the masks of a run that has learned from masks: a PNG of
            each image's size, whose pixels are the places of their classes.
        json: Print one JSON object a line instead of a table.
    """

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    images: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE_OR_FOLDER")
    ]
    which: Literal["final", "best"] = "final"
    output: str | None = None
    json: bool = False


def main(args: Sequence[str] | None = None) -> int:
    """Run the door; return the exit status."""
    flags = parse(Flags, "predict", args)
    return guarded(lambda: predict(flags))


def find_images(names: Sequence[str]) -> list[Path]:
    """Return the files among the names, and the images in the folders, in order.

    Raises:
        InputError: A name does not exist, or there is no image at all.
    """
    from jft.data.formats.folder import list_images

    found: list[Path] = []
    for name in names:
        path = Path(name).expanduser()
        if path.is_dir():
            found += [path / image for image in list_images(path)[0]]
        elif path.exists():
            found.append(path)
        else:
            raise InputError(f"no image or folder {name!r}")
    if not names:
        raise InputError("name at least one image or folder")
    if not found:
        raise InputError(f"no images in {', '.join(map(repr, names))}")
    return found


def predict(flags: Flags) -> int:
    """Predict and print; unreadable images are named on standard error (status 1)."""
    open_run(flags.run)
    paths = find_images(flags.images)
    from jft.devices import tune_cpu

    tune_cpu()
    from jft.inference import Predictor

    predictor = Predictor.from_run(flags.run, flags.which)
    masks = predictor.task.name == "segmentation"
    folder = _folder(flags.output, masks)
    read: list[tuple[Path, tuple[int, int]]] = []
    names = mask_paths((path for path, _ in read), folder) if folder else iter(())
    unreadable: list[str] = []

    def pixels() -> Iterator[np.ndarray]:
        for path in paths:
            try:
                image = predictor.load(path)
            except InputError as error:
                unreadable.append(str(error))
                continue
            read.append((path, (image.shape[0], image.shape[1])))
            yield predictor.pixels(image)

    def table() -> Iterator[dict[str, Any]]:
        for i, row in enumerate(predictor.rows(pixels())):
            path, shape = read[i]
            if folder is None:
                yield {"path": str(path)} | described(row, predictor.task)
                continue
            found = predictor.class_map(row, shape)
            mask = next(names)
            save_mask(found, mask)
            shares = class_shares(found, predictor.class_names)
            yield {"path": str(path), "mask": str(mask), "shares": shares}

    show = print_json if flags.json else print_table
    show(table())
    for reason in unreadable:
        print(f"not read: {reason}", file=sys.stderr)
    return 1 if unreadable else 0


def _folder(output: str | None, masks: bool) -> Path | None:
    """Return the folder for masks, made; None if there will be none.

    Raises:
        InputError: The run makes masks and there is no folder for them, or the other
            way round.
    """
    if masks and output is None:
        raise InputError("this run makes masks: say with --output FOLDER where to")
    if output is None:
        return None
    if not masks:
        raise InputError("--output is for masks, which this run does not make")
    folder = Path(output).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def described(row: np.ndarray, task: "Task") -> dict[str, Any]:
    """Return what a row [K] says: the class, the labels that are there, the numbers."""
    names = task.class_names
    if task.name == "classification":
        index = int(row.argmax())
        return {"class": names[index], "probability": round(float(row[index]), 6)}
    values = dict(zip(names, (round(v, 6) for v in row.tolist()), strict=True))
    if task.name == "regression":
        return values
    return {"labels": {name: p for name, p in values.items() if p >= 0.5}}


def mask_paths(images: Iterable[Path], folder: Path) -> Iterator[Path]:
    """Yield where each image's mask goes: names that several have are numbered."""
    seen: Counter[str] = Counter()
    for image in images:
        seen[image.stem] += 1
        number = f"-{seen[image.stem]}" if seen[image.stem] > 1 else ""
        yield folder / f"{image.stem}{number}.png"


def save_mask(found: np.ndarray, path: Path) -> None:
    """Write class places [H, W] as an indexed PNG in the colours of VOC."""
    from PIL import Image

    from jft.data.formats.mask_values import voc_colour

    colours = (voc_colour(place).to_bytes(3, "big") for place in range(256))
    mask = Image.fromarray(found)
    mask.putpalette(b"".join(colours))
    mask.save(path)


def class_shares(found: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """Return which share of the pixels each class has, of those that have any."""
    counts = np.bincount(found.ravel(), minlength=len(names))
    shares = (counts / found.size).round(6).tolist()
    return {n: share for n, share in zip(names, shares, strict=True) if share}


def print_json(table: Iterator[dict[str, Any]]) -> None:
    """Print each prediction as soon as it is there."""
    for record in table:
        print(json.dumps(record), flush=True)


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
        parts = (f"{key} {share:.1%}" for key, share in value.items())
        return ", ".join(parts) or "none"
    if name == "probability":
        return f"{value:.1%}"
    if isinstance(value, float):
        return f"{value:.6g}"
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in value)


if __name__ == "__main__":
    sys.exit(main())
