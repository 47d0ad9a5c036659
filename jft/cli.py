"""What the command-line doors share: reading flags, and errors without tracebacks."""

import runpy
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import tyro

from jft.config import TrainConfig
from jft.errors import InputError, nearest

Flags = TypeVar("Flags")


def parse(kind: type[Flags], door: str, args: Sequence[str] | None) -> Flags:
    """Read the flags of a door; a mistake ends the process with status 2.

    Args:
        kind: Dataclass of the flags.
        door: Name of the module, for the usage line.
        args: Command-line arguments; None takes the process's.
    """
    return tyro.cli(kind, prog=f"python -m jft.{door}", args=args)


def guarded(main: Callable[[], int]) -> int:
    """Run a door; a user's mistake becomes one message and exit status 2."""
    try:
        return main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def load_recipe(path: str) -> TrainConfig:
    """Return the `config` of a recipe, a Python file.

    Raises:
        InputError: There is no such file, or it defines no `config`.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        siblings = [str(p) for p in file.parent.glob("*.py")]
        raise InputError(f"no recipe {path!r}{nearest(path, siblings)}")
    try:
        found = runpy.run_path(str(file)).get("config")
    except (SyntaxError, NameError, TypeError, ImportError) as error:
        raise InputError(f"recipe {path!r}: {error}") from None
    if not isinstance(found, TrainConfig):
        raise InputError(f"recipe {path!r} does not set config = TrainConfig(...)")
    return found
