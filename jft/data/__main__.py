"""python -m jft.data check: what is in a data set, and what is wrong with it."""

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from jft.console.cli import guarded
from jft.console.flags import Positional, parse
from jft.errors import nearest
from jft.preprocess import Preprocess


@dataclass(frozen=True)
class Flags:
    """Check a data set before training on it. Every image is read once.

    The exit status is 0 if no problem is found, 1 if training would refuse the data or
    give wrong results, 2 if the data cannot be found.

    Attributes:
        source: Data set, as for --data of python -m jft.train: folder:PATH, ...
        size: Side of the square input of the network, in pixels.
        channels: Channels of the images, as --model.channels of python -m jft.train.
        workdir: Folder for data_report.json and contact_sheet.png. By default one in
            data_check/, named after the data.
        json: Print the report as JSON.
    """

    source: Annotated[str, Positional("SOURCE")]
    size: int = 224
    channels: int = 3
    workdir: str | None = None
    json: bool = False


def main(args: Sequence[str] | None = None) -> int:
    """Run the door; return the exit status."""
    first, *rest = [*(sys.argv[1:] if args is None else args)] or ["--help"]
    if first not in ("check", "-h", "--help"):
        hint = nearest(first, ["check"]) or "; valid: check"
        print(f"error: unknown command {first!r}{hint}", file=sys.stderr)
        return 2
    flags = parse(Flags, "data check", rest if first == "check" else [first])
    return guarded(lambda: check(flags))


def check(flags: Flags) -> int:
    """Look, write both files, and print what was found."""
    from jft.data.check import judge, tell
    from jft.data.check.look import look_at_splits
    from jft.data.check.report import describe
    from jft.data.check.sheet import contact_sheet
    from jft.data.sources import list_data

    size = Preprocess(size=flags.size).with_channels(flags.channels).size
    dataset = list_data(flags.source)
    seen = look_at_splits(dataset, flags.channels)
    report: dict[str, Any] = describe(flags.source, dataset, seen)
    report["problems"] = judge.problems(report)
    report["notes"] = judge.notes(report)
    report["suggestions"] = judge.suggestions(report, size)
    text = json.dumps(report, indent=2, sort_keys=True) + "\n"
    name = re.sub(r"[^\w.-]+", "_", dataset.name).strip(".") or "data"
    workdir = Path(flags.workdir or Path("data_check") / name).expanduser()
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / "data_report.json").write_text(text)
    contact_sheet(dataset, seen, flags.channels).save(workdir / "contact_sheet.png")
    written = ["", f"all of it in {workdir / 'data_report.json'}"]
    written.append(f"pictures in  {workdir / 'contact_sheet.png'}")
    print(text if flags.json else "\n".join([*tell.lines(report), *written]))
    return 1 if report["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
