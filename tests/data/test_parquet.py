"""Parquet files in the layout of Hugging Face's datasets, against what was written."""

import io
import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jft.data.decode import DecodeError
from jft.data.listing import Dataset, stamp
from jft.data.parquet import read as form
from jft.data.parquet import rows as parquet_rows
from jft.data.sources import list_data, open_splits
from jft.data.spec import parse_spec
from jft.errors import InputError
from jft.preprocess import Preprocess

NAMES = ["cat", "dog", "owl"]
IMAGE = {"_type": "Image"}
CLASSES = {"names": NAMES, "_type": "ClassLabel"}
TWO = ("multilabel", ["0", "1"])


def noise(seed: int, shape: tuple[int, ...] = (6, 5, 3), high: int = 256) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, high, shape, np.uint8)


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def cell(data: bytes | None, path: str | None = None) -> dict[str, Any]:
    return {"bytes": data, "path": path}


def write(
    path: Path,
    columns: dict[str, Any],
    features: dict[str, Any] | None = None,
    rows: int = 4,
):
    """Write a table with the metadata that Hugging Face's datasets gives it."""
    table = pa.table(columns)
    if features is not None:
        text = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": text})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=rows)


def images(places: range) -> list[dict[str, Any]]:
    return [cell(png(noise(i)), f"{i}.png") for i in places]


def write_small(folder: Path) -> Path:
    """Write two files to train on, one to validate, one to test."""
    features = {"image": IMAGE, "label": CLASSES}
    for name, places in (
        ("train-00000-of-00002", range(10)),
        ("train-00001-of-00002", range(10, 15)),
        ("test-00000-of-00001", range(15, 18)),
    ):
        columns = {"image": images(places), "label": [i % 3 for i in places]}
        write(folder / "data" / f"{name}.parquet", columns, features)
    return folder


def load(place: Path, **options: str) -> Dataset:
    return form.load(str(place), options)


def test_every_row_is_there_with_its_bytes_and_its_class(tmp_path: Path):
    dataset = load(write_small(tmp_path / "pets"))
    assert (dataset.name, dataset.task) == ("pets", "classification")
    assert dataset.class_names == tuple(NAMES)
    train, test = dataset.splits["train"], dataset.splits["test"]
    for listing, places in ((train, range(15)), (test, range(15, 18))):
        assert [listing.images[k] for k in range(len(places))] == [
            png(noise(i)) for i in places
        ]
        np.testing.assert_array_equal(listing.labels, np.mod(places, 3))
        assert listing.labels.dtype == np.int32
    assert train.keys[9] == "data/train-00000-of-00002.parquet/9"
    assert train.keys[10] == "data/train-00001-of-00002.parquet/0"


def test_a_single_file_trains_and_a_fifth_is_held_out(tmp_path: Path):
    write_small(tmp_path)
    file = tmp_path / "data" / "train-00000-of-00002.parquet"
    listed = list_data(f"hf-parquet:{file}")
    train, test = ({*listed.splits[s].keys} for s in ("train", "test"))
    assert test
    assert not train & test
    assert train | test == {f"{file.name}/{row}" for row in range(10)}
    assert listed.name == "train-00000-of-00002"


def test_the_squares_are_the_pixels_that_were_written(tmp_path: Path):
    dataset = load(write_small(tmp_path))
    splits = open_splits(dataset, Preprocess(size=5, crop_fraction=1.0))
    assert splits.report.used == 18
    # 6 x 5 pixels: the centre crop begins at round(1 / 2) = 0.
    for i in range(15):
        np.testing.assert_array_equal(splits.train.images[i], noise(i)[:5])


def test_where_the_data_lies_does_not_matter_but_its_bytes_do(tmp_path: Path):
    found = [load(write_small(tmp_path / name)).fingerprint for name in ("a", "b")]
    assert found[0] == found[1]
    columns = {"image": images(range(16, 19)), "label": [0, 1, 2]}
    write(
        tmp_path / "b/data/test-00000-of-00001.parquet",
        columns,
        {"image": IMAGE, "label": CLASSES},
    )
    assert load(tmp_path / "b").fingerprint != found[0]


@pytest.mark.parametrize(
    ("name", "label", "feature", "task", "classes", "expected"),
    [
        ("label", ["b", "a", "b", "c"], None, "classification", "abc", [1, 0, 1, 2]),
        (
            "class",
            [7, 3, 3, 10],
            None,
            "classification",
            ("3", "7", "10"),
            [1, 0, 0, 2],
        ),
        (
            "label",
            [True, False] * 2,
            None,
            "classification",
            ("False", "True"),
            [1, 0] * 2,
        ),
        ("label", [[0, 2], [], [1], None], [CLASSES], "multilabel", NAMES, None),
        (
            *("labels", [[0, 2], [], [1], None]),
            *({"feature": CLASSES, "_type": "List"}, "multilabel", NAMES, None),
        ),
        ("label", [["x"], ["z", "y"], [], ["x"]], None, "multilabel", "xyz", "words"),
        ("label", [[1, 0, -1], [0, 0, 1]] * 2, None, "multilabel", "012", "as it is"),
        # Lists of two truths: twice the same, or the larger first, are no classes.
        ("label", [[1, 0], [0, 1], [1, 1], [-1, 0]], None, *TWO, "as it is"),
        ("label", [[1, 0], [0, 1]] * 2, None, *TWO, "as it is"),
        ("label", [[1.0, 0.0], [0.0, 1.0]] * 2, None, *TWO, "as it is"),
        ("label", [[0, 1], [1, 2], [2], [0, 1]], None, "multilabel", "012", "ids"),
        (
            *("label", [[0, 1], [1, 0], [0, 1], [1, 0]]),
            *([CLASSES], "multilabel", NAMES, [[1, 1, 0]] * 4),
        ),
        ("label", [0.5, 2.0, -1.0, None], None, "regression", ["label"], "as it is"),
        (
            "target",
            [[0.5, 2.0]] * 4,
            None,
            "regression",
            ["target/0", "target/1"],
            "as it is",
        ),
    ],
)
def test_labels_mean_what_their_types_say(
    tmp_path: Path,
    name: str,
    label: list[Any],
    feature: Any,
    task: str,
    classes: Any,
    expected: Any,
):
    write(
        tmp_path / "x.parquet",
        {"image": images(range(4)), name: label},
        {"image": IMAGE, name: feature},
    )
    dataset = load(tmp_path / "x.parquet")
    assert (dataset.task, dataset.class_names) == (task, tuple(classes))
    if expected is None:
        expected = [[1, 0, 1], [0, 0, 0], [0, 1, 0], [-1, -1, -1]]
    elif expected == "words":
        expected = [[1, 0, 0], [0, 1, 1], [0, 0, 0], [1, 0, 0]]
    elif expected == "ids":
        expected = [[1, 1, 0], [0, 1, 1], [0, 0, 1], [1, 1, 0]]
    elif expected == "as it is":
        kind = np.float32 if task == "regression" else np.int32
        expected = np.array(label, kind).reshape(4, -1)
    np.testing.assert_array_equal(dataset.splits["train"].labels, expected)


def test_several_columns_are_labels_or_numbers(tmp_path: Path):
    columns = {
        "image": images(range(4)),
        "wet": [1, 0, None, -1],
        "hot": [True, False, True, False],
        "age": [1, 2, 3, 4],
    }
    write(tmp_path / "x.parquet", columns)
    labels = load(tmp_path / "x.parquet", label="wet,hot")
    assert (labels.task, labels.class_names) == ("multilabel", ("wet", "hot"))
    assert labels.splits["train"].labels.tolist() == [[1, 1], [0, 0], [-1, 1], [-1, 0]]
    numbers = load(tmp_path / "x.parquet", label="age,wet")
    assert (numbers.task, numbers.class_names) == ("regression", ("age", "wet"))
    ages = load(tmp_path / "x.parquet", label="age", task="regression")
    assert ages.splits["train"].labels.tolist() == [[1.0], [2.0], [3.0], [4.0]]


def test_a_column_of_images_may_be_masks(tmp_path: Path):
    masks = [noise(i, (6, 5), 3) for i in range(4)]
    masks[2][0, 0] = 255
    columns = {
        "image": images(range(4)),
        "annotation": [cell(png(mask)) for mask in masks],
    }
    write(tmp_path / "x.parquet", columns, {"image": IMAGE, "annotation": IMAGE})
    for options in ({}, {"mask": "annotation"}, {"label": "annotation"}):
        dataset = load(tmp_path / "x.parquet", **options)
        assert (dataset.task, dataset.class_names) == ("segmentation", ("0", "1", "2"))
        for i, mask in enumerate(masks):  # 255 is void, here and there
            np.testing.assert_array_equal(dataset.splits["train"].labels[i], mask)
    named = load(tmp_path / "x.parquet", classes="sky,sea,land")
    assert named.class_names == ("sky", "sea", "land")


def test_binary_columns_and_paths_are_images_and_an_empty_cell_is_rejected(
    tmp_path: Path,
):
    (tmp_path / "beside.png").write_bytes(png(noise(0)))
    cells = [
        cell(None, "beside.png"),
        cell(None),
        cell(b"no image"),
        cell(None, "gone"),
    ]
    write(tmp_path / "x.parquet", {"img": cells * 100, "label": [0, 1, 1, 0] * 100})
    dataset = load(tmp_path / "x.parquet")
    splits = open_splits(list_data(f"hf-parquet:{tmp_path}"), Preprocess(size=5))
    reasons = {why for _, why in splits.report.rejected}
    assert splits.report.used == 100
    assert reasons >= {"the cell is empty", "no such file or directory"}
    assert dataset.splits["train"].images[0] == tmp_path / "beside.png"
    write(tmp_path / "y.parquet", {"scan": [png(noise(1))] * 2, "label": ["a", "b"]})
    assert load(tmp_path / "y.parquet").splits["train"].images[1] == png(noise(1))


def test_files_are_told_apart_by_name_or_by_pattern(tmp_path: Path):
    write_small(tmp_path)
    options = {"train": "data/train-{00000..00000}-*", "test": "data/train-00001*"}
    dataset = load(tmp_path, **options)
    assert [len(s.keys) for s in dataset.splits.values()] == [10, 5]
    assert dataset.skipped == 1
    only = load(tmp_path, test="data/test*")
    assert [len(s.keys) for s in only.splits.values()] == [15, 3]
    validation = (tmp_path / "data/test-00000-of-00001.parquet").read_bytes()
    (tmp_path / "data/validation-00000-of-00001.parquet").write_bytes(validation)
    both = load(tmp_path)
    assert both.splits["test"].keys[0].startswith("data/validation")
    assert both.skipped == 1


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"label": ["a", None, "b"]}, {}, r"1 examples have no class.*parquet/1"),
        ({"label": ["a", "a", "a"]}, {}, "the training labels are all"),
        ({"label": [[0.5], [1.0, 2.0], [0.5]]}, {}, "lists of 1 and of 2 entries"),
        (
            {"label": [{"a": 1}] * 3},
            {},
            r"3 labels are not numbers, texts.*\'label\'.*: \{\'a\': 1\}",
        ),
        ({"word": ["a", "b", "a"]}, {}, "label=COLUMN or mask=COLUMN .*'word'"),
        ({"label": [1, 2, 1]}, {"label": "labl"}, "no column 'labl'.*'label'"),
        ({"label": [1, 2, 1]}, {"image": "label"}, "holds no image files or paths"),
        (
            {"label": [1, 2, 1]},
            {"label": "label", "mask": "image"},
            "exclude each other",
        ),
        ({"label": [1, 2, 1]}, {"void": "255"}, "void= is for masks"),
        (
            {"label": [1, 2, 1]},
            {"classes": "a,b"},
            r"1 labels are not any of .* 'b'\].*/1: 2",
        ),
        ({"label": [1, 2, 1]}, {"task": "regresion"}, "did you mean 'regression'"),
        ({"label": [0.5, 1e300, 1]}, {}, r"not finite numbers \(of float32.*1e\+300"),
        ({"label": [0.5, float("inf"), 1]}, {}, "not finite numbers.*: inf"),
        ({"label": [[0, 1]] * 3}, {}, r"all labels are the list \[0, 1\]"),
        ({"label": ["a", "b", "a"], "x": [1, 2, 1]}, {"label": "x,x"}, "occurs twice"),
        (
            {"label": [0.5, 1, 1]},
            {"task": "classification"},
            r"several types: \['float', 'int'\]",
        ),
        (
            {"label": [[1], [0], [1]]},
            {"task": "classification"},
            "one label per example",
        ),
        ({"label": [1, 2, 1]}, {"test": "none*"}, "no such files"),
        (
            {"label": [1, 2, 1]},
            {"test": "{0..999999999}"},
            "expands to 1000000000 files",
        ),
    ],
)
def test_mistakes_are_told(
    tmp_path: Path, columns: dict[str, Any], options: dict[str, str], message: str
):
    write(tmp_path / "x.parquet", {"image": images(range(3)), **columns})
    with pytest.raises(InputError, match=f"(?s){message}"):
        load(tmp_path, **options)


def test_labels_of_a_hidden_test_split_and_unknown_classes_are_told(tmp_path: Path):
    write_small(tmp_path)
    columns = {"image": images(range(3)), "label": [-1, -1, -1]}
    features = {"image": IMAGE, "label": CLASSES}
    write(tmp_path / "data/test-00000-of-00001.parquet", columns, features)
    with pytest.raises(InputError, match="3 labels are not any of the 3 classes"):
        load(tmp_path)
    for name, label in (("train", ["a", "b"]), ("val", ["a", "c"])):
        columns = {"image": images(range(2)), "label": label}
        write(tmp_path / "other" / f"{name}.parquet", columns)
    with pytest.raises(InputError, match=r"1 labels.*'a', 'b'.*\n.*val.parquet/1: 'c'"):
        load(tmp_path / "other")


def test_files_of_other_columns_and_files_that_are_none_are_told(tmp_path: Path):
    write(tmp_path / "train.parquet", {"image": images(range(2)), "label": [0, 1]})
    write(tmp_path / "test.parquet", {"image": images(range(2)), "class": [0, 1]})
    with pytest.raises(InputError, match="differ in their column 'label'"):
        load(tmp_path)
    (tmp_path / "test.parquet").write_bytes(b"PAR1 not")
    with pytest.raises(InputError, match=r"cannot read .*test\.parquet"):
        load(tmp_path)
    (tmp_path / "train.parquet").unlink()
    with pytest.raises(InputError, match="cannot read"):
        load(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no file that ends in \.parquet"):
        form.check(str(tmp_path / "empty"), {})
    with pytest.raises(InputError, match=r"did you mean 'test\.parquet'"):
        form.check(str(tmp_path / "tset.parquet"), {})


def test_broken_metadata_is_left_aside(tmp_path: Path):
    for text in (b"{", b"[]", b'{"info": 3}', b"[" * 100_000):
        table = pa.table({"image": images(range(2)), "label": ["a", "b"]})
        table = table.replace_schema_metadata({b"huggingface": text})
        pq.write_table(table, tmp_path / "x.parquet")
        assert load(tmp_path).class_names == ("a", "b")


def test_row_groups_are_read_once_and_kept_within_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    listing = load(write_small(tmp_path)).splits["train"]
    kept = parquet_rows._ChunkCache()
    monkeypatch.setattr(parquet_rows, "_cache", kept)
    read: list[int] = []
    real = parquet_rows._read
    monkeypatch.setattr(
        parquet_rows, "_read", lambda *a: (read.append(a[2]), real(*a))[1]
    )
    for i in range(10):  # row groups of 4, 4 and 2 rows
        assert listing.images[i] == png(noise(i))
    assert read == [0, 1, 2]
    monkeypatch.setattr(parquet_rows, "_KEPT_BYTES", 1)
    assert listing.images[12] == png(noise(12))
    assert [group for *_, group, _ in kept._chunks] == [0]
    assert listing.images[0] == png(noise(0))
    assert read == [0, 1, 2, 0, 0]


def test_a_row_group_beyond_the_memory_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write_small(tmp_path)
    monkeypatch.setattr(parquet_rows, "MAX_GROUP_BYTES", 300)
    with pytest.raises(InputError, match=r"row group 0 of .*row_group_size=100"):
        load(tmp_path)


def test_it_can_be_sent_to_another_process_and_damage_is_told(tmp_path: Path):
    listing = load(write_small(tmp_path)).splits["train"]
    again = pickle.loads(pickle.dumps(listing.images))
    assert again[7] == png(noise(7))
    file = tmp_path / "data/train-00001-of-00002.parquet"
    content = bytearray(file.read_bytes())
    content[4:200] = bytes(196)
    file.write_bytes(content)
    with pytest.raises(DecodeError, match="row group cannot be read"):
        _ = [listing.images[i] for i in range(10, 15)]
    file.unlink()
    with pytest.raises(DecodeError, match="row group cannot be read"):
        _ = listing.images[14]


def test_the_options_pass_through_the_grammar(tmp_path: Path):
    spec = parse_spec(f"hf-parquet:{tmp_path}?label=a,b&test=data/x-*&classes=u,v")
    assert spec.options == {"label": "a,b", "test": "data/x-*", "classes": "u,v"}


def test_a_file_written_again_is_read_again(tmp_path: Path):
    file = tmp_path / "x.parquet"

    def rewrite(first: int, count: int = 4) -> Dataset:
        places = range(first, first + count)
        write(file, {"image": images(places), "label": [i % 2 for i in places]})
        return load(file)

    before = rewrite(0).splits["train"].images
    assert before[1] == png(noise(1))
    after = rewrite(10).splits["train"].images
    assert [after[i] for i in range(4)] == [png(noise(i)) for i in range(10, 14)]
    for images_of_old_file, index in ((before, 1), (after, 3)):
        rewrite(20, 2)
        with pytest.raises(
            DecodeError, match="its file has changed since it was listed"
        ):
            _ = images_of_old_file[index]


def test_stamps_follow_the_file_and_no_row_is_read_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    dataset = load(write_small(tmp_path))
    listing = dataset.splits["train"]
    monkeypatch.setattr(parquet_rows, "_read", None)
    before = [stamp(listing.images, i) for i in range(15)]
    assert len({*before}) == 15
    assert before == [stamp(listing.images, i) for i in range(15)]
    file = tmp_path / "data/train-00001-of-00002.parquet"
    status = file.stat()
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    after = [stamp(listing.images, i) for i in range(15)]
    assert after[:10] == before[:10]
    assert {*after[10:]}.isdisjoint(before)
    file.unlink()
    assert "No such file" in stamp(listing.images, 12)


def test_stamps_of_paths_follow_their_files(tmp_path: Path):
    (tmp_path / "0.png").write_bytes(png(noise(0)))
    cells = [cell(None, "0.png"), cell(png(noise(1))), cell(None)]
    write(tmp_path / "x.parquet", {"image": cells, "label": [0, 1, 1]})
    files = load(tmp_path / "x.parquet").splits["train"].images
    before = [stamp(files, i) for i in range(3)]
    (tmp_path / "0.png").write_bytes(png(noise(2)))
    after = [stamp(files, i) for i in range(3)]
    assert [a == b for a, b in zip(after, before, strict=True)] == [False, True, True]
    assert before[2] == "the cell is empty"


def test_numbers_that_may_be_names_are_asked_about(tmp_path: Path):
    columns = {"image": images(range(60)), "label": [*range(60)]}
    write(tmp_path / "x.parquet", columns)
    with pytest.raises(InputError, match=r"60 different .*task=regression"):
        load(tmp_path)
    assert load(tmp_path, task="regression").task == "regression"
    assert len(load(tmp_path, task="classification").class_names) == 60


def test_classes_saved_with_decimals_are_classes_if_told(tmp_path: Path):
    columns = {"image": images(range(4)), "label": [0.0, 1.0, 1.0, 0.0]}
    write(tmp_path / "x.parquet", columns)
    with pytest.raises(InputError, match="give task=classification or task=regre"):
        load(tmp_path)
    assert load(tmp_path, task="regression").task == "regression"
    dataset = load(tmp_path, task="classification")
    assert dataset.class_names == ("0", "1")
    assert dataset.splits["train"].labels.tolist() == [0, 1, 1, 0]
    write(tmp_path / "x.parquet", {**columns, "label": [0.0, 1.0, None, float("nan")]})
    with pytest.raises(InputError, match=r"(?s)2 examples have no .*/2.*/3"):
        load(tmp_path, task="classification")


def test_ids_of_classes_are_no_numbers(tmp_path: Path):
    two = {"names": ["no", "yes"], "_type": "ClassLabel"}
    columns = {
        "image": images(range(4)),
        "fine": [0, 1, 2, 1],
        "coarse": [0, 0, 1, 1],
        "age": [7, 8, 9, 7],
    }
    features = {"image": IMAGE, "fine": CLASSES, "coarse": two}
    write(tmp_path / "x.parquet", columns, features)
    for label in ("coarse,fine", "coarse,age"):
        with pytest.raises(InputError, match=r"holds classes .* alone"):
            load(tmp_path, label=label)
        assert load(tmp_path, label=label, task="regression").task == "regression"
    write(tmp_path / "x.parquet", columns, features | {"fine": two})
    with pytest.raises(InputError, match="'coarse' holds classes"):
        load(tmp_path, label="coarse,fine")
    columns["fine"] = [0, 1, 0, 1]
    write(tmp_path / "x.parquet", columns, features | {"fine": two})
    assert load(tmp_path, label="coarse,fine").task == "multilabel"


def test_damaged_labels_and_columns_of_one_name_are_told(tmp_path: Path):
    file = tmp_path / "x.parquet"
    write(file, {"image": images(range(50)), "label": [i % 3 for i in range(50)]})
    column = pq.read_metadata(file).row_group(0).column(2)
    assert column.path_in_schema == "label"
    content = bytearray(file.read_bytes())
    start = column.dictionary_page_offset
    content[start : start + 20] = b"\xff" * 20
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot read column label of .*x\.parquet"):
        load(tmp_path)
    pair = [pa.array([0, 1]), pa.array([1, 0])]
    table = pa.Table.from_arrays(
        [pa.array(images(range(2))), *pair], names=["image", "label", "label"]
    )
    pq.write_table(table, file)
    with pytest.raises(InputError, match="2 columns are called 'label'"):
        load(tmp_path)


def test_structs_of_bytes_alone_and_paths_as_text_are_images(tmp_path: Path):
    files = [png(noise(i)) for i in range(4)]
    columns = {"image": [{"bytes": file} for file in files], "label": [0, 1, 0, 1]}
    write(tmp_path / "x.parquet", columns)
    assert load(tmp_path / "x.parquet").splits["train"].images[2] == files[2]
    (tmp_path / "in").mkdir()
    for i, file in enumerate(files):
        (tmp_path / "in" / f"{i}.png").write_bytes(file)
    paths = [f"in/{i}.png" for i in range(4)]
    write(tmp_path / "y.parquet", {"where": paths, "label": [0, 1, 0, 1]})
    images = load(tmp_path / "y.parquet", image="where").splits["train"].images
    assert images[3] == tmp_path / "in/3.png"
    before = stamp(images, 3)
    (tmp_path / "in/3.png").write_bytes(files[0])
    assert stamp(images, 3) != before


def test_columns_that_nobody_uses_may_differ(tmp_path: Path):
    some = {"image": images(range(2)), "label": ["a", "b"]}
    write(tmp_path / "train.parquet", {**some, "score": [1.5, 2]})
    write(tmp_path / "test.parquet", {**some, "note": ["x", "y"]})
    assert [*load(tmp_path).splits] == ["train", "test"]
    write(tmp_path / "test.parquet", {"image": images(range(2)), "label": [1.5, 2]})
    with pytest.raises(InputError, match="differ in their column 'label'"):
        load(tmp_path)


def test_backslashes_in_paths_divide_folders(tmp_path: Path):
    (tmp_path / "images").mkdir()
    for i in range(2):
        (tmp_path / "images" / f"{i}.png").write_bytes(png(noise(i)))
    cells = [{"bytes": None, "path": f"images\\{i}.png"} for i in range(2)]
    write(tmp_path / "x.parquet", {"image": cells, "label": ["a", "b"]})
    splits = load(tmp_path / "x.parquet").splits.values()
    found = [split.images[i] for split in splits for i in range(len(split.images))]
    assert len(found) == 2
    assert all(isinstance(path, Path) and path.is_file() for path in found)
