"""Claim: `python -m jft.train` takes under 45 s on two cores, and ends above 98.5 %.

From process start to its end, compilation included, for three seeds.

    python benchmarks/first_run.py
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import record


def run(seed: int) -> tuple[float, float]:
    """Return wall-clock seconds and test accuracy of the default run."""
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder) / "run"
        command = [sys.executable, "-m", "jft.train", "--seed", str(seed)]
        began = time.perf_counter()
        subprocess.run(
            [*command, "--workdir", str(workdir)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        seconds = time.perf_counter() - began
        result = json.loads((workdir / "result.json").read_text())
        return seconds, result["accuracy"]


def main() -> None:
    """Measure and write `results/first_run.json`."""
    runs = [run(seed) for seed in range(3)]
    accuracies = [accuracy for _, accuracy in runs]
    record(
        "first_run",
        {"python -m jft.train": [seconds for seconds, _ in runs]},
        accuracy=accuracies,
        median_accuracy=statistics.median(accuracies),
    )


if __name__ == "__main__":
    main()
