"""What all commands share: exit codes, errors without tracebacks, and recipes."""

import io
import json
import os
import runpy
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from jft.config import TrainConfig, from_dict
from jft.errors import BUG, IO, InputError, nearest


def guarded(main: Callable[[], int]) -> int:
    """Run a command and return its exit status; docs/exit_status.md lists them."""
    _print_anything()
    try:
        return main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    except BrokenPipeError:
        # The reader of a pipe, `head` for one, has had enough: not an error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return IO
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception:
        traceback.print_exc()
        print(
            "This is a bug in jft; please report it with these lines.", file=sys.stderr
        )
        return BUG


def _print_anything() -> None:
    """Escape what a terminal's encoding lacks, as stderr does: names may hold it."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def load_recipe(path: str) -> TrainConfig:
    """Return the configuration in a recipe, or of a run.

    Args:
        path: A Python file that sets `config`, or the `config.json` of a run.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        siblings = [str(p) for p in file.parent.glob("*.py")]
        raise InputError(f"no such recipe: {path!r}{nearest(path, siblings)}")
    try:
        if file.suffix == ".json":
            return from_dict(json.loads(file.read_text()))
        found = runpy.run_path(str(file)).get("config")
    except Exception as error:  # a recipe is the user's own code
        raise InputError(f"recipe {path!r}: {type(error).__name__}: {error}") from None
    if not isinstance(found, TrainConfig):
        raise InputError(f"recipe {path!r} does not set config = TrainConfig(...)")
    return found
