"""python -m jft.convert: rewrite weights in another library's names and layout."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from jft.console.cli import guarded
from jft.console.flags import Positional, parse
from jft.console.text import aligned
from jft.errors import InputError


@dataclass(frozen=True)
class Flags:
    """Convert weights to another library's names and layout, or list published ones.

    Attributes:
        source: Weights as for --weights: a file, or a name from --list.
        destination: The file to write: .safetensors, .pth, .pt or .npz; with --to
            keras also .weights.h5 or legacy .h5, for load_weights of Keras.
        to: Names and layout of the tensors: torchvision, timm, transformers, keras,
            bit, akamaster, or safetensors for those of jft. Not every network has all
            of them.
        model: The network, if the weights do not name it.
        list: Print the table of published weights.
        match: With --list, print only names that contain this text.
    """

    source: Annotated[str, Positional("SOURCE")] = ""
    destination: Annotated[str, Positional("DESTINATION")] = ""
    to: str = "safetensors"
    model: str | None = None
    list: bool = False
    match: str = ""


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    flags = parse(Flags, "convert", args)
    return guarded(lambda: show(flags) if flags.list else convert(flags))


def show(flags: Flags) -> int:
    """Print the table of published weights."""
    for line in table(flags.match):
        print(line)
    return 0


def table(match: str = "") -> Iterator[str]:
    """Yield a line for each of the published weights whose name contains `match`."""
    from jft.weights.published import list_weights, published

    rows = [published()[name] for name in list_weights(match)]
    if not rows:
        raise InputError(f"no published weights have {match!r} in their name")
    heads = ("name", "network", "top-1", "labels", "licence", "pixels", "file")
    cells = [
        (
            row.name,
            row.model,
            "" if row.top1 is None else f"{row.top1:.2f}",
            row.labels,
            row.licence,
            str(row.preprocess),
            row.file,
        )
        for row in rows
    ]
    yield from aligned([heads, *cells], left=heads)


def convert(flags: Flags) -> int:
    """Read, rewrite, write."""
    if not flags.source or not flags.destination:
        raise InputError(
            "give SOURCE, the weights to read, and DESTINATION, the file to write; "
            "or --list"
        )
    from jft.export.write import convert_weights

    print(convert_weights(flags.source, flags.destination, flags.to, flags.model))
    return 0


if __name__ == "__main__":
    sys.exit(main())
