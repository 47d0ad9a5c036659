"""Claim: a training step on CPU is faster with XLA's own convolutions than YNNPACK's.

ResNet-20 at 32x32, batch 64, everything trained. Each run is a process of its own, as
XLA reads its flags once; it reports the median of its steps. The last variant also lets
glibc back large blocks with huge pages, which saves page faults.

    python benchmarks/cpu_step.py
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from common import interleave, record, rounds

from jft.devices import CPU_FLAG

STEPS = 8
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
VARIANTS = {
    "jaxlib's default": {},
    "jft": {"XLA_FLAGS": CPU_FLAG},
    "jft, huge pages": {"XLA_FLAGS": CPU_FLAG, **HUGE_PAGES},
}

CODE = f"""
import statistics, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import jft_step, turns
step = jft_step.build(0, model="resnet20", batch=64, size=32)
step.run()
print(statistics.median(turns.timed(step)[0] for _ in range({STEPS})))
"""


def process(options: dict[str, str]) -> Callable[[], float]:
    """Return a measurement: the median step of a fresh process, in seconds."""

    def measure() -> float:
        env = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"} | options
        command = [sys.executable, "-c", CODE]
        return float(subprocess.check_output(command, env=env, text=True))

    return measure


def main() -> None:
    """Measure and write `results/cpu_step.json`."""
    count = rounds("cpu_step", 5)
    variants = {name: process(options) for name, options in VARIANTS.items()}
    record("cpu_step", interleave(variants, count))


if __name__ == "__main__":
    main()
