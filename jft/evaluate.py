"""python -m jft.evaluate: measure a run on its test images, or on others."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from jft.cli import guarded, parse
from jft.runlog import open_run


@dataclass(frozen=True)
class Flags:
    """Measure a run on its test images, or on the test images of other data.

    Attributes:
        run: Folder of a run.
        data: digits, or folder:PATH. None takes what the run was trained on.
        which: The parameters after the last step, or those of the epoch with the
            highest test accuracy.
        batch_size: Images per step.
        devices: jit runs on one device, pmap on all of them, auto takes pmap if there
            are several.
        json: Print one JSON object instead of a sentence.
    """

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    data: str | None = None
    which: Literal["final", "best"] = "final"
    batch_size: int = 64
    devices: Literal["auto", "jit", "pmap"] = "auto"
    json: bool = False


def main(args: Sequence[str] | None = None) -> int:
    """Run the door; return the exit status."""
    flags = parse(Flags, "evaluate", args)
    return guarded(lambda: evaluate(flags))


def evaluate(flags: Flags) -> int:
    """Evaluate and print."""
    open_run(flags.run)
    from jft.evaluation import evaluate_run

    metrics = evaluate_run(
        flags.run,
        flags.data,
        which=flags.which,
        batch_size=flags.batch_size,
        devices=flags.devices,
    )
    if flags.json:
        print(json.dumps(metrics))
    else:
        right = round(metrics["accuracy"] * metrics["n"])
        print(
            f"accuracy {metrics['accuracy']:.2%} ({right} of {metrics['n']} images), "
            f"loss {metrics['loss']:.4f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
