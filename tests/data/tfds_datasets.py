"""Data sets in TFDS's own form, written by its own writer without TensorFlow."""

import io
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

NAMES = ("aeroplane", "bird", "cat")


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def noise(seed: int, shape: tuple[int, ...], high: int = 256) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, high, shape, np.uint8)


class Written(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Writes what `example` returns, and remembers nothing."""

    VERSION = tfds.core.Version("1.0.0")
    FEATURES: ClassVar[dict[str, Any]]
    SUPERVISED: ClassVar[tuple[str, str] | None] = None
    SPLITS: ClassVar[dict[str, range]]

    @staticmethod
    def example(i: int) -> dict[str, Any]:
        raise NotImplementedError

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict(self.FEATURES)
        return tfds.core.DatasetInfo(
            builder=self, features=features, supervised_keys=self.SUPERVISED
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {k: self._generate_examples(v) for k, v in self.SPLITS.items()}

    def _generate_examples(self, places: range) -> Any:
        for i in places:
            example = self.example(i)
            files = {k: io.BytesIO(v) for k, v in example.items() if type(v) is bytes}
            yield i, example | files


class Small(Written, skip_registration=True):
    """As CIFAR-10: images of one size, a class, and a coarser one."""

    name = "small"
    FEATURES: ClassVar = {
        "image": tfds.features.Image(shape=(6, 6, 3), encoding_format="png"),
        "label": tfds.features.ClassLabel(names=NAMES),
        "coarse": tfds.features.ClassLabel(num_classes=2),
        "id": tfds.features.Text(),
    }
    SUPERVISED: ClassVar = ("image", "label")
    SPLITS: ClassVar = {"train": range(40), "test": range(40, 55)}

    @staticmethod
    def example(i: int) -> dict[str, Any]:
        image = png(noise(i, (6, 6, 3)))
        return {"image": image, "label": i % 3, "coarse": i % 2, "id": f"no {i}"}


class Pets(Written, skip_registration=True):
    """As Oxford-IIIT Pet: image, class and trimap; no split called test."""

    name = "pets"
    FEATURES: ClassVar = {
        "file_name": tfds.features.Text(),
        "image": tfds.features.Image(shape=(None, None, 3)),
        "label": tfds.features.ClassLabel(names=NAMES),
        "segmentation_mask": tfds.features.Image(
            shape=(None, None, 1), use_colormap=True
        ),
        "species": tfds.features.ClassLabel(names=("cat", "dog")),
    }
    SPLITS: ClassVar = {"train": range(12), "validation": range(12, 18)}

    @staticmethod
    def example(i: int) -> dict[str, Any]:
        return {
            "file_name": f"{i}.jpg",
            "image": png(noise(i, (7 + i, 9, 3))),
            "label": i % 3,
            "segmentation_mask": png(1 + noise(i, (7 + i, 9), 3)),
            "species": i % 2,
        }


class Scenes(Written, skip_registration=True):
    """Several labels an example, truths, numbers, and masks with named classes."""

    name = "scenes"
    FEATURES: ClassVar = {
        "photo": tfds.features.Image(shape=(None, None, 3)),
        "labels": tfds.features.Sequence(tfds.features.ClassLabel(names=NAMES)),
        "objects": tfds.features.Sequence(
            {
                "box": tfds.features.BBoxFeature(),
                "kind": tfds.features.ClassLabel(names=NAMES),
            }
        ),
        "attributes": {"indoors": np.bool_, "night": np.bool_},
        "age": np.int64,
        "place": tfds.features.Tensor(shape=(2,), dtype=np.float32),
        "map": tfds.features.LabeledImage(labels=["sky", "sea"], shape=(None, None, 1)),
        "depth": tfds.features.Image(shape=(None, None, 1), dtype=np.uint16),
    }
    SPLITS: ClassVar = {"train": range(20)}

    @staticmethod
    def example(i: int) -> dict[str, Any]:
        box = tfds.features.BBox(0.0, 0.0, 0.5, 1.0)
        return {
            "photo": png(noise(i, (5, 4, 3))),
            "labels": list(range(i % 4)),
            "objects": [{"box": box, "kind": i % 3}] * (i % 3),
            "attributes": {"indoors": i % 2 == 0, "night": i % 5 == 0},
            "age": i,
            "place": np.array([i, -i / 4], np.float32),
            "map": png(noise(i, (5, 4), 2)),
            "depth": png(noise(i, (5, 4))),
        }


class Pair(Written, skip_registration=True):
    """Lists of two classes each: ids, though they look like truths."""

    name = "pair"
    FEATURES: ClassVar = {
        "image": tfds.features.Image(shape=(None, None, 3)),
        "kinds": tfds.features.Sequence(tfds.features.ClassLabel(names=NAMES[:2])),
    }
    SPLITS: ClassVar = {"train": range(10)}

    @staticmethod
    def example(i: int) -> dict[str, Any]:
        return {"image": png(noise(i, (5, 4, 3))), "kinds": [i % 2, i % 2]}


def write(
    kind: type[Written],
    folder: Path,
    file_format: str = "array_record",
    shards: int | None = None,
) -> None:
    """Write a data set below a folder, as `TFDS_DATA_DIR` has it.

    Args:
        kind: What to write.
        folder: Where to.
        file_format: One of those that TFDS reads at random.
        shards: Files of each split; TFDS decides by size without it.
    """
    tfds.disable_progress_bar()
    kind(data_dir=folder, file_format=file_format).download_and_prepare(
        download_config=tfds.download.DownloadConfig(num_shards=shards)
    )
