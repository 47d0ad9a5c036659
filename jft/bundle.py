"""python -m jft.bundle: write a run as a safetensors file that load_pretrained reads.

This is how the weights that come with jft were made from their pretraining run.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from jft.cli import guarded, parse
from jft.errors import InputError


@dataclass(frozen=True)
class Flags:
    """Write a finished run as a safetensors file, for use with --weights.

    Attributes:
        run: Folder of a finished run.
        file: The safetensors file to write.
        which: The parameters after the last step, or those of the epoch with the
            highest test accuracy.
    """

    run: Annotated[str, tyro.conf.Positional]
    file: Annotated[str, tyro.conf.Positional]
    which: Literal["final", "best"] = "final"


def main(args: Sequence[str] | None = None) -> int:
    """Run the door; return the exit status."""
    flags = parse(Flags, "bundle", args)
    return guarded(lambda: bundle(flags))


def bundle(flags: Flags) -> int:
    """Write the file: our names, float32, and what travels with weights as metadata."""
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    import jft
    from jft import tree
    from jft.checkpoint import load_card
    from jft.inference import Predictor
    from jft.runlog import open_run

    run = open_run(flags.run)
    card = load_card(run.path / flags.which)
    predictor = Predictor.from_run(flags.run, flags.which)
    tests = [r for r in run.metrics() if r["split"] == "test"]
    best = max(tests, key=lambda record: record["accuracy"])
    measured = best if flags.which == "best" else tests[-1]
    recipe = run.read("config.json") | {"workdir": None}
    scheme, _, place = recipe["data"].partition(":")
    # The names of folder and file, not where they lay on the machine that trained.
    recipe["data"] = f"{scheme}:{Path(place).name}" if place else scheme
    recipe["weights"] = Path(recipe["weights"]).name
    metadata = {
        "model": card.model,
        "class_names": json.dumps(card.class_names),
        "preprocess": json.dumps(asdict(card.preprocess)),
        "recipe": json.dumps(recipe),
        "accuracy": f"{measured['accuracy']:.4f}",
        "test_images": str(measured["n"]),
        "params_digest": card.digest,
        "jft": jft.__version__,
    }
    tensors = {
        name: np.ascontiguousarray(leaf)
        for name, leaf in tree.flatten(predictor.variables).items()
    }
    try:
        save_file(tensors, flags.file, metadata)
    except SafetensorError as error:
        raise InputError(f"{flags.file}: {error}") from None
    print(f"{flags.file}: {len(tensors)} tensors, accuracy {metadata['accuracy']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
