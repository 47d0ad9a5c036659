"""python -m jft.evaluate: measure a run on its test images, or on others."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

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
        interpolate: Shares, each of which is a network between the pretrained and the
            fine-tuned one (WiSE-FT): 0 is the pretrained one with the fine-tuned head,
            1 the fine-tuned one, which alone is measured if there are none.
        json: Print one JSON object instead of a sentence, or a list of them instead of
            a table.
    """

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    data: str | None = None
    which: Literal["final", "best"] = "final"
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
    from jft.evaluation import evaluate_run, evaluate_shares

    rules: dict[str, Any] = {
        "which": flags.which,
        "batch_size": flags.batch_size,
        "devices": flags.devices,
    }
    if flags.interpolate:
        table = evaluate_shares(flags.run, flags.interpolate, flags.data, **rules)
        print(json.dumps(table) if flags.json else as_table(table))
    else:
        metrics = evaluate_run(flags.run, flags.data, **rules)
        print(json.dumps(metrics) if flags.json else as_sentence(metrics))
    return 0


def as_sentence(metrics: Mapping[str, float]) -> str:
    """Return accuracy and loss in words."""
    right = round(metrics["accuracy"] * metrics["n"])
    return (
        f"accuracy {metrics['accuracy']:.2%} ({right} of {metrics['n']} images), "
        f"loss {metrics['loss']:.4f}"
    )


def as_table(shares: Sequence[Mapping[str, float]]) -> str:
    """Return one line per share under a heading."""
    lines = [f"{m['share']:<8g}{m['accuracy']:8.2%}  {m['loss']:7.4f}" for m in shares]
    return "\n".join(["share   accuracy     loss", *lines])


if __name__ == "__main__":
    sys.exit(main())
