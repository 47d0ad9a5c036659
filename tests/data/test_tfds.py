"""Data sets of TFDS, without TensorFlow: every example, against what was written."""

import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow_datasets as tfds
import tfds_datasets as made
from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordWriter

from jft.data.decode import DecodeError
from jft.data.listing import Dataset, stamp
from jft.data.sources import list_data, open_splits
from jft.data.spec import parse_spec
from jft.data.tfds import read as form
from jft.data.tfds.records import (
    FeatureFiles,
    Features,
    Records,
    find_pieces,
    open_builder,
)
from jft.errors import InputError
from jft.preprocess import Preprocess

FORMATS = ("array_record", "parquet")


@pytest.fixture(scope="module", params=FORMATS)
def home(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """A folder with all data sets, in one of the forms that can be read at random."""
    folder = tmp_path_factory.mktemp(request.param)
    for kind in (made.Small, made.Pets, made.Scenes):
        made.write(kind, folder, request.param)
    return folder


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch):
    def refuse(*args: object) -> None:
        raise AssertionError("asks the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def load(text: str, home: Path, **options: str) -> Dataset:
    pairs = "&".join(f"{name}={value}" for name, value in options.items())
    spec = parse_spec(f"tfds:{text}" + (f"?{pairs}" if pairs else ""))
    return form.load(spec.path, {**spec.options, "dir": str(home)})


def numbers(dataset: Dataset, split: str, kind: type[made.Written]) -> list[int]:
    """Return which of the written examples are in a split, by the images' bytes."""
    feature = "photo" if kind is made.Scenes else "image"
    places = {kind.example(i)[feature]: i for s in kind.SPLITS.values() for i in s}
    listing = dataset.splits[split]
    found = [places[listing.images[i]] for i in range(len(listing.images))]
    assert len(listing.keys) == len({*listing.keys}) == len(found)
    return found


def test_every_example_is_there_with_its_bytes_and_its_class(home: Path):
    dataset = load("small", home)
    assert (dataset.name, dataset.task) == ("small", "classification")
    assert dataset.class_names == made.NAMES
    for split, places in made.Small.SPLITS.items():
        found = numbers(dataset, split, made.Small)
        assert sorted(found) == [*places]
        np.testing.assert_array_equal(dataset.splits[split].labels, np.mod(found, 3))
        assert dataset.splits[split].labels.dtype == np.int32
    assert "tensorflow" not in sys.modules


def test_a_class_that_is_named_is_taken_in_place_of_the_usual_one(home: Path):
    dataset = load("small", home, label="coarse")
    assert dataset.class_names == ("0", "1")
    found = numbers(dataset, "train", made.Small)
    np.testing.assert_array_equal(dataset.splits["train"].labels, np.mod(found, 2))


def test_the_examples_come_in_tfdss_own_order(home: Path):
    builder = tfds.builder_from_directory(home / "small" / "1.0.0")
    if "parquet" in str(builder.info.file_format).lower():
        pytest.skip("TFDS's reader of Parquet takes no parts of splits")
    skip = {"image": tfds.decode.SkipDecoding()}
    for split in ("train", "train[10:25]", "test[:20%]+train[-5:]"):
        theirs = builder.as_data_source(split, decoders=skip)
        ours = load("small", home, train=split, test="test[90%:]")
        images = ours.splits["train"].images
        assert len(images) == len(theirs)
        for i, example in enumerate(theirs):
            assert images[i] == example["image"]
            assert ours.splits["train"].labels[i] == example["label"]


def test_parts_of_splits_are_those_of_the_whole_split(home: Path):
    whole = numbers(load("small", home), "train", made.Small)
    cut = load("small", home, train="train[:75%]", test="train[75%:]")
    assert numbers(cut, "train", made.Small) == whole[:30]
    assert numbers(cut, "test", made.Small) == whole[30:]
    both = load("small", home, train="train[:10]+train[20:]", test="test")
    assert numbers(both, "train", made.Small) == whole[:10] + whole[20:]
    keys = load("small", home).splits["train"].keys
    assert cut.splits["test"].keys == keys[30:]


def test_names_and_fingerprints_do_not_depend_on_the_form_or_the_place(tmp_path: Path):
    found = []
    for file_format in FORMATS:
        made.write(made.Small, tmp_path / file_format, file_format)
        found.append(load("small", tmp_path / file_format))
    assert found[0].fingerprint == found[1].fingerprint
    assert found[0].splits["train"].keys == found[1].splits["train"].keys
    other = load("small", tmp_path / "parquet", label="coarse")
    assert other.fingerprint != found[0].fingerprint


def test_validation_stands_in_for_test_and_else_a_fifth_is_held_out(
    home: Path, monkeypatch: pytest.MonkeyPatch
):
    all_three = form.Prepared(home, "x", "parquet", ("train", "validation", "test"))
    assert form.split_names(all_three, {}) == {"train": "train", "test": "test"}
    dataset = load("pets", home, label="label")
    assert sorted(numbers(dataset, "test", made.Pets)) == [*range(12, 18)]
    monkeypatch.setenv("TFDS_DATA_DIR", str(home))
    listed = list_data("tfds:scenes?label=labels")
    assert [len(listed.splits[s].keys) for s in ("train", "test")] == [16, 4]


def test_a_trimap_of_1_2_3_becomes_places_0_1_2(home: Path):
    dataset = load("pets", home, label="segmentation_mask")
    assert (dataset.task, dataset.class_names) == ("segmentation", ("1", "2", "3"))
    for split in ("train", "test"):
        for place, i in enumerate(numbers(dataset, split, made.Pets)):
            expected = made.noise(i, (7 + i, 9), 3)
            np.testing.assert_array_equal(dataset.splits[split].labels[place], expected)
    named = load("pets", home, label="segmentation_mask", classes="pet,other,edge")
    assert named.class_names == ("pet", "other", "edge")


def test_masks_with_named_classes_keep_their_names(home: Path):
    dataset = load("scenes", home, label="map")
    assert dataset.class_names == ("sky", "sea")
    for place, i in enumerate(numbers(dataset, "train", made.Scenes)):
        expected = made.noise(i, (5, 4), 2)
        np.testing.assert_array_equal(dataset.splits["train"].labels[place], expected)


@pytest.mark.parametrize("label", ["labels", "objects/kind"])
def test_lists_of_classes_are_labels(home: Path, label: str):
    dataset = load("scenes", home, label=label)
    assert (dataset.task, dataset.class_names) == ("multilabel", made.NAMES)
    for place, i in enumerate(numbers(dataset, "train", made.Scenes)):
        has = [*range(i % 4)] if label == "labels" else [i % 3] * (i % 3)
        expected = [int(k in has) for k in range(3)]
        assert dataset.splits["train"].labels[place].tolist() == expected


def test_truths_are_labels_and_all_parts_of_a_feature_can_be_meant(home: Path):
    dataset = load("scenes", home, label="attributes")
    assert dataset.task == "multilabel"
    assert {*dataset.class_names} == {"attributes/indoors", "attributes/night"}
    night = dataset.class_names.index("attributes/night")
    for place, i in enumerate(numbers(dataset, "train", made.Scenes)):
        row = dataset.splits["train"].labels[place]
        assert (row[1 - night], row[night]) == (i % 2 == 0, i % 5 == 0)


@pytest.mark.parametrize(
    ("label", "names"), [("age", ("age",)), ("place", ("place/0", "place/1"))]
)
def test_numbers_are_regressed(home: Path, label: str, names: tuple[str, ...]):
    dataset = load("scenes", home, label=label)
    assert (dataset.task, dataset.class_names) == ("regression", names)
    found = numbers(dataset, "train", made.Scenes)
    expected = np.stack([made.Scenes.example(i)[label] for i in found]).reshape(20, -1)
    np.testing.assert_array_equal(dataset.splits["train"].labels, expected)
    assert dataset.splits["train"].labels.dtype == np.float64


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("pets", {}, "label=FEATURE must select the label; .*species.*class"),
        ("pets", {"label": "specie"}, "no feature 'specie'; did you mean 'species'"),
        ("pets", {"label": "file_name"}, "valid are one feature with"),
        ("scenes", {"label": "labels", "image": "photos"}, "did you mean 'photo'"),
        ("scenes", {"label": "place,age"}, "several with one number each"),
        ("small", {"label": "label,coarse"}, "one of two classes each"),
        ("pets", {"label": "species,label"}, "one of two classes each"),
        ("scenes", {"label": "labels", "void": "255"}, "void= is for masks"),
        ("small", {"train": "trian"}, "no split 'trian'.*did you mean 'train'"),
        ("small", {"train": "train[:"}, "no split"),
        ("small", {"test": "train[:10%]"}, "4 examples are in train= and in test="),
        ("small", {"train": "train+train[:3]"}, "train= has examples twice"),
        ("smal", {}, "is not prepared in .*did you mean 'small'.*download_and_prepare"),
        ("small:2.0.0", {}, "no version 2.0.0 .* but ..1.0.0"),
        ("small:a:b:c", {}, "valid is NAME"),
        ("../small", {}, "valid is NAME"),
    ],
)
def test_mistakes_are_told(
    home: Path, text: str, options: dict[str, str], message: str
):
    with pytest.raises(InputError, match=f"(?s){message}"):
        load(text, home, **options)


def test_a_form_without_random_access_says_how_to_convert_it(
    home: Path, tmp_path: Path
):
    shutil.copytree(home / "small", tmp_path / "small")
    path = tmp_path / "small" / "1.0.0" / "dataset_info.json"
    info = json.loads(path.read_text())
    file_format, info["fileFormat"] = info["fileFormat"], "tfrecord"
    path.write_text(json.dumps(info))
    with pytest.raises(InputError, match=r"tfds convert_format .*out_file_format"):
        form.check("small", {"dir": str(tmp_path)})
    # What the command leaves behind: both forms, the other one first.
    path.write_text(json.dumps(info | {"alternativeFileFormats": [file_format]}))
    assert load("small", tmp_path).fingerprint == load("small", home).fingerprint
    path.write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        form.check("small", {"dir": str(tmp_path)})


def test_configurations_and_versions_are_found(home: Path, tmp_path: Path):
    source = home / "small" / "1.0.0"
    for place in ("many/a/1.0.0", "many/b/1.0.0", "one/a/1.9.0", "one/a/1.10.0"):
        shutil.copytree(source, tmp_path / place)
    options = {"dir": str(tmp_path)}
    with pytest.raises(InputError, match=r"(?s)configurations:.*many:a.*many:b"):
        form.check("many", options)
    for name in ("many:b", "many/b", "many:b:1.0.0"):
        assert form.find_prepared(name, options).name == "many/b/1.0.0"
    assert form.find_prepared("one", options).name == "one/a/1.10.0"
    assert form.find_prepared("one:a:1.9.0", options).name == "one/a/1.9.0"


def test_it_can_be_sent_to_another_process_with_no_open_file(home: Path):
    listing = load("pets", home, label="segmentation_mask").splits["train"]
    before = listing.images[3], listing.labels[3]
    sent = pickle.dumps((listing.images, listing.labels))
    assert len(sent) < 10_000
    images, masks = pickle.loads(sent)
    assert images[3] == before[0]
    np.testing.assert_array_equal(masks[3], before[1])


def test_a_damaged_file_is_told(home: Path, tmp_path: Path):
    shutil.copytree(home / "small", tmp_path / "small")
    dataset = load("small", tmp_path)
    shard = next((tmp_path / "small" / "1.0.0").glob("small-train*"))
    content = shard.read_bytes()
    for length in (0, 100, len(content) // 2, len(content) - 20):
        shard.write_bytes(content[:length])
        with pytest.raises(InputError, match=rf"cannot read .*{shard.name}': \S+"):
            load("small", tmp_path)
    images = pickle.loads(pickle.dumps(dataset.splits["train"].images))
    with pytest.raises(DecodeError, match="cannot be read"):
        _ = images[0]
    shard.unlink()
    for broken in ("nothing", "a pipe"):
        with pytest.raises(InputError, match="is missing"):
            load("small", tmp_path)
        if broken == "nothing":
            os.mkfifo(shard)


def test_a_set_of_several_files_is_read_in_order(home: Path, tmp_path: Path):
    file_format = home.name.rstrip("0123456789")
    made.write(made.Small, tmp_path, file_format, shards=5)
    assert len([*(tmp_path / "small/1.0.0").glob("small-train*")]) == 5
    one, five = load("small", home), load("small", tmp_path)
    for split, places in made.Small.SPLITS.items():
        found = numbers(five, split, made.Small)
        assert found == numbers(one, split, made.Small)
        assert sorted(found) == [*places]
        np.testing.assert_array_equal(five.splits[split].labels, np.mod(found, 3))
    assert five.splits["train"].keys[8] == "small-train-00001-of-00005/0"
    whole = numbers(five, "train", made.Small)
    cut = load("small", tmp_path, train="train[:11]+train[20:]", test="train[11:20]")
    assert numbers(cut, "train", made.Small) == whole[:11] + whole[20:]
    assert numbers(cut, "test", made.Small) == whole[11:20]
    assert cut.splits["test"].keys == five.splits["train"].keys[11:20]


def test_stamps_follow_the_file_and_no_record_is_read_for_them(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made.write(made.Small, tmp_path, home.name.rstrip("0123456789"), shards=2)
    files = load("small", tmp_path, train="train[5:]").splits["train"].images
    monkeypatch.setattr(Records, "__getitem__", None)
    before = [stamp(files, i) for i in range(35)]
    assert len({*before}) == 35
    whole = load_files(tmp_path)
    assert [stamp(whole, i) for i in range(5, 40)] == before
    shard = next((tmp_path / "small" / "1.0.0").glob("small-train*00001-of*"))
    os.utime(shard, (1, 1))
    after = [stamp(files, i) for i in range(35)]
    assert after[:15] == before[:15]
    assert {*after[15:]}.isdisjoint(before)


def load_files(home: Path) -> FeatureFiles:
    """Return the images of all of `small`, unread."""
    prepared = form.find_prepared("small", {"dir": str(home)})
    pieces = find_pieces(prepared, open_builder(prepared), "train")
    return FeatureFiles(Features(Records(prepared, pieces), ("image",)), "image")


def rewrite(home: Path, tmp_path: Path, records: Callable[[list[bytes]], list[bytes]]):
    """Write the training records of `small` again, changed."""
    shutil.copytree(home / "small", tmp_path / "small")
    shard = next((tmp_path / "small" / "1.0.0").glob("small-train*"))
    if "parquet" in shard.name:
        old = pq.read_table(shard).column("data").to_pylist()
        pq.write_table(pa.table({"data": records(old)}), shard)
    else:
        source = ArrayRecordDataSource([str(shard)])
        old = [source[i] for i in range(len(source))]
        writer = ArrayRecordWriter(str(shard), "group_size:1")
        for record in records(old):
            writer.write(record)
        writer.close()


@pytest.mark.parametrize("change", [[b"x"], None])
def test_records_more_or_fewer_than_described_are_told(
    home: Path, tmp_path: Path, change: list[bytes] | None
):
    rewrite(home, tmp_path, lambda old: old + change if change else old[:-1])
    count = 41 if change else 39
    message = rf"small-train.* has {count} records, and dataset_info.json gives 40"
    for options in ({}, {"train": "train[:10]"}):
        with pytest.raises(InputError, match=message):
            load("small", tmp_path, **options)


def test_records_that_are_no_examples_are_told(home: Path, tmp_path: Path):
    def without_image(record: bytes) -> bytes:
        return record.replace(b"\x05image", b"\x05imago")

    for i, (change, message) in enumerate(
        [
            (lambda record: b"\xff" * 9, "its record cannot be understood"),
            (without_image, "its record has no 'image'"),
        ]
    ):
        rewrite(
            home,
            tmp_path / str(i),
            lambda old, change=change: [*old[:3], change(old[3]), *old[4:]],
        )
        with pytest.raises(InputError, match=f"small-train.*/3: {message}"):
            load("small", tmp_path / str(i))


def test_ids_of_two_classes_are_no_truths(tmp_path: Path):
    made.write(made.Pair, tmp_path)
    dataset = load("pair", tmp_path)
    assert (dataset.task, dataset.class_names) == ("multilabel", made.NAMES[:2])
    for place, i in enumerate(numbers(dataset, "train", made.Pair)):
        expected = [int(i % 2 == 0), int(i % 2 == 1)]
        assert dataset.splits["train"].labels[place].tolist() == expected


def test_the_squares_are_the_pixels_that_were_written(home: Path):
    dataset = load("small", home)
    splits = open_splits(dataset, Preprocess(size=6, crop_fraction=1.0))
    assert splits.report.used == 55
    for place, i in enumerate(numbers(dataset, "test", made.Small)):
        np.testing.assert_array_equal(
            splits.test.images[place], made.noise(i, (6, 6, 3))
        )


def test_checking_imports_no_tfds(home: Path):
    code = (
        "import sys; from jft.data.tfds import read as tfds\n"
        f"tfds.check('small', {{'dir': {str(home)!r}}})\n"
        "print({'tensorflow_datasets', 'array_record', 'pyarrow'} & {*sys.modules})"
    )
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"
