"""python -m jft.evaluate: measure a run on its test images, or on others."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from jft.console.cli import guarded
from jft.console.flags import Positional, parse
from jft.errors import InputError
from jft.runs.directory import finite, open_run

SHOWN = 20  # suspects in the terminal


@dataclass(frozen=True)
class Flags:
    """Measure a run's model on its test images, or on those of other data.

    Attributes:
        run: Folder of a run.
        data: As for jft.train. By default the data of the run.
        which: The parameters after the last step, or those of the epoch with the
            highest score on the test images.
        tta: Test-time augmentation: average the logits of several views. flip is the
            image and its mirror image, flips adds both upside down, d4 has all
            rotations by 90 degrees and their mirror images.
        batch_size: Images per step.
        devices: jit uses one device, pmap uses all. auto is pmap if there are
            several.
        interpolate: Evaluate networks between the pretrained and the fine-tuned one
            (WiSE-FT), one per alpha in [0, 1]: 0 is the pretrained network with the
            fine-tuned head, 1 the fine-tuned network.
        suspects: Instead of measuring, list the images whose label looks wrong, the
            training images too. They are written to suspects.csv and suspects.png in
            the run's folder.
        weights: With --interpolate, where the pretrained weights are now, if they have
            moved.
        json: Print a JSON object, or with --interpolate a list of them. Numbers that
            are not finite are null.
    """

    run: Annotated[str, Positional("RUN")]
    data: str | None = None
    which: Literal["final", "best"] = "final"
    tta: Literal["none", "flip", "flips", "d4"] = "none"
    batch_size: int = 64
    devices: Literal["auto", "jit", "pmap"] = "auto"
    interpolate: tuple[float, ...] = ()
    weights: str | None = None
    suspects: bool = False
    json: bool = False


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    flags = parse(Flags, "evaluate", args)
    return guarded(lambda: evaluate(flags))


def evaluate(flags: Flags) -> int:
    """Evaluate and print."""
    if flags.suspects:
        return list_suspects(flags)
    open_run(flags.run)
    from jft.console.status import working
    from jft.console.text import alpha_lines, metric_lines

    rules: dict[str, Any] = {
        "which": flags.which,
        "views": flags.tta,
        "batch_size": flags.batch_size,
        "devices": flags.devices,
    }
    found: Any
    with working("evaluating"):
        from jft.evaluate.run import evaluate_alphas, evaluate_run

        if flags.interpolate:
            found = evaluate_alphas(
                flags.run,
                flags.interpolate,
                flags.data,
                weights=flags.weights,
                **rules,
            )
            lines = alpha_lines(found)
        else:
            found = evaluate_run(flags.run, flags.data, **rules)
            lines = metric_lines(found)
    print(json.dumps(finite(found)) if flags.json else "\n".join(lines))
    return 0


def list_suspects(flags: Flags) -> int:
    """Print the images whose label looks wrong; write them into the run's folder."""
    if flags.interpolate or flags.tta != "none":
        raise InputError("--suspects cannot be combined with --interpolate or --tta")
    directory = open_run(flags.run)
    from jft.console.status import working
    from jft.console.text import aligned

    with working("looking for labels that look wrong"):
        from jft.evaluate import suspects

        found = suspects.find_suspects(
            flags.run, flags.data, batch_size=flags.batch_size
        )
    directory.write_text(suspects.TABLE, suspects.table(found))
    if found:
        suspects.sheet(found).save(directory.path / suspects.PICTURES)
    if flags.json:
        print(json.dumps([suspects.record(one) for one in found]))
        return 0
    if not found:
        print("no label looks wrong")
        return 0
    rows = [
        [one.file, one.label, one.suggestion, f"{100 * one.probability:.1f}%"]
        for one in found[:SHOWN]
    ]
    heads = ["file", "label", "looks like", "probability of the label"]
    print("\n".join(aligned([heads, *rows], left=heads[:3])))
    print(f"\nall {len(found)} are in {directory.path / suspects.TABLE}, pictures in")
    print(directory.path / suspects.PICTURES)
    return 0


if __name__ == "__main__":
    sys.exit(main())
