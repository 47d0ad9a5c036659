"""Worker processes end with the process that started them, and leave nothing behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = """
import multiprocessing, sys
import numpy as np
from jft.data.objects import list_objects
from jft.data.pipeline import Batches, read
from jft.data.sources import open_splits
from jft.preprocess import Preprocess

if __name__ == "__main__":
    pair = np.zeros((40, 8, 8, 3), np.uint8), ["a", "b"] * 20
    splits = open_splits(list_objects(pair, pair), Preprocess(size=8), processes=1)
    batches = Batches(splits.train, 8, seed=0, epochs=int(sys.argv[1]))
    for number, batch in enumerate(read(batches, workers=1)):
        if number == 1:
            pids = [child.pid for child in multiprocessing.active_children()]
            print(*pids, flush=True)
    del batch
    print("end")
"""


def start(folder: Path, epochs: int) -> subprocess.Popen[str]:
    script = folder / "script.py"
    script.write_text(SCRIPT)
    pipe = subprocess.PIPE
    command = [sys.executable, str(script), str(epochs)]
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)


def is_alive(pid: int) -> bool:
    """Return whether a process runs; one that has ended may wait for its parent."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@pytest.mark.process
@pytest.mark.slow
def test_a_killed_run_takes_its_workers_with_it(tmp_path: Path):
    run = start(tmp_path, epochs=100_000)
    assert run.stdout is not None
    workers = [int(pid) for pid in run.stdout.readline().split()]
    assert workers
    assert all(map(is_alive, workers))
    os.kill(run.pid, signal.SIGKILL)
    run.communicate()
    deadline = time.monotonic() + 20
    while any(map(is_alive, workers)):
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.process
@pytest.mark.slow
def test_a_normal_end_prints_no_warning(tmp_path: Path):
    out, err = start(tmp_path, epochs=2).communicate(timeout=120)
    assert out.split()[-1] == "end"
    assert err == ""
