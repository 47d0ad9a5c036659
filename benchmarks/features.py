"""Claim: a run of the head alone takes a fraction of the time on kept features.

Whole jobs of ResNet-20 on the digits, from process start to their end, in turns:
without features, with features computed for the first time, and with those of before.

    python benchmarks/features.py --rounds 3
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import record, rounds

EPOCHS = 5
COMMAND = (
    *(sys.executable, "-m", "jft.train", "--freeze", "all-but:head"),
    *("--augment.crop-padding", "0", "--epochs", str(EPOCHS)),
)


def run(cache: Path, features: str) -> float:
    """Return the seconds of a whole job."""
    with tempfile.TemporaryDirectory() as folder:
        command = [*COMMAND, "--features", features, "--workdir", f"{folder}/run"]
        environment = {**os.environ, "JFT_CACHE": str(cache)}
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
        return time.perf_counter() - began


def main() -> None:
    """Measure and write `results/features.json`."""
    count = rounds("features", 3)
    seconds: dict[str, list[float]] = {"off": [], "first": [], "again": []}
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        run(cache, "off")  # compiled programs are there from now on
        run(cache, "disk")
        for _ in range(count):
            seconds["off"].append(run(cache, "off"))
            shutil.rmtree(cache / "features")
            seconds["first"].append(run(cache, "disk"))
            seconds["again"].append(run(cache, "disk"))
    record("features", seconds, epochs=EPOCHS, load=os.getloadavg()[0])


if __name__ == "__main__":
    main()
