"""python -m jft.export: write a run's network for PyTorch, timm, or --weights."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from jft.console.cli import guarded
from jft.console.flags import Positional, parse


@dataclass(frozen=True)
class Flags:
    """Write a finished run's network as a file that other libraries load.

    Attributes:
        run: Folder of a run.
        file: The file to write: .safetensors, .pth, .pt or .npz; for timm also a
            folder, for timm.create_model("local-dir:FOLDER"); for Keras .weights.h5 or
            legacy .h5. By default a file in the folder of the run.
        to: Names and layout of the tensors: those of another library, or jft's own
            (safetensors), which --weights reads with classes and preprocessing.
        which: The parameters after the last step, or those of the epoch with the
            highest score on the test images.
        interpolate: Write a network between the pretrained and the fine-tuned one
            (WiSE-FT): 0 is the pretrained network with the fine-tuned head, 1 the
            fine-tuned network. python -m jft.evaluate measures them.
        weights: With --interpolate, where the pretrained weights are now, if they have
            moved.
    """

    run: Annotated[str, Positional("RUN")]
    file: Annotated[str | None, Positional("[FILE]")] = None
    to: Literal[
        "torchvision",
        "timm",
        "safetensors",
        "transformers",
        "akamaster",
        "bit",
        "keras",
    ] = "safetensors"
    which: Literal["final", "best"] = "final"
    interpolate: float | None = None
    weights: str | None = None


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    flags = parse(Flags, "export", args)
    return guarded(lambda: export(flags))


def export(flags: Flags) -> int:
    """Write the file, and print how to load it."""
    from jft.export.write import export_run

    exported = export_run(
        flags.run,
        flags.file,
        flags.to,
        flags.which,
        alpha=flags.interpolate,
        weights=flags.weights,
    )
    print(exported)
    return 0


if __name__ == "__main__":
    sys.exit(main())
