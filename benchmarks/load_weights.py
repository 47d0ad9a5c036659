"""Claim: reading ResNet-50 from safetensors costs no more than the library's reader.

A file with torchvision's names and layout, read in five ways: safetensors' own
`load_file` into NumPy arrays; `read_tensors` into NumPy arrays; "placed", which also
turns every kernel into Flax's layout, checks its values, and puts all on the device,
for a network whose shapes are known; "hashed", which is that beside a thread that
hashes the file; and `load_pretrained`, which traces the network while that thread is at
work. Seconds, and the growth of the process's peak memory as a share of the parameters'
size. Each measurement is a process of its own; the file is in the page cache, and what
JAX takes to start does not count.

    python benchmarks/load_weights.py
"""

import gc
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from common import interleave, record, rounds

from jft import tree
from jft.models import MODELS

WAYS = ("safetensors", "read_tensors", "placed", "hashed", "load_pretrained")


def memory(field: str) -> int:
    """Return a figure of the process's memory in bytes: VmRSS, or its peak VmHWM."""
    status = Path("/proc/self/status").read_text()
    line = next(x for x in status.splitlines() if x.startswith(field))
    return int(line.split()[1]) * 1024


def load(how: str, path: str) -> None:
    """Load once and print seconds and the growth of peak memory in bytes."""
    way = ways(how)
    gc.collect()  # what starting and tracing have left behind
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before, began = memory("VmRSS"), time.perf_counter()
    loaded = way(path)
    print(time.perf_counter() - began, memory("VmHWM") - before)
    del loaded


def ways(how: str) -> Callable[[str], object]:
    """Return what loads a file, with all that it needs imported and started."""
    import jax
    from safetensors.numpy import load_file

    from jft.weights.files import read_tensors
    from jft.weights.find import find_weights
    from jft.weights.load import assign
    from jft.weights.opened import open_weights
    from jft.weights.pretrained import load_pretrained

    if how == "safetensors":
        return load_file
    if how == "read_tensors":
        return lambda path: dict(read_tensors(path).tensors)
    # Starts the backend.
    load_pretrained("resnet50", "none", 10, width=1)
    wanted, spec = shapes(), MODELS["resnet50"]

    def placed(tensors: Mapping[str, np.ndarray]) -> object:
        fitting, _ = assign(wanted, tensors, "the file", spec)
        return jax.block_until_ready(jax.device_put(fitting))

    def hashed(path: str) -> object:
        opened = open_weights(find_weights(path))
        return placed(opened.tensors), opened.sha256

    if how == "placed":
        return lambda path: placed(read_tensors(path).tensors)
    if how == "hashed":
        return hashed
    return lambda path: jax.block_until_ready(
        load_pretrained("resnet50", path).variables
    )


def shapes() -> dict[str, Any]:
    """Return shape and dtype of each variable of ResNet-50 by name."""
    import jax
    import jax.numpy as jnp

    image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    init = MODELS["resnet50"].build(1000).init
    return tree.flatten(jax.eval_shape(init, jax.random.key(0), image))


def write(path: Path) -> int:
    """Write random weights in torchvision's layout; return the bytes of parameters."""
    from jft.weights.export import find_layout, to_layout, write_weights

    spec = MODELS["resnet50"]
    draw = np.random.default_rng(0)
    variables = {n: draw.random(s.shape, np.float32) for n, s in shapes().items()}
    write_weights(
        path, to_layout(variables, find_layout("torchvision", spec), spec), {}
    )
    return sum(array.nbytes for array in variables.values())


def main() -> None:
    """Measure and write `results/load_weights.json`."""
    if len(sys.argv) == 3 and sys.argv[1] in WAYS:
        load(sys.argv[1], sys.argv[2])
        return
    count = rounds("load_weights", 7)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "resnet50.safetensors"
        size = write(path)
        growth: dict[str, list[float]] = {how: [] for how in WAYS}

        def measure(how: str) -> float:
            command = [sys.executable, __file__, how, str(path)]
            env = os.environ | {"JAX_PLATFORMS": "cpu"}
            output = subprocess.run(
                command, check=True, capture_output=True, text=True, env=env
            ).stdout
            seconds, grown = map(float, output.split())
            growth[how].append(grown / size)
            return seconds

        seconds = interleave(
            {how: lambda how=how: measure(how) for how in growth}, count
        )
    medians = {
        how: round(float(np.median(values)), 3) for how, values in growth.items()
    }
    record("load_weights", seconds, peak_memory_over_parameters=medians)


if __name__ == "__main__":
    main()
