"""python -m jft.predict: say what is in images, with a run's parameters."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from jft.console.cli import guarded
from jft.console.flags import Positional, parse
from jft.data.masks.output import make_way
from jft.errors import InputError
from jft.predict.records import THERE, find_images, records
from jft.runs.directory import finite, open_run

if TYPE_CHECKING:
    pass


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

    run: Annotated[str, Positional("RUN")]
    images: Annotated[tuple[str, ...], Positional("IMAGE_OR_FOLDER")]
    which: Literal["final", "best"] = "final"
    output: str | None = None
    tta: Literal["none", "flip", "flips", "d4"] = "none"
    json: bool = False


def main(args: Sequence[str] | None = None) -> int:
    """Run the door; return the exit status."""
    flags = parse(Flags, "predict", args)
    return guarded(lambda: predict(flags))


def predict(flags: Flags) -> int:
    """Predict and print; unreadable images are named on standard error (status 1)."""
    saved = open_run(flags.run).path / flags.which
    images = find_images(flags.images)
    from jft.devices import tune_cpu
    from jft.predict.predictor import Predictor
    from jft.runs.saved import load_card
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
