"""Claim: every network gives the logits of the libraries whose weights it loads.

For each name of `MODELS` and each library that has it: random weights and moved
statistics go from the library's checkpoint through `place` into ours; both networks
see the same images of three sizes, in float32 on CPU; then our variables go back and
are loaded strictly into a new one. BiT's `.npz` names belong to timm's network, and
are read by timm; Keras 3's numbers to Keras's, where names and shapes are checked here.

    python benchmarks/parity.py

continues where it was stopped; `--only NAME ...` measures these anew. It needs, beside
jft, `pip install torch timm transformers keras h5py`, and for a CPU build of torch
`pip install --no-deps torchvision`; the largest network takes 20 GB of memory.
"""

import argparse
import importlib.metadata
import json
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, portable

from jft.devices import tune_cpu
from jft.models import MODELS, ModelSpec
from jft.runs.environment import environment

PATH = RESULTS / "parity.json"
PAGE = Path(__file__).parents[1] / "docs" / "weights.md"
MARK = "<!-- parity -->"
TOLERANCE = 1e-4
LIBRARIES = ("torch", "torchvision", "timm", "transformers", "keras")
LAYOUTS = ["torchvision", "timm", "transformers", "keras", "keras3", "bit", "akamaster"]
"""What is compared. akamaster's networks are restated, all others are imported."""

Tensors = dict[str, np.ndarray]


def sizes_of(spec: ModelSpec, library: str) -> tuple[tuple[int, int], ...]:
    """Return heights and widths of the images that are compared, odd ones with them.

    Keras's VGG has no pooling before its classifier, which fits these sizes alone.
    """
    if spec.variant.family == "vgg" and library.startswith("keras"):
        return (224, 224), (224, 255), (239, 225)
    if spec.variant.family == "resnet" and spec.variant.stem == "cifar":
        return (32, 32), (48, 48), (33, 27)
    return (64, 64), (96, 96), (75, 57)


def libraries_of(spec: ModelSpec) -> list[str]:
    """Return the names of the layouts that a library has a network in."""
    import keras_networks

    from jft.weights.names import layouts

    names = [name for layout in layouts(spec) for name in layout.names]
    if "akamaster" in names:  # the others have no such network
        return ["akamaster"]
    known = spec.name in keras_networks.KERAS
    return [n for n in names if n in LAYOUTS and (known or not n.startswith("keras"))]


class Ours:
    """Our network, compiled once for each size."""

    def __init__(self, spec: ModelSpec) -> None:
        import jax
        import jax.numpy as jnp

        from jft import tree

        self.spec = spec
        model = spec.build(spec.num_classes)
        image = jnp.zeros((1, 32, 32, 3))
        self.apply: Callable[..., Any] = jax.jit(model.apply)
        shapes = jax.eval_shape(model.init, jax.random.key(0), image)
        self.shapes: dict[str, Any] = tree.flatten(shapes)

    def place(self, tensors: Tensors) -> Tensors:
        """Return our variables with a checkpoint's values."""
        from jft.weights.load import assign

        placed, _ = assign(self.shapes, tensors, "the network", self.spec)
        assert set(placed) == set(self.shapes)
        return placed

    def logits(self, variables: Tensors, images: list[np.ndarray]) -> list[np.ndarray]:
        """Return logits [B, K] for images of several sizes."""
        import jax.numpy as jnp

        from jft import tree

        on_device = tree.unflatten({n: jnp.asarray(a) for n, a in variables.items()})
        return [np.asarray(self.apply(on_device, jnp.asarray(x))) for x in images]

    def parameters(self) -> int:
        """Return how many numbers are trained."""
        shapes = (s.shape for n, s in self.shapes.items() if n.startswith("params/"))
        return sum(int(np.prod(shape)) for shape in shapes)


def compare(ours: Ours, library: str) -> dict[str, Any]:
    """Return the row of one network and library."""
    import real_networks
    import reference

    spec = ours.spec
    real = real_networks.build(library, spec.name, spec.num_classes)
    assert real.parameters == ours.parameters() == spec.parameters, spec.name
    variables = ours.place(real.tensors)
    differences, largest = differ(ours, variables, real, sizes_of(spec, library))
    identical = goes_back(variables, real, library, spec)
    return {
        "tensors": reference.digest({n: v.shape for n, v in real.tensors.items()}),
        "worst": max(differences.values()),
        "differences": differences,
        "largest_logit": largest,
        "round_trip": "identical" if identical else "differs",
    }


def differ(
    ours: Ours, variables: Tensors, real: Any, sizes: tuple[tuple[int, int], ...]
) -> tuple[dict[str, float], float]:
    """Return the largest relative difference by size, and the largest logit."""
    import reference

    images = [
        reference.normalise(reference.images(2, *size)).astype(np.float32)
        for size in sizes
    ]
    differences: dict[str, float] = {}
    largest = 0.0
    for x, logits in zip(images, ours.logits(variables, images), strict=True):
        theirs = real.logits(x)
        scale = float(np.abs(theirs).max())
        difference = float(np.abs(logits - theirs).max())
        differences[f"{x.shape[1]}x{x.shape[2]}"] = difference / scale
        largest = max(largest, scale)
    return differences, largest


def goes_back(variables: Tensors, real: Any, library: str, spec: ModelSpec) -> bool:
    """Tell whether the library loads our variables to the bits that it had."""
    from jft.weights.export import to_layout
    from jft.weights.names import layouts

    layout = next(found for found in layouts(spec) if library in found.names)
    loaded = real.load(to_layout(variables, layout, spec))
    return set(loaded) == set(real.tensors) and all(
        loaded[name].tobytes() == value.tobytes()
        for name, value in real.tensors.items()
    )


def measure(name: str) -> dict[str, Any]:
    """Return the rows of one network, by library."""
    spec, began = MODELS[name], time.perf_counter()
    ours = Ours(spec)
    rows = {library: compare(ours, library) for library in libraries_of(spec)}
    seconds = time.perf_counter() - began
    print(f"{name:<20}{seconds:>6.0f} s", end="", flush=True)
    print("".join(f"  {n} {r['worst']:.1e} {r['round_trip']}" for n, r in rows.items()))
    return {"parameters": spec.parameters, "libraries": rows}


def save(networks: dict[str, Any]) -> None:
    """Write what has been measured so far, in the order of `MODELS`."""
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    manifest = portable(environment())
    result = {
        "benchmark": "parity",
        "tolerance": TOLERANCE,
        "networks": {n: networks[n] for n in MODELS if n in networks},
        "libraries": versions,
        "manifest": manifest,
    }
    RESULTS.mkdir(exist_ok=True)
    PATH.write_text(json.dumps(result, indent=2) + "\n")


def summary(result: dict[str, Any]) -> str:
    """Return the results in words."""
    networks = result["networks"]
    rows = [row for n in networks.values() for row in n["libraries"].values()]
    worst = max(row["worst"] for row in rows)
    back = sum(row["round_trip"] == "identical" for row in rows)
    versions = ", ".join(f"{n} {v}" for n, v in result["libraries"].items())
    text = (
        "The largest difference of a logit, as a share of the largest logit, between "
        "the other network and jft's: random weights, moved statistics, images of "
        f"three sizes, float32 on CPU. It is {worst:.1e} at most over {len(networks)} "
        f"networks. Written again, {back} of {len(rows)} checkpoints had the bits that "
        "they had been, and were loaded strictly: by torch's load_state_dict, BiT's by "
        "timm's reader of them, Keras's by name and shape and by Keras 3's numbers. "
        "The network of the column bit is timm's, that of akamaster is restated in "
        "tests/models, all others are the libraries' own. BiT's residual branches were "
        "drawn at a fifth of their trunk's size. Drawn at equal size, they magnify "
        "rounding: resnetv2_152x2_bit then differs by 1.3e-04 at 64x64, where timm's "
        "float32 is 9.9e-05 from its own float64, and jft's 8.3e-05. "
        f"Measured by `benchmarks/parity.py` with {versions}."
    )
    return textwrap.fill(text, 88)


def table(networks: dict[str, Any]) -> str:
    """Return the results as a Markdown table."""
    columns = [layout for layout in LAYOUTS if layout != "keras3"]
    head = "| network | parameters | " + " | ".join(columns) + " |"
    lines = [head, "|---|--:|" + "--:|" * len(columns)]
    for name, network in networks.items():
        found = network["libraries"]
        cells = [f"{found[c]['worst']:.1e}" if c in found else "" for c in columns]
        start = f"| {name} | {network['parameters']:,} | "
        lines.append(start + " | ".join(cells) + " |")
    return "\n".join(lines)


def write_page(text: str) -> None:
    """Put the table between the page's marks, which are added if it has none."""
    page = PAGE.read_text() if PAGE.exists() else "# Weights\n"
    if page.count(MARK) != 2:
        page += f"\n## Parity\n\n{MARK}\n{MARK}\n"
    before, _, after = page.split(MARK)
    PAGE.write_text(f"{before}{MARK}\n{text}\n{MARK}{after}")


def main() -> None:
    """Measure what `results/parity.json` lacks, and write it and the page."""
    parser = argparse.ArgumentParser(prog="python benchmarks/parity.py")
    parser.add_argument("--only", nargs="+", choices=MODELS, metavar="NAME")
    args = parser.parse_args()
    tests = Path(__file__).parents[1] / "tests"
    sys.path += [str(tests), str(tests / "models")]
    tune_cpu()
    networks = json.loads(PATH.read_text())["networks"] if PATH.exists() else {}
    for name in args.only or [name for name in MODELS if name not in networks]:
        networks[name] = measure(name)
        save(networks)
    result = json.loads(PATH.read_text())
    write_page(f"{summary(result)}\n\n{table(result['networks'])}")
    rows = [row for n in networks.values() for row in n["libraries"].values()]
    if any(r["worst"] > TOLERANCE or r["round_trip"] != "identical" for r in rows):
        sys.exit("some networks differ")


if __name__ == "__main__":
    main()
