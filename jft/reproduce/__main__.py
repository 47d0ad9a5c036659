"""python -m jft.reproduce: repeat a run, and compare the two to the bit."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from jft.console.cli import guarded
from jft.console.flags import Positional, parse
from jft.console.status import working
from jft.errors import InputError


@dataclass(frozen=True)
class Flags:
    """Repeat a run from its folder alone, and compare the two to the bit.

    The exit status is 0 if both are bit-identical, 1 if they are identical until some
    step, and 2 if they differ from the first step, or the run cannot be repeated.

    Attributes:
        run: Folder of a finished run.
        data: Where the data of the run is now, if it has moved; as for jft.train.
        weights: Where its weights are now, if they have moved.
        workdir: Folder of the new run. By default that of the run with -again.
        against: Compare with this run instead, and train nothing.
        json: Print a JSON object: verdict, steps, leaf, epoch and causes.
    """

    run: Annotated[str, Positional("RUN")]
    data: str | None = None
    weights: str | None = None
    workdir: str | None = None
    against: str | None = None
    json: bool = False


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    flags = parse(Flags, "reproduce", args)
    return guarded(lambda: reproduce(flags))


def reproduce(flags: Flags) -> int:
    """Repeat or compare, and print the verdict."""
    from jft.reproduce.run import compare_runs, reproduce_run

    places = {"data": flags.data, "weights": flags.weights, "workdir": flags.workdir}
    if flags.against is not None:
        given = [f"--{name}" for name, value in places.items() if value is not None]
        if given:
            raise InputError(f"--against trains nothing: leave out {', '.join(given)}")
        found = compare_runs(flags.run, flags.against)
    else:
        with working("training again"):
            found = reproduce_run(flags.run, **places)
    text = json.dumps(found.to_dict()) if flags.json else "\n".join(found.lines())
    print(text)
    return found.status


if __name__ == "__main__":
    sys.exit(main())
