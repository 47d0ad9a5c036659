"""python -m jft.predict: predict classes, labels, numbers or masks of images."""

import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from jft.console.cli import guarded
from jft.console.flags import Positional, parse
from jft.data.masks.output import make_way
from jft.errors import InputError
from jft.predict.records import find_images, records
from jft.predict.show import print_csv, print_json, print_table
from jft.runs.directory import open_run


@dataclass(frozen=True)
class Flags:
    """Predict classes, labels, numbers or masks of images with a run's model.

    Attributes:
        run: Folder of a run.
        images: Image files, and folders that are searched for images.
        which: final is the model after the last step, best that of the epoch with the
            highest score on the test images.
        output: Folder for the predicted masks, if the run was trained on masks: one
            PNG per image, of the image's size, whose pixels are class indices. No file
            is replaced.
        top: Show this many classes or labels, those with the highest probabilities.
            By default the table has the best class, or the labels above 50 %.
        tta: Test-time augmentation, averaged over views: flip is the image and its
            mirror image, flips adds both upside down, d4 is all eight rotations and
            reflections.
        json: Print one JSON object per line, with all probabilities. A number that is
            not finite is null.
        csv: Print CSV with a column for every class, label or number.
    """

    run: Annotated[str, Positional("RUN")]
    images: Annotated[tuple[str, ...], Positional("IMAGE_OR_FOLDER")]
    which: Literal["final", "best"] = "final"
    output: str | None = None
    top: int | None = None
    tta: Literal["none", "flip", "flips", "d4"] = "none"
    json: bool = False
    csv: bool = False


def main(args: Sequence[str] | None = None) -> int:
    """Run the door; return the exit status."""
    flags = parse(Flags, "predict", args)
    return guarded(lambda: predict(flags))


def predict(flags: Flags) -> int:
    """Predict and print; unreadable images are named on standard error (status 1)."""
    if flags.json and flags.csv:
        raise InputError("--json and --csv: give one of them")
    if flags.top is not None and flags.csv:
        raise InputError("--top and --csv: give one of them; a table has all classes")
    if flags.top is not None and flags.top < 1:
        raise InputError(f"--top must be at least 1, got {flags.top}")
    saved = open_run(flags.run).path / flags.which
    images = find_images(flags.images)
    from jft.console.status import working

    unreadable: list[str] = []
    with working("loading the network", total=len(images)) as update:
        from jft.devices import start_jax
        from jft.predict.predictor import Predictor
        from jft.runs.saved import load_card
        from jft.tasks import from_dict

        task = from_dict(load_card(saved).task)
        masks: Sequence[Path | None] = [None] * len(images)
        if task.dense:
            if flags.output is None:
                raise InputError("this run predicts masks: give --output FOLDER")
            masks = make_way([image.name for image in images], flags.output)
        elif flags.output is not None:
            raise InputError(
                f"--output is for masks, and this run predicts {task.outputs}"
            )
        if flags.top is not None and task.name not in ("classification", "multilabel"):
            raise InputError(f"--top is for classes and labels, not for {task.name}")
        start_jax()
        predictor = Predictor.from_run(flags.run, flags.which, views=flags.tta)
        update(description="predicting")
        found = records(predictor, images, masks, unreadable, flags.top)
        rows: list[dict[str, Any]] = []
        for row in itertools.islice(found, 1 if flags.json else None):
            rows.append(row)
            update(advance=1)
    if flags.json:
        print_json(itertools.chain(rows, found))
    elif flags.csv:
        print_csv(rows, task)
    else:
        print_table(rows, all_of=flags.top is not None)
    for reason in unreadable:
        print(f"not read: {reason}", file=sys.stderr)
    return 1 if unreadable else 0


if __name__ == "__main__":
    sys.exit(main())
