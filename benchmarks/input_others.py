"""How others make batches: random resized crops and flips of JPEG files, uint8 of 224.

Each way does what its users do: Pillow in a pool of threads; torch's DataLoader with a
process for each core, decoding by Pillow or by torchvision; tf.data with
decode_and_crop_jpeg, which resizes without antialiasing. All read all files `passes`
times in random order, and a batch counts when it is in memory.

    python benchmarks/input_others.py WAY FOLDER

answers `input_rate.py`, in an environment that needs NumPy, and what the way is named
after.
"""

import math
import os
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from turns import Step, serve

BATCH, SIZE = 64, 224
AREA, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
CORES = len(os.sched_getaffinity(0))


def box(width: int, height: int) -> tuple[int, int, int, int]:
    """Return a random part of an image: left, top, right, bottom, in pixels."""
    for _ in range(10):
        area = width * height * random.uniform(*AREA)
        ratio = math.exp(random.uniform(*map(math.log, RATIO)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if w <= width and h <= height:
            left, top = random.randint(0, width - w), random.randint(0, height - h)
            return left, top, left + w, top + h
    return 0, 0, width, height


def pillow(files: list[str], passes: int) -> Step:
    """Return a reading of all files by Pillow in threads."""
    image: Any = import_module("PIL.Image")

    def load(path: str) -> np.ndarray:
        with image.open(path) as opened:
            whole = opened.convert("RGB")
        part = box(*whole.size)
        cut = whole.resize((SIZE, SIZE), image.Resampling.BILINEAR, box=part)
        if random.random() < 0.5:
            cut = cut.transpose(image.Transpose.FLIP_LEFT_RIGHT)
        return np.asarray(cut)

    def batches() -> Iterator[np.ndarray]:
        order = files * passes
        random.shuffle(order)
        with ThreadPoolExecutor(CORES) as pool:
            made = pool.map(load, order)  # runs ahead as far as it can
            for _ in range(len(order) // BATCH):
                yield np.stack([next(made) for _ in range(BATCH)])

    return _step(batches, "Pillow", import_module("PIL").__version__)


class TorchFiles:
    """A torch data set; one example is an image uint8 [3, 224, 224]."""

    def __init__(self, files: list[str], how: str) -> None:
        """Take the files and the decoder, Pillow or torchvision."""
        transforms: Any = import_module("torchvision.transforms.v2")
        self.files = files
        self.read = getattr(self, how)
        crop = transforms.RandomResizedCrop(SIZE, AREA, RATIO)
        changes = [crop, transforms.RandomHorizontalFlip()]
        if how == "pillow":
            changes.append(transforms.PILToTensor())
        self.change = transforms.Compose(changes)

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.files)

    def __getitem__(self, index: int) -> Any:
        """Return one example."""
        return self.change(self.read(self.files[index]))

    def pillow(self, path: str) -> Any:
        """Return an image as torchvision's folders give it."""
        with import_module("PIL.Image").open(path) as image:
            return image.convert("RGB")

    def torchvision(self, path: str) -> Any:
        """Return an image as a tensor."""
        io: Any = import_module("torchvision.io")
        return io.decode_jpeg(io.read_file(path), io.ImageReadMode.RGB)


def torch(files: list[str], passes: int, how: str) -> Step:
    """Return a reading of all files by a DataLoader with a process for each core."""
    data: Any = import_module("torch.utils.data")
    import_module("cpu_torchvision").import_torchvision()
    dataset = TorchFiles(files * passes, how)
    dataset[0]  # fails here, if torchvision has no decoder
    loader = data.DataLoader(
        dataset,
        BATCH,
        shuffle=True,
        drop_last=True,
        num_workers=CORES,
        persistent_workers=True,
    )
    return _step(lambda: loader, "torch", import_module("torch").__version__)


def tf(files: list[str], passes: int) -> Step:
    """Return a reading of all files by tf.data."""
    tf: Any = import_module("tensorflow")

    def load(path: Any) -> Any:
        content = tf.io.read_file(path)
        begin, size, _ = tf.image.sample_distorted_bounding_box(
            tf.image.extract_jpeg_shape(content),
            tf.zeros([1, 0, 4]),
            area_range=AREA,
            aspect_ratio_range=RATIO,
            max_attempts=10,
            use_image_if_no_bounding_boxes=True,
        )
        part = tf.concat([begin[:2], size[:2]], 0)
        image = tf.image.decode_and_crop_jpeg(content, part, channels=3)
        image = tf.image.resize(image, [SIZE, SIZE])
        return tf.cast(tf.image.random_flip_left_right(image), tf.uint8)

    data = tf.data.Dataset.from_tensor_slices(files).repeat(passes)
    data = data.shuffle(len(files) * passes).map(load, tf.data.AUTOTUNE)
    data = data.batch(BATCH, drop_remainder=True).prefetch(tf.data.AUTOTUNE)
    return _step(data.as_numpy_iterator, "tensorflow", tf.__version__)


def _step(batches: Callable[[], Iterable[Any]], name: str, version: str) -> Step:
    """Return a step that makes all batches, and gives the mean of the last."""

    def run() -> float:
        batch: Any = None
        for batch in batches():
            assert str(batch.dtype).endswith("uint8")
        return float(np.asarray(batch).mean())

    return Step(run, {name: version})


WAYS: dict[str, Callable[[list[str], int], Step]] = {
    "pillow": pillow,
    "torch-pillow": lambda files, passes: torch(files, passes, "pillow"),
    "torch-torchvision": lambda files, passes: torch(files, passes, "torchvision"),
    "tf": tf,
}

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[1] / "tests"))
    way, folder = sys.argv[1:]
    paths = sorted(str(path) for path in Path(folder).glob("*.jpg"))
    serve(lambda passes: WAYS[way](paths, passes))
