"""python -m jft.evaluate: measure a run on its test images, or on others."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from jft.console.cli import guarded
from jft.console.flags import Positional, parse
from jft.runs.directory import finite, open_run


@dataclass(frozen=True)
class Flags:
    """Measure a run on its test images, or on the test images of other data.

    Attributes:
        run: Folder of a run.
        data: As in jft.train. None takes what the run was trained on.
        which: The parameters after the last step, or those of the epoch with the
            highest score on the test images.
        tta: Average over several views of each image: flip is it and its mirror
            image, flips adds both upside down, d4 has all turns and mirrors.
        batch_size: Images per step.
        devices: jit runs on one device, pmap on all of them, auto takes pmap if there
            are several.
        interpolate: Shares, each of which is a network between the pretrained and the
            fine-tuned one (WiSE-FT): 0 is the pretrained one with the fine-tuned head,
            1 the fine-tuned one, which alone is measured if there are none.
        json: Print one JSON object instead of a sentence, or a list of them instead of
            a table; null is a number that is not finite.
    """

    run: Annotated[str, Positional("RUN")]
    data: str | None = None
    which: Literal["final", "best"] = "final"
    tta: Literal["none", "flip", "flips", "d4"] = "none"
    batch_size: int = 64
    devices: Literal["auto", "jit", "pmap"] = "auto"
    interpolate: tuple[float, ...] = ()
    json: bool = False


def main(args: Sequence[str] | None = None) -> int:
    """Run the door; return the exit status."""
    flags = parse(Flags, "evaluate", args)
    return guarded(lambda: evaluate(flags))


def evaluate(flags: Flags) -> int:
    """Evaluate and print."""
    open_run(flags.run)
    from jft.console.text import metric_lines, share_lines
    from jft.evaluate.run import evaluate_run, evaluate_shares

    rules: dict[str, Any] = {
        "which": flags.which,
        "views": flags.tta,
        "batch_size": flags.batch_size,
        "devices": flags.devices,
    }
    found: Any
    if flags.interpolate:
        found = evaluate_shares(flags.run, flags.interpolate, flags.data, **rules)
        lines = share_lines(found)
    else:
        found = evaluate_run(flags.run, flags.data, **rules)
        lines = metric_lines(found)
    print(json.dumps(finite(found)) if flags.json else "\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
