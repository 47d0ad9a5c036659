"""python -m jft.predict: say what is in images, with a run's parameters."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro

from jft.cli import guarded, parse
from jft.errors import InputError
from jft.runlog import open_run


@dataclass(frozen=True)
class Flags:
    """Say what is in images, with a run's parameters.

    Attributes:
        run: Folder of a run.
        images: Image files, and folders that are searched for images.
        which: The parameters after the last step, or those of the epoch with the
            highest test accuracy.
        json: Print one JSON object a line instead of a table.
    """

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    images: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE_OR_FOLDER")
    ]
    which: Literal["final", "best"] = "final"
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
    from jft.data.folder import list_images

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
    read: list[Path] = []
    unreadable: list[str] = []

    def pixels() -> Iterator[np.ndarray]:
        for path in paths:
            try:
                image = predictor.pixels(path)
            except InputError as error:
                unreadable.append(str(error))
                continue
            read.append(path)
            yield image

    rows = enumerate(predictor.rows(pixels()))
    table = ({"path": str(read[i]), **best(r, predictor.class_names)} for i, r in rows)
    show = print_json if flags.json else print_table
    show(table)
    for reason in unreadable:
        print(f"not read: {reason}", file=sys.stderr)
    return 1 if unreadable else 0


def best(row: np.ndarray, class_names: Sequence[str]) -> dict[str, Any]:
    """Return the most probable class of a row of probabilities [K]."""
    index = int(row.argmax())
    return {"class": class_names[index], "probability": round(float(row[index]), 6)}


def print_json(table: Iterator[dict[str, Any]]) -> None:
    """Print each prediction as soon as it is there."""
    for record in table:
        print(json.dumps(record), flush=True)


def print_table(table: Iterator[dict[str, Any]]) -> None:
    """Print a table with aligned columns."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False)
    shown.add_column("image", overflow="fold")
    shown.add_column("class")
    shown.add_column("probability", justify="right")
    for record in table:
        # Names are shown as they are: no markup, and control characters escaped.
        name = "".join(c if c.isprintable() else repr(c)[1:-1] for c in record["path"])
        shown.add_row(Text(name), Text(record["class"]), f"{record['probability']:.1%}")
    Console(highlight=False, emoji=False).print(shown)


if __name__ == "__main__":
    sys.exit(main())
