"""python -m jft, and the command jft: all commands by name."""

import sys
from collections.abc import Sequence
from importlib import import_module

import jft
from jft.errors import nearest

COMMANDS = {
    "train": "fine-tune a pretrained network on your images",
    "evaluate": "measure a run on its test images, or on other data",
    "predict": "predict classes, labels, numbers or masks of images",
    "export": "write a run's network for PyTorch, timm, Keras or --weights",
    "convert": "convert weights between libraries; list published weights",
    "bench": "measure how fast training steps are on this machine",
    "data": "check a data set before training on it",
    "reproduce": "repeat a run, and compare the two to the bit",
    "verify": "check that the files of a run are as they were saved",
}


def main(args: Sequence[str] | None = None) -> int:
    """Run the command that the first argument names; return the exit status."""
    first, *rest = [*(sys.argv[1:] if args is None else args)] or ["--help"]
    if first in COMMANDS:
        module = "jft.convert" if first == "convert" else f"jft.{first}.__main__"
        return import_module(module).main(rest)
    if first == "--version":
        print(f"jft {jft.__version__}")
        return 0
    if first not in ("-h", "--help"):
        hint = nearest(first, COMMANDS) or "; jft --help lists the commands"
        print(f"error: unknown command {first!r}{hint}", file=sys.stderr)
        return 2
    print("usage: jft COMMAND [OPTION ...]     (or python -m jft.COMMAND)\n")
    for name, text in COMMANDS.items():
        print(f"  {name:<10}{text}")
    print("\njft COMMAND --help describes a command, jft --version prints the version.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
