"""python -m jft.verify: check that the files of runs are as they were saved."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from jft.console.cli import guarded
from jft.console.flags import Positional, parse
from jft.errors import DamageError, InputError


@dataclass(frozen=True)
class Flags:
    """Check that the files of runs are as they were saved.

    Every file is compared with its sha256. The exit status is 77 if one is damaged or
    missing; the same training command then continues from the newest sound checkpoint.

    Attributes:
        runs: Folders of runs, finished or not.
        json: Print one JSON object per line: run, files and damage.
    """

    runs: Annotated[tuple[str, ...], Positional("RUN")] = ()
    json: bool = False


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    flags = parse(Flags, "verify", args)
    return guarded(lambda: verify(flags))


def verify(flags: Flags) -> int:
    """Verify each run, and print a line for each, or for each damage."""
    from jft.verify.run import Verdict, verify_run

    if not flags.runs:
        raise InputError("name at least one run")
    found = False
    for run in flags.runs:
        try:
            verdict = verify_run(run)
        except DamageError as error:
            verdict = Verdict(0, [str(error)])
        found |= bool(verdict.damage)
        if flags.json:
            facts = {"run": run, "files": verdict.files, "damage": verdict.damage}
            print(json.dumps(facts))
        elif verdict.damage:
            print("\n".join(verdict.damage))
        else:
            print(f"{run}: all {verdict.files} files are as they were saved")
    return DamageError.status if found else 0


if __name__ == "__main__":
    sys.exit(main())
