"""Reads files one after another in this process, and prints what each took.

    python hostile_runner.py FOLDER

It prints JSON: for each file the message, seconds of CPU, and bytes of memory at most.
"""

import json
import resource
import sys
import time
import tracemalloc
from pathlib import Path

from jft.errors import InputError
from jft.weights.files import read_tensors


def message(path: Path) -> str:
    """Read all tensors; returns the refusal, or what else came of it."""
    try:
        checkpoint = read_tensors(path)
        for array in checkpoint.tensors.values():
            array.sum()
    except InputError as error:
        return str(error)
    except BaseException as error:
        return f"RAISED {type(error).__name__}: {error}"
    return "READ"


def main(folder: Path) -> None:
    # An allocation beyond this fails, and is then no InputError.
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    found: dict[str, tuple[str, float, int]] = {}
    for path in sorted(folder.iterdir()):
        start = time.process_time()
        said = message(path)
        seconds = time.process_time() - start
        tracemalloc.start()
        message(path)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        found[path.name] = (said, seconds, peak)
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
