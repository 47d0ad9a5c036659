"""Claim: jft prepares batches 1.5 times as fast as the best other library.

From JPEG files of 500 x 375 pixels (quality 90, about 58 KB: synthetic photographs) to
batches of 64 random resized crops of 224 x 224 with flips, uint8, on the device. The
methods run in turn, each reads all files several times per turn, and a turn starts
without prefetched images:

    jft, memory     the default: decoded once to squares of 256 x 256 that stay in
                    memory, up to 2 GiB of them (10,900 images)
    jft, cache      the same from a warm --cache, which has no such limit
    jft, files      decodes each time: more images than that, without a cache
    others          see `input_others.py`; torch and tf.data from other Pythons
    decoding alone  the upper bound: simplejpeg on all cores, result unused

jft crops on the device, from the central square; the others crop the whole image on
the host. Without an accelerator, the device is the same cores.

    python benchmarks/input_rate.py --torch-python PYTHON --tf-python PYTHON
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import save
from input_others import BATCH, CORES, SIZE
from turns import Step, Worker, serve

CANVAS = 256
LAG = 2  # batches on the device while the next is sent, as in training
MEMORY, CACHE, FILES = OURS = ("jft, memory", "jft, cache", "jft, files")
BOUND = "decoding alone"


def photographs(folder: Path, count: int) -> int:
    """Write JPEG files; return their mean size in bytes.

    Noise whose amplitude falls with frequency as in photographs, grey more than
    coloured, with an edge through it. About as large as photographs, so that decoding
    takes as long.
    """
    from PIL import Image

    draw = np.random.default_rng(0)
    rows, columns = np.fft.fftfreq(375)[:, None], np.fft.rfftfreq(500)
    fall = 1 / np.maximum(np.hypot(rows, columns), 1 / 500) ** 1.45
    y, x = np.mgrid[:375, :500]
    total = 0
    for i in range(count):
        phase = np.exp(2j * np.pi * draw.random((3, *fall.shape)))
        waves = np.fft.irfft2(phase * fall, (375, 500))
        grey, colour = waves[0], waves[1:] * 0.3
        levels = np.stack([grey, grey + colour[0], grey + colour[1]], -1)
        levels = levels / levels.std() * 55 + 120
        slope, offset = draw.normal(size=2)
        levels[y - 187 > slope * (x - 250) + 80 * offset] += 30 * draw.normal()
        path = folder / f"{i:04}.jpg"
        pixels = np.clip(levels, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(path, quality=90)
        total += path.stat().st_size
    return total // count


@dataclass(frozen=True, eq=False)
class Photographs:
    """Images without labels, as `jft.data.pipeline` reads them."""

    images: Any

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        """Return one image, and a label."""
        return self.images[index], 0

    def weight(self, index: int) -> float:
        """Return 1: each counts once."""
        return 1.0

    def class_indices(self) -> np.ndarray:
        """Return one class for all."""
        return np.zeros(len(self), np.intp)


def ours(folder: Path, passes: int, way: str) -> Step:
    """Return a reading of all files by jft, augmented on the device.

    With a cache its facts are the seconds of a first and of a second start.
    """
    from jft.data.cache import Cache
    from jft.data.geometry import Square
    from jft.data.images import read_all
    from jft.data.listing import Listing, Paths
    from jft.preprocess import Preprocess

    names = tuple(sorted(path.name for path in folder.glob("*.jpg")))
    listing = Listing(names, Paths(folder, names), np.zeros(len(names), np.int32))
    square = Square(Preprocess(size=CANVAS, crop_fraction=1.0), fast=True)
    cache = Cache(folder / "cache") if way == CACHE else None
    starts: list[float] = []
    images: Any = None
    for _ in range(2 if cache else 1):
        began = time.perf_counter()
        images = read_all(listing, square, keep=way == MEMORY, cache=cache).images
        starts.append(round(time.perf_counter() - began, 3))
    facts: dict[str, Any] = {}
    if cache:
        facts = {"seconds of first start": starts[0], "of second": starts[1]}
    return Step(_loop(Photographs(images), passes), facts)


def _loop(source: Photographs, passes: int) -> Any:
    import jax

    from jft import augment
    from jft.config import AugmentConfig
    from jft.data.pipeline import Batches, read
    from jft.devices import get_devices, tune_cpu

    tune_cpu()
    rules = AugmentConfig(resized_crop=0.08, flip=True, crop_padding=0)
    devices, key = get_devices("jit"), jax.random.key(0)
    batches = Batches(source, BATCH, seed=0, epochs=passes)

    @jax.jit
    def crop(batch: dict[str, jax.Array], step: jax.Array) -> jax.Array:
        image, example = batch["image"], batch["id"]
        epoch = step // batches.steps_per_epoch
        return augment.augment(image, example, key, epoch, rules, size=SIZE).image

    def run() -> float:
        pending: deque[jax.Array] = deque()
        for step, batch in enumerate(read(batches)):
            pending.append(crop(devices.put(batch), np.int32(step)))
            if len(pending) > LAG:
                pending.popleft().block_until_ready()
        jax.block_until_ready(list(pending))
        return float(np.asarray(pending[-1]).mean())

    return run


def decoding(folder: Path, passes: int) -> Step:
    """Return a decoding of all files, of which nothing is kept."""
    from jft.data.decode import decode

    paths = sorted(folder.glob("*.jpg")) * passes

    def run() -> float:
        with ThreadPoolExecutor(CORES) as pool:
            return float(sum(len(x) for x in pool.map(decode, paths, chunksize=16)))

    return Step(run, {})


def build(way: str, folder: Path, passes: int) -> Step:
    """Return one of the ways that need jft."""
    if way == BOUND:
        return decoding(folder, passes)
    return ours(folder, passes, way)


def commands(folder: str, torch: str | None, tf: str | None) -> Iterator[Any]:
    """Yield the name of each way, and the command of its process."""
    others = str(Path(__file__).with_name("input_others.py"))
    for way in (*OURS, BOUND):
        yield way, [sys.executable, __file__, way, folder]
    yield "Pillow, threads", [sys.executable, others, "pillow", folder]
    if torch:
        for decoder in ("Pillow", "torchvision"):
            way = f"torch-{decoder.lower()}"
            yield f"torch DataLoader, {decoder}", [torch, others, way, folder]
    if tf:
        yield "tf.data", [tf, others, "tf", folder]


def measure(
    workers: dict[str, Worker], facts: dict[str, Any], passes: int, rounds: int
) -> dict[str, list[float]]:
    """Return the seconds of each way in each round, after one that does not count."""
    seconds: dict[str, list[float]] = {}
    for name, worker in workers.items():
        try:
            facts |= worker.build(name, passes)
            worker.time(name)
            seconds[name] = []
        except SystemExit:
            print(f"{name}: cannot be measured here", file=sys.stderr)
    for _ in range(rounds):
        for name, values in seconds.items():
            values.append(workers[name].time(name)[0])
    return seconds


def summarise(rates: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Return images per second of each way, and the ratio to the best of the others."""
    others = [values for name, values in rates.items() if name not in (*OURS, BOUND)]
    best = [max(values) for values in zip(*others, strict=True)]
    return {
        name: {
            "images_per_second": round(statistics.median(values)),
            "least": round(min(values)),
            "most": round(max(values)),
            "to_best_other": round(_ratio(values, best), 2),
        }
        for name, values in rates.items()
    }


def _ratio(values: Sequence[float], best: Sequence[float]) -> float:
    return statistics.median(a / b for a, b in zip(values, best, strict=True))


def main() -> None:
    """Measure and write `results/input_rate.json`."""
    if sys.argv[1:] and sys.argv[1] in (*OURS, BOUND):
        way, folder = sys.argv[1], Path(sys.argv[2])
        serve(lambda passes: build(way, folder, passes))
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--passes", type=int, default=4)
    parser.add_argument("--torch-python", help="has torch, torchvision and Pillow")
    parser.add_argument("--tf-python", help="has tensorflow")
    flags = parser.parse_args()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    facts: dict[str, Any] = {"images": flags.images, "cores": CORES}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        facts["mean_bytes"] = photographs(Path(folder), flags.images)
        workers = {
            name: stack.enter_context(Worker(command))
            for name, command in commands(folder, flags.torch_python, flags.tf_python)
        }
        seconds = measure(workers, facts, flags.passes, flags.rounds)
    count = flags.images // BATCH * BATCH * flags.passes
    rows = summarise({k: [count / s for s in v] for k, v in seconds.items()})
    save("input_rate", rows=rows, facts=facts)
    for name, row in rows.items():
        print(f"{name:<32}{row['images_per_second']:>7}{row['to_best_other']:>7.2f}")
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
