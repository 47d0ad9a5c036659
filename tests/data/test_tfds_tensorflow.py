"""Data sets that TFDS prepares with TensorFlow: the same with and without it there."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import tfds_datasets as made

from jft.data.decode import decode
from jft.data.tfds import read as form

pytestmark = pytest.mark.oracle

READ = """
import hashlib, json, sys
from importlib.machinery import PathFinder

class NoTensorFlow(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] != "tensorflow":
            return super().find_spec(name, path, target)

if sys.argv[2] == "without":
    sys.meta_path[sys.meta_path.index(PathFinder)] = NoTensorFlow
else:
    import tensorflow
from jft.data.decode import decode
from jft.data.tfds import read as form
dataset = form.load("encoded", {"dir": sys.argv[1], "label": sys.argv[3]})
found = []
for listing in dataset.splits.values():
    for i, key in enumerate(listing.keys):
        pixels = hashlib.sha256(decode(listing.images[i]).tobytes()).hexdigest()
        found.append([key, pixels, listing.labels[i].tolist()])
assert ("tensorflow" in sys.modules) == (sys.argv[2] == "with")
print(json.dumps([dataset.fingerprint, found]))
"""


def test_a_data_set_that_tensorflow_encoded_is_read_alike_with_and_without_it(
    tmp_path: Path,
):
    pytest.importorskip("tensorflow")
    import tensorflow_datasets as tfds

    class Encoded(made.Written, skip_registration=True):
        """Yields arrays, which only TensorFlow can encode."""

        name = "encoded"
        FEATURES: ClassVar = {
            "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
            "label": tfds.features.ClassLabel(names=made.NAMES),
            "mask": tfds.features.Image(shape=(None, None, 1)),
        }
        SPLITS: ClassVar = {"train": range(12), "test": range(12, 16)}

        @staticmethod
        def example(i: int) -> dict[str, Any]:
            mask = made.noise(i, (6, 5), 3)[..., None]
            return {"image": made.noise(i, (6, 5, 3)), "label": i % 3, "mask": mask}

    made.write(Encoded, tmp_path)
    for label in ("label", "mask"):
        read = [
            subprocess.run(
                [sys.executable, "-c", READ, str(tmp_path), way, label],
                capture_output=True,
                text=True,
                check=True,
            ).stdout.splitlines()[-1]
            for way in ("with", "without")
        ]
        assert read[0] == read[1]
        assert len(json.loads(read[0])[1]) == 16

    dataset = form.load("encoded", {"dir": str(tmp_path), "label": "mask"})
    theirs = tfds.data_source("encoded", split="train", data_dir=str(tmp_path))
    listing = dataset.splits["train"]
    ours = {decode(listing.images[i]).tobytes(): listing.labels[i] for i in range(12)}
    assert len(theirs) == len(ours) == 12
    for example in theirs:
        mask = ours[example["image"].tobytes()]
        np.testing.assert_array_equal(mask, example["mask"][..., 0])
