"""How many single flipped bits pass unnoticed: jft beside what it could be without.

Each trial flips one random bit of one random file, drawn by size, and loads. A flip is
silent if nothing is raised and a value that was loaded differs; harmless if nothing is
raised and all values are the same. torch.save is measured where torch is installed.

    python benchmarks/reliability.py --flips 1000
"""

import argparse
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orbax.checkpoint as ocp
from common import save
from safetensors.numpy import load_file, save_file

from jft import tree
from jft.config import ModelConfig, TrainConfig
from jft.train.loop import fit
from jft.verify.run import verify_run

Load = Callable[[], Any]


def variants(folder: Path) -> Iterator[tuple[str, Path, Load]]:
    """Yield name, folder of the files, and what loads them, of each way to save."""
    config = TrainConfig(
        epochs=2,
        batch_size=512,
        freeze="all-but:head",
        model=ModelConfig(name="resnet20"),
        devices="jit",
        workdir=str(folder / "jft"),
    )
    run = fit(config).workdir
    (run / ".lock").unlink()

    def verify() -> None:
        damage = verify_run(run).damage
        if damage:
            raise ValueError(damage[0])

    yield "jft: a whole run, jft.verify", run, verify
    with ocp.StandardCheckpointer() as checkpointer:
        arrays = checkpointer.restore((run / "final" / "variables").absolute())
    flat = {n: np.asarray(leaf) for n, leaf in tree.flatten(arrays).items()}
    (folder / "orbax").mkdir()
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save((folder / "orbax" / "state").absolute(), arrays)

    def restore() -> Any:
        with ocp.StandardCheckpointer() as checkpointer:
            place = (folder / "orbax" / "state").absolute()
            return tree.digest(checkpointer.restore(place, arrays))

    yield "Orbax: StandardCheckpointer", folder / "orbax", restore
    (folder / "safetensors").mkdir()
    file = folder / "safetensors" / "model.safetensors"
    save_file({name: np.ascontiguousarray(leaf) for name, leaf in flat.items()}, file)
    yield "safetensors", file.parent, lambda: tree.digest(load_file(file))
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError:
        return
    (folder / "torch").mkdir()
    pth = folder / "torch" / "model.pth"
    torch.save({name: torch.tensor(leaf) for name, leaf in flat.items()}, pth)

    def load() -> Any:
        loaded = torch.load(pth, weights_only=True)
        return tree.digest({name: leaf.numpy() for name, leaf in loaded.items()})

    yield "torch.save", pth.parent, load


def flips(folder: Path, load: Load, count: int) -> Counter[str]:
    """Return how many flips were noticed, harmless, and silent."""
    draw = random.Random(0)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sizes = [path.stat().st_size for path in files]
    whole, found = load(), Counter[str](noticed=0, harmless=0, silent=0)
    for _ in range(count):
        path = draw.choices(files, sizes)[0]
        content = path.read_bytes()
        damage = bytearray(content)
        damage[draw.randrange(len(damage))] ^= 1 << draw.randrange(8)
        path.write_bytes(damage)
        try:
            same = load() == whole
            # A verifier returns nothing: to say nothing of a flipped bit is silence.
            found["harmless" if same and whole is not None else "silent"] += 1
        except Exception:
            found["noticed"] += 1
        path.write_bytes(content)
    return found


def main() -> None:
    """Flip, count, print a table, and write the results."""
    parser = argparse.ArgumentParser(prog="python benchmarks/reliability.py")
    parser.add_argument("--flips", type=int, default=1000, help="of each way to save")
    count = parser.parse_args().flips
    rows: dict[str, dict[str, int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, path, load in variants(Path(folder)):
            rows[name] = dict(flips(path, load, count))
            print(f"{name:<32}", rows[name], flush=True)
    save("reliability", rows=rows, facts={"flips": count})


if __name__ == "__main__":
    main()
