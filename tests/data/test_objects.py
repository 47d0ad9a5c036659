"""Python objects as data: the same examples as a folder of the same images."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grain
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from jft.data.decode import decode
from jft.data.listing import Dataset
from jft.data.objects import list_objects
from jft.data.pipeline import Batches
from jft.data.rgb import DecodeError, pixels
from jft.data.sources import list_data, open_splits
from jft.errors import InputError
from jft.preprocess import Preprocess

SMALL = Preprocess(size=8, crop_fraction=0.875)
NAMES = ("ant", "bee")


def pictures(count: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Return different images [count, 12, 10, 3]."""
    draw = np.random.default_rng(seed)
    return draw.integers(0, 256, (count, 12, 10, 3), np.uint8)


def folder(root: Path) -> tuple[Any, Any]:
    """Write images as `root/train|test/CLASS/*.png`; return both as arrays."""
    arrays: list[Any] = []
    for split, count, seed in (("train", 12, 1), ("test", 6, 2)):
        images = pictures(count, seed)
        labels = np.arange(count) * 2 // count
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            path = root / split / NAMES[label] / f"{i:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
        arrays.append((images, labels))
    return arrays[0], arrays[1]


def batches(dataset: Dataset) -> list[dict[str, np.ndarray]]:
    """Return the training batches of two epochs, and the test split in order."""
    splits = open_splits(dataset, SMALL)
    train, test = Batches(splits.train, 5, seed=3, epochs=2), Batches(splits.test, 4)
    return [some[i] for some in (train, test) for i in range(len(some))]


class Torch:
    """What `torch.utils.data.Dataset` asks of a subclass, and `ImageFolder.classes`."""

    def __init__(self, pair: tuple[Any, Any]) -> None:
        self.pair = pair
        self.classes = [*NAMES]

    def __len__(self) -> int:
        return len(self.pair[0])

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.fromarray(self.pair[0][index]), int(self.pair[1][index])


class HuggingFace:
    """What `datasets.Dataset` gives: dictionaries, and the features of its columns."""

    def __init__(self, pair: tuple[Any, Any]) -> None:
        self.pair = pair
        self.features = {"img": None, "label": SimpleNamespace(names=[*NAMES])}

    def __len__(self) -> int:
        return len(self.pair[0])

    def __getitem__(self, index: int) -> dict[str, Any]:
        image = Image.fromarray(self.pair[0][index])
        return {"img": image, "label": int(self.pair[1][index])}


def in_grain(pair: tuple[Any, Any]) -> Any:
    """Return a data set of Grain that maps indices, and filters what is not there."""
    count = len(pair[0])
    indices = grain.MapDataset.range(2 * count).filter(lambda i: i < count)
    return indices.map(lambda i: {"image": pair[0][i], "label": NAMES[pair[1][i]]})


def in_list(pair: tuple[Any, Any]) -> Any:
    return [(image, NAMES[label]) for image, label in zip(*pair, strict=True)]


def keras(pair: tuple[Any, Any]) -> Any:
    return pair[0], pair[1][:, None]


@pytest.mark.parametrize("form", [tuple, in_list, in_grain, Torch, HuggingFace, keras])
def test_every_form_gives_the_batches_of_a_folder(tmp_path: Path, form: Any):
    train, test = folder(tmp_path)
    names = NAMES if form in (tuple, keras) else None
    dataset = list_objects(form(train), form(test), class_names=names)
    assert (dataset.task, dataset.class_names) == ("classification", NAMES)
    assert dataset.skipped == (18 if form is in_grain else 0)
    expected = batches(list_data(f"folder:{tmp_path}"))
    for mine, theirs in zip(batches(dataset), expected, strict=True):
        for name, array in theirs.items():
            np.testing.assert_array_equal(mine[name], array)
            assert mine[name].dtype == array.dtype


def test_paths_are_held_out_as_in_a_folder_wherever_they_are(tmp_path: Path):
    for i, image in enumerate(pictures(40)):
        path = tmp_path / NAMES[i % 2] / f"{i:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(path)
    paths = sorted(tmp_path.rglob("*.png"))
    mine = list_objects([(str(path), path.parent.name) for path in paths])
    theirs = list_data(f"folder:{tmp_path}")
    for split in ("train", "test"):
        assert mine.splits[split].keys == theirs.splits[split].keys
        labels = theirs.splits[split].labels
        np.testing.assert_array_equal(mine.splits[split].labels, labels)
    for one, other in zip(batches(mine), batches(theirs), strict=True):
        np.testing.assert_array_equal(one["image"], other["image"])


def test_arrays_are_held_out_by_their_content():
    images = pictures(60)
    images[30:] = images[:30]  # every image twice, and never on both sides
    labels = np.arange(60) % 3
    splits = list_objects((images, labels)).splits
    train, test = (
        {images[int(key)].tobytes() for key in splits[s].keys}
        for s in ("train", "test")
    )
    assert not train & test
    assert 2 <= len(test) <= 12
    order = np.random.default_rng(0).permutation(60)
    again = list_objects((images[order], labels[order])).splits["test"]
    assert {images[order[int(key)]].tobytes() for key in again.keys} == test


@pytest.mark.parametrize(
    ("labels", "task", "names"),
    [
        ([3, 5, 3, 5], "classification", ("3", "5")),
        (["b", "a", "b", "a"], "classification", ("a", "b")),
        ([True, False, True, False], "classification", ("False", "True")),
        (np.array([0.5, 1, 2, 3], np.float32), "regression", ("label",)),
        (np.arange(8).reshape(4, 2) / 3, "regression", ("label/0", "label/1")),
        (np.eye(4, 3, dtype=np.int64), "multilabel", ("0", "1", "2")),
        ([["x"], ["x", "y"], [], ["y"]], "multilabel", ("x", "y")),
        ([np.int64(3), np.int32(5), 3, 5], "classification", ("3", "5")),
    ],
)
def test_labels_tell_the_task(labels: Any, task: str, names: tuple[str, ...]):
    pair = pictures(4), labels
    dataset = list_objects(pair, pair)
    assert (dataset.task, dataset.class_names) == (task, names)


def test_masks_are_class_indices_and_255_is_void():
    masks = np.zeros((4, 12, 10), np.int64)
    masks[:, 3:5], masks[:, 7] = 2, 255
    dataset = list_objects((pictures(4), masks), (pictures(4), masks))
    assert (dataset.task, dataset.class_names) == ("segmentation", ("0", "1", "2"))
    labels: Any = dataset.splits["train"].labels
    np.testing.assert_array_equal(labels[1], masks[1])
    with pytest.raises(InputError, match="class 2; there are 2 names"):
        list_objects((pictures(4), masks), class_names=NAMES)
    masks[2, 0, 0] = -1
    with pytest.raises(InputError, match=r"1 labels are not masks(.|\n)*train\[2\]"):
        list_objects((pictures(4), masks))


def test_the_fingerprint_is_of_images_labels_and_names():
    images, labels = pictures(10), np.arange(10) % 2
    found = {list_objects((images, labels)).fingerprint}
    assert list_objects([*zip(images, labels, strict=True)]).fingerprint in found
    found.add(list_objects((images, labels), class_names=NAMES).fingerprint)
    found.add(list_objects((images, 1 - labels)).fingerprint)
    images[3, 5, 5, 1] ^= 1
    found.add(list_objects((images, labels)).fingerprint)
    assert len(found) == 4


class Broken:
    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Any:
        raise RuntimeError("no such shard")


IMAGES = pictures(4)
Y = [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((IMAGES, Y[:3]), "there are 4 images and 3 labels"),
        ((IMAGES / 255, Y), r"uint8 in 0..255, not float64; multiply by 255"),
        ((IMAGES.astype(np.int64), Y), "uint8 in 0..255, not int64"),
        ((IMAGES.transpose(0, 3, 1, 2), Y), r"not \[3, 12, 10\]; channels come last"),
        ((IMAGES[..., :2], Y), r"is \[H, W, 3\], not \[12, 10, 2\]"),
        (IMAGES, r"train\[0\]: is a ndarray uint8 \[12, 10, 3\]; valid are"),
        ((IMAGES, None), "labels are a NoneType, which has no length"),
        ((IMAGES, Y, Y), r"train\[0\]: is a ndarray"),
        ((IMAGES, [1, "a", 1, "a"]), r"several types: \['int', 'str'\]"),
        ((IMAGES, [0, 0, 0, 0]), "at least 2"),
        ((IMAGES, [{"x": 1}] * 4), "the label is a dict; valid are a class name"),
        ([(IMAGES[0], 0), (IMAGES[1],)], r"train\[1\]: not like the first example"),
        ([{"pixels": IMAGES[0], "label": 1}], "a mapping of 'pixels', 'label'"),
        ({"train": [1], "test": [2]}, "is a dict of train, test; valid are"),
        ("photos", "train='photos' is a path: write folder:PATH"),
        ([], "is a list of 0 items: it is empty"),
        (iter([(IMAGES[0], 1)]), r"a list_iterator, without len\(\) or \[i\]"),
        (Broken(), r"train\[0\]: RuntimeError: no such shard"),
        (grain.MapDataset.range(3).repeat(), r"leave out .repeat\(\)"),
        (grain.MapDataset.range(3).filter(lambda i: i > 9), "all 3 items are None"),
    ],
)
def test_what_is_no_data_is_one_error(data: Any, message: str):
    with pytest.raises(InputError, match=message):
        list_objects(data)


def test_an_unknown_task_is_refused():
    with pytest.raises(InputError, match="did you mean 'regression'"):
        list_objects((IMAGES, Y), task="regresion")


def test_a_data_set_that_changes_is_told():
    images = [*pictures(8)]
    dataset = list_objects((images, Y * 2), (images, Y * 2))
    files = dataset.splits["train"].images
    images[3] = np.zeros(3, np.float32)
    with pytest.raises(DecodeError, match="not float32"):
        files[3]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_pil_images_of_any_mode_are_what_their_file_would_be(tmp_path: Path, mode: str):
    grey = Image.fromarray(pictures(1)[0, ..., 0])
    image = grey.convert("I").convert(mode) if mode == "I;16" else grey.convert(mode)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image.save(path)
    np.testing.assert_array_equal(pixels(image), decode(path))


def test_grey_arrays_and_opacity():
    grey = pictures(1)[0, ..., 0]
    expected = np.repeat(grey[..., None], 3, -1)
    np.testing.assert_array_equal(pixels(grey), expected)
    np.testing.assert_array_equal(pixels(grey[..., None]), expected)
    clear = np.concatenate([expected, np.zeros((12, 10, 1), np.uint8)], -1)
    assert (pixels(clear) == 255).all()  # nothing of it covers the white page
