"""Claim: a strategy of fine-tuning is worth its trouble only where a test shows it.

Plain fine-tuning of the bundled ResNet-20 is compared with LP-FT (the head first, then
everything), gradual unfreezing and layer-wise learning-rate decay, on digits and on
NEU-CLS: the first ten training images of each class, so that there is room for
improvement, and the whole test set.

All strategies have the same number of epochs. LP-FT's sweep tries three learning rates
of the head, and the epochs of all three count, although only one is used. Each phase
has a twelfth of the epochs, and the last phase the rest. The learning rate, 0.03, was
the best of 0.01, 0.03 and 0.1 for plain fine-tuning of both data sets together, with
one to three seeds each, different from the seeds here. Nothing else is tuned, except
the learning rate of the head in LP-FT.

Each seed determines the head, the order of the images and their augmentation, and all
strategies have the same seeds. So the differences to plain fine-tuning are paired.
Their 95 % intervals (Student's t) cover these draws, not other training or test images.
With three differences per data set, chance alone puts about one data set in seven
outside an interval.

    python benchmarks/strategies.py

An interrupted benchmark resumes; finished runs are not repeated.
"""

import argparse
import dataclasses
import json
import math
import shutil
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common import save
from PIL import Image
from scipy.stats import t as student

from jft.config import AugmentConfig, OptimConfig, TrainConfig, to_dict
from jft.data.sources import Source, open_splits, require_readable
from jft.preprocess import Preprocess

NEU = Path(__file__).parents[2] / "shared" / "data" / "neu_cls"
PER_CLASS = 10
SIZES = {"digits": 32}  # of images, in pixels
OTHER_SIZE = 64
PLAIN = "plain"
RUN = """
import json, sys, jft
from jft.config import from_dict
jft.fit(from_dict(json.loads(sys.argv[1])))
"""


def strategies(plain: TrainConfig) -> dict[str, TrainConfig]:
    """Return plain fine-tuning and its rivals, of as many epochs."""
    optim, whole = plain.optim, plain.epochs
    each = max(whole // 12, 1)
    sweep = f"{each}*all-but:head@0.3|0.1|0.03"
    decayed = dataclasses.replace(optim, layer_decay=0.8)
    return {
        PLAIN: plain,
        "LP-FT": dataclasses.replace(plain, phases=sweep, epochs=whole - 3 * each),
        "gradual unfreezing": dataclasses.replace(
            plain, phases=f"gradual:{each}", epochs=whole - 4 * each
        ),
        "layer decay 0.8": dataclasses.replace(plain, optim=decayed),
    }


def recipe(data: Path, size: int, epochs: int) -> TrainConfig:
    """Return plain fine-tuning of everything."""
    return TrainConfig(
        data=f"folder:{data}",
        freeze="none",
        epochs=epochs,
        batch_size=8,
        image_size=size,
        augment=AugmentConfig(flip=False),
        optim=OptimConfig(learning_rate=0.03),
    )


def take_few(data: str, folder: Path, size: int) -> Path:
    """Write the first training images of each class, and all for testing, as PNG.

    Args:
        data: `digits` or `folder:PATH`.
        folder: Where to put the folder of images.
        size: Side of an image in pixels.

    Returns:
        The folder of images, which is left as it is if it is there.
    """
    whole = folder / f"{Path(data.partition(':')[2] or data).name}-{PER_CLASS}"
    if whole.exists():
        return whole
    splits = open_splits(data, Preprocess(size=size, crop_fraction=1.0))
    require_readable(splits)
    part = whole.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    write(splits.train, part / "train", PER_CLASS)
    write(splits.test, part / "test", len(splits.test))
    return part.rename(whole)


def write(source: Source, folder: Path, most: int) -> None:
    """Write the images of each class, at most so many of them."""
    taken = Counter[int]()
    for i in range(len(source)):
        image, label = source[i]
        taken[label] += 1
        if taken[label] <= most:
            path = folder / source.class_names[label] / f"{i:05}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)


def run(config: TrainConfig) -> dict[str, Any]:
    """Train in a process of its own; return the run's result."""
    assert config.workdir
    command = [sys.executable, "-c", RUN, json.dumps(to_dict(config))]
    subprocess.run(command, check=True)
    return json.loads((Path(config.workdir) / "result.json").read_text())


def compete(
    rivals: Mapping[str, TrainConfig], seeds: int, workdir: Path
) -> dict[str, list[dict[str, Any]]]:
    """Return the results of each strategy by seed."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in rivals}
    for seed in range(seeds):
        for name, config in rivals.items():
            folder = workdir / f"{name.replace(' ', '-')}-seed{seed}"
            seeded = dataclasses.replace(config, seed=seed, workdir=str(folder))
            result = run(seeded)
            found[name].append(result)
            accuracy, seconds = result["accuracy"], result["seconds"]
            print(f"{folder}: {accuracy:.2%}, {seconds:.0f} s", flush=True)
    return found


def interval(values: Sequence[float]) -> dict[str, float]:
    """Return mean and 95 % interval of the mean, by Student's t."""
    mean, n = statistics.mean(values), len(values)
    half = float(student.ppf(0.975, n - 1)) * statistics.stdev(values) / math.sqrt(n)
    return {"mean": mean, "low": mean - half, "high": mean + half}


def judge(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Return accuracies in %, and the differences to plain fine-tuning in points."""
    accuracies = {name: [100 * r["accuracy"] for r in rs] for name, rs in found.items()}
    rows: dict[str, Any] = {}
    for name, values in accuracies.items():
        pairs = zip(values, accuracies[PLAIN], strict=True)
        difference = interval([a - b for a, b in pairs])
        rows[name] = {
            "accuracies": values,
            "accuracy": interval(values),
            "seconds": statistics.median(r["seconds"] for r in found[name]),
        }
        if name != PLAIN:
            rows[name] |= {"difference": difference, "verdict": verdict(difference)}
    return rows


def verdict(difference: Mapping[str, float]) -> str:
    """Say what an interval shows."""
    if difference["low"] <= 0 <= difference["high"]:
        return "no difference beyond chance"
    return f"{'better' if difference['low'] > 0 else 'worse'} than plain"


def table(datasets: Mapping[str, Mapping[str, Any]]) -> str:
    """Return all results as a Markdown table."""
    lines = ["| data | strategy | test accuracy, % | minus plain, points | |"]
    lines.append("|---|---|--:|--:|---|")
    for data, dataset in datasets.items():
        for name, row in dataset["strategies"].items():
            difference = row.get("difference")
            cells = [data, name, shown(row["accuracy"], "")]
            cells.append(shown(difference, "+") if difference else "")
            lines.append(f"| {' | '.join(cells)} | {row.get('verdict', '')} |")
    return "\n".join(lines)


def shown(found: Mapping[str, float], sign: str) -> str:
    """Return a mean and its interval in words."""
    mean, low, high = (f"{found[x]:{sign}.2f}" for x in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})"


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python benchmarks/strategies.py")
    known = ["digits", *([f"folder:{NEU}"] if NEU.exists() else [])]
    add = parser.add_argument
    add("--data", nargs="+", default=known, help="digits or folder:PATH")
    add("--seeds", type=int, default=5, help="runs of each strategy, at least 2")
    add("--epochs", type=int, default=12, help="of a run in all, at least 5")
    add("--workdir", type=Path, default=Path("runs/strategies"), help="for all runs")
    return parser.parse_args()


def main() -> None:
    """Run what is not finished, and write `results/strategies.json`."""
    args = arguments()
    datasets: dict[str, dict[str, Any]] = {}
    for data in args.data:
        size = SIZES.get(data, OTHER_SIZE)
        images = take_few(data, args.workdir / "data", size)
        rivals = strategies(recipe(images, size, args.epochs))
        found = compete(rivals, args.seeds, args.workdir / images.name)
        rules = to_dict(rivals[PLAIN]) | {"data": f"folder:{images.name}"}
        datasets[images.name] = {"plain": rules, "strategies": judge(found)}
    save("strategies", seeds=args.seeds, datasets=datasets)
    print("", table(datasets), sep="\n")


if __name__ == "__main__":
    main()
