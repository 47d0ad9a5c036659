import csv
import hashlib
import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import jft.data.sources as sources
from jft.data import folder
from jft.data.images import Files
from jft.data.sources import DataReport, Splits, open_splits, require_readable
from jft.data.split import held_out
from jft.data.walk import list_images
from jft.errors import InputError
from jft.preprocess import Preprocess

NASTY = Path(__file__).parents[3] / "shared" / "data" / "nasty"
SMALL = Preprocess(size=8, crop_fraction=1.0)


def put(path: Path, level: int = 0) -> Path:
    """Write a flat grey 8 x 8 image; its level says later which file it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (level, level, level)).save(path, format="PNG")
    return path


def classes(root: Path, **counts: int) -> Path:
    """Make a folder of class folders with that many images; levels count up."""
    level = 0
    for name, count in counts.items():
        for i in range(count):
            put(root / name / f"{i:03}.png", level % 256)
            level += 1
    return root


def open_folder(root: Path, **options: int) -> Splits:
    return open_splits(f"folder:{root}", SMALL, **options)


def levels(source: sources.Source) -> list[int]:
    return [int(source[i][0][0, 0, 0]) for i in range(len(source))]


def test_digits_have_a_fixed_stratified_split():
    splits = open_splits("digits", SMALL)
    assert (len(splits.train), len(splits.test)) == (1438, 359)
    assert splits.class_names == tuple("0123456789")
    assert splits.name == "digits"
    total = np.bincount(np.concatenate([splits.train.labels, splits.test.labels]))
    expected = np.round(total * 0.2).astype(int)
    np.testing.assert_array_equal(np.bincount(splits.test.labels), expected)
    assert splits.report == DataReport(found=1797, used=1797)
    # pinned: a new split or new bytes would make old results incomparable
    assert splits.fingerprint.startswith("51dd205dc4d26ec2")


def test_digits_are_scaled_to_bytes_in_three_channels():
    load_digits = pytest.importorskip("sklearn.datasets").load_digits
    splits = open_splits("digits", SMALL)
    raw = np.rint(load_digits().images * 255 / 16).astype(np.uint8)
    ours = np.concatenate(
        [np.asarray(splits.train.images), np.asarray(splits.test.images)]
    )
    assert ours.dtype == np.uint8
    assert (ours == ours[..., :1]).all()
    ours_sorted = sorted(image.tobytes() for image in ours[..., 0])
    assert ours_sorted == sorted(image.tobytes() for image in raw)


def test_digits_resize_and_ignore_the_crop():
    large = open_splits("digits", Preprocess(size=16, crop_fraction=0.5))
    small = open_splits("digits", SMALL)
    image, label = large.test[7]
    grey = Image.fromarray(small.test[7][0])
    expected = np.asarray(grey.resize((16, 16), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(image, expected)
    assert label == small.test[7][1]
    assert large.fingerprint == small.fingerprint


def test_labels_follow_sorted_folders_and_images_follow_labels(tmp_path: Path):
    classes(tmp_path, zebra=5, ant=10, bee=5)
    splits = open_folder(tmp_path)
    assert splits.class_names == ("ant", "bee", "zebra")
    assert splits.name == tmp_path.name
    for source in (splits.train, splits.test):
        assert source.labels.dtype == np.int32
        for level, label in zip(levels(source), source.labels, strict=True):
            assert label == (2 if level < 5 else 0 if level < 15 else 1)
    assert sorted(levels(splits.train) + levels(splits.test)) == list(range(20))


def test_a_fifth_is_held_out_and_something_of_each_class(tmp_path: Path):
    classes(tmp_path, a=1, b=2, c=3, d=300)
    splits = open_folder(tmp_path)
    train, test = (Counter(s.labels.tolist()) for s in (splits.train, splits.test))
    assert train + test == {0: 1, 1: 2, 2: 3, 3: 300}
    assert train[0] == train[1] == test[1] == 1
    assert 1 <= test[2] <= 2
    assert abs(test[3] - 60) < 3 * 7  # binomial: the deviation is 7


def test_what_is_held_out_is_a_threshold_on_the_hash_of_each_key():
    keys = [f"{i}.png" for i in range(2000)]
    digests = [hashlib.sha256(key.encode()).hexdigest() for key in keys]
    fifth = "33333333"  # of ffffffff
    expected = [digest[:8] <= fifth for digest in digests]
    np.testing.assert_array_equal(held_out(keys, [0] * 2000), expected)
    assert 360 < sum(expected) < 440


def test_nothing_moves_when_examples_are_added():
    rng = np.random.default_rng(0)
    keys = [f"{i}.png" for i in range(3000)]
    labels = rng.integers(0, 7, 3000).tolist()
    whole = held_out(keys, labels)
    for count in (300, 301, 2000):
        np.testing.assert_array_equal(
            held_out(keys[:count], labels[:count]), whole[:count]
        )
    mixed = rng.permutation(3000)
    again = held_out([keys[i] for i in mixed], [labels[i] for i in mixed])
    np.testing.assert_array_equal(again, whole[mixed])


@pytest.mark.parametrize("side", [False, True])
def test_a_class_all_of_one_side_gives_one_to_the_other(side: bool):
    keys = [f"{i}" for i in range(400)]
    mask = held_out(keys, [0] * 400)
    some = [key for key, test in zip(keys, mask, strict=True) if test == side][:9]
    found = held_out(some, [4] * 9)
    assert Counter(found.tolist()) == {side: 8, not side: 1}
    hashes = [hashlib.sha256(key.encode()).digest() for key in some]
    chosen = hashes.index((max if side else min)(hashes))
    assert found[chosen] != side
    assert not held_out(some[:1], [4]).any()  # one alone is trained on


def test_split_is_the_same_wherever_the_folder_lies(tmp_path: Path):
    first = open_folder(classes(tmp_path / "here", a=30, b=30))
    second = open_folder(classes(tmp_path / "there", a=30, b=30), workers=1)
    assert levels(first.test) == levels(second.test)
    assert first.fingerprint == second.fingerprint


def test_an_added_file_moves_no_other(tmp_path: Path):
    before = set(levels(open_folder(classes(tmp_path, a=40, b=40)).test))
    for i in range(12):
        put(tmp_path / "a" / f"new{i}.png", 200 + i)
        after = {level for level in levels(open_folder(tmp_path).test) if level < 200}
        assert after == before


def test_fingerprint_changes_with_path_size_label_and_split(tmp_path: Path):
    root = classes(tmp_path / "train", a=2, b=2).parent
    classes(root / "val", a=2, b=2)
    seen = {open_folder(root).fingerprint}
    (root / "train/a/000.png").rename(root / "train/a/x.png")
    seen.add(open_folder(root).fingerprint)
    Image.new("RGB", (99, 99)).save(root / "train/a/x.png")
    seen.add(open_folder(root).fingerprint)
    (root / "train/a/x.png").rename(root / "train/b/x.png")
    seen.add(open_folder(root).fingerprint)
    (root / "train/b/x.png").rename(root / "val/b/x.png")
    seen.add(open_folder(root).fingerprint)
    assert len(seen) == 5


@pytest.mark.parametrize("train", ["train", "Training"])
@pytest.mark.parametrize("test", ["val", "valid", "validation", "test", "Testing"])
def test_given_splits_are_used(tmp_path: Path, train: str, test: str):
    classes(tmp_path / train, a=3, b=2)
    classes(tmp_path / test, a=1, b=1)
    splits = open_folder(tmp_path)
    assert levels(splits.train) == [0, 1, 2, 3, 4]
    assert splits.test.labels.tolist() == [0, 1]


def test_val_goes_before_test(tmp_path: Path):
    for name, count in {"train": 3, "val": 2, "test": 4}.items():
        classes(tmp_path / name, a=count, b=count)
    assert len(open_folder(tmp_path).test) == 4


def test_a_third_split_is_counted_as_skipped(tmp_path: Path):
    for name, count in {"train": 3, "val": 2, "test": 4}.items():
        classes(tmp_path / name, a=count, b=count)
    (tmp_path / "test/a/notes.txt").touch()
    classes(tmp_path, drafts=5)
    report = open_folder(tmp_path).report
    assert (report.found, report.skipped) == (10, 8 + 1 + 1)


def test_array_backed_and_file_backed_give_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    classes(tmp_path, a=20, b=20)
    (tmp_path / "a/005.png").write_bytes(b"broken")
    kept = open_folder(tmp_path)
    monkeypatch.setattr(sources, "IN_MEMORY_BYTES", 40 * 8 * 8 * 3 - 1)
    read = open_folder(tmp_path)
    assert isinstance(kept.train.images, np.ndarray)
    assert isinstance(read.train.images, Files)
    assert kept.report == read.report
    assert kept.fingerprint == read.fingerprint
    for one, other in ((kept.train, read.train), (kept.test, read.test)):
        np.testing.assert_array_equal(one.labels, other.labels)
        assert len(one) == len(other) == len(one.images) == len(other.images)
        for i in range(len(one)):
            np.testing.assert_array_equal(one[i][0], other[i][0])


def test_memory_limit_is_met_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    classes(tmp_path, a=20, b=20)
    monkeypatch.setattr(sources, "IN_MEMORY_BYTES", 40 * 8 * 8 * 3)
    assert isinstance(open_folder(tmp_path).train.images, np.ndarray)


def test_rejected_images_do_not_shift_labels(tmp_path: Path):
    classes(tmp_path, a=30, b=30)
    for i in (0, 7, 29):
        (tmp_path / "a" / f"{i:03}.png").write_bytes(b"<html>")
    splits = open_folder(tmp_path)
    report = splits.report
    assert (report.found, report.used) == (60, 57)
    assert sorted(path for path, _ in report.rejected) == [
        os.path.join("a", f"{i:03}.png") for i in (0, 7, 29)
    ]
    for source in (splits.train, splits.test):
        for level, label in zip(levels(source), source.labels, strict=True):
            assert label == (level >= 30)


def test_one_percent_is_the_limit(tmp_path: Path):
    classes(tmp_path, a=100, b=100)
    for name in ("000", "001"):
        (tmp_path / "a" / f"{name}.png").write_bytes(b"")
    require_readable(open_folder(tmp_path))
    (tmp_path / "b" / "007.png").write_bytes(b"\0" * 9)
    splits = open_folder(tmp_path)
    with pytest.raises(InputError, match="3 of 200 images cannot be read") as caught:
        require_readable(splits)
    message = str(caught.value)
    assert "data_report.json" in message
    assert "the file is empty" in message
    assert repr(os.path.join("b", "007.png")) in message


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_of_which_nothing_counts_is_refused(tmp_path: Path, split: str):
    rows = ["path,label,split,weight"]
    for i in range(8):
        put(tmp_path / f"{i}.png", i)
        part = "train" if i < 4 else "val"
        rows.append(f"{i}.png,{'xy'[i % 2]},{part},{float(part != split)}")
    (tmp_path / "t.csv").write_text("\n".join(rows))
    splits = open_splits(f"csv:{tmp_path / 't.csv'}", SMALL)
    name = {"train": "train", "val": "test"}[split]
    with pytest.raises(InputError, match=f"all weights of {name} are 0"):
        require_readable(splits)


def test_nothing_readable_is_a_report_and_then_an_error(tmp_path: Path):
    classes(tmp_path, a=4, b=4)
    for path in tmp_path.rglob("*.png"):
        path.write_bytes(b"")
    splits = open_folder(tmp_path)
    assert (len(splits.train), len(splits.test)) == (0, 0)
    with pytest.raises(InputError, match="8 of 8"):
        require_readable(splits)


def test_what_is_no_image_is_skipped_and_counted(tmp_path: Path):
    classes(tmp_path, a=5, b=5)
    (tmp_path / "README.md").write_text("loose")
    (tmp_path / "a/notes.txt").write_text("text")
    (tmp_path / "a/.DS_Store").write_bytes(b"litter")
    put(tmp_path / "a/.hidden.png")
    put(tmp_path / "a/.cache/thumb.png")
    put(tmp_path / ".git/x.png")
    put(tmp_path / "loose.png")
    Image.new("P", (8, 8)).save(tmp_path / "a/moving.gif")
    (tmp_path / "b/loop").symlink_to(tmp_path)
    report = open_folder(tmp_path).report
    assert (report.found, report.used, report.rejected) == (10, 10, ())
    assert report.skipped == 9


def test_images_are_found_at_any_depth_in_sorted_order(tmp_path: Path):
    classes(tmp_path, a=1, b=1)
    put(tmp_path / "a/z/deep/er/x.PNG")
    put(tmp_path / "a/folder.jpg/y.jpeg")
    names, skipped = list_images(tmp_path / "a")
    expected = ["000.png", "folder.jpg/y.jpeg", "z/deep/er/x.PNG"]
    assert [name.replace(os.sep, "/") for name in names] == expected
    assert skipped == 0


def test_special_files_are_rejected_without_waiting(tmp_path: Path):
    classes(tmp_path, a=5, b=5)
    os.mkfifo(tmp_path / "a/fifo.jpg")
    (tmp_path / "a/loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "a/gone.jpg").symlink_to("nowhere.jpg")
    report = open_folder(tmp_path).report
    assert (report.found, report.used, len(report.rejected)) == (13, 10, 3)
    assert dict(report.rejected)[os.path.join("a", "fifo.jpg")].endswith("regular file")


def test_any_file_name_loads_and_can_be_reported(tmp_path: Path):
    names = [
        "new\nline",
        "tab\tname",
        "back\\slash",
        "空 ü",
        "-dash",
        "glob[1]*",
        "$HOME",
    ]
    names.append(os.fsdecode(b"undecodable\xff"))
    for i, name in enumerate(names):
        put(tmp_path / "a ü\n" / f"{name}.png", i)
        put(tmp_path / os.fsdecode(b"b\xfe") / f"{name}.png", 100 + i)
    splits = open_folder(tmp_path)
    everything = sorted(levels(splits.train) + levels(splits.test))
    assert everything == [*range(8), *range(100, 108)]
    for path in tmp_path.rglob("*.png"):
        path.write_bytes(b"")
    splits = open_folder(tmp_path)
    report = splits.report
    (tmp_path / "data_report.json").write_text(report.to_json(), encoding="ascii")
    again = json.loads((tmp_path / "data_report.json").read_text())
    assert [(entry["path"], entry["reason"]) for entry in again["rejected"]] == list(
        report.rejected
    )
    assert again["found"] == again["used"] + len(again["rejected"]) == 16
    with pytest.raises(InputError) as caught:
        require_readable(splits)
    str(caught.value).encode()  # a terminal can show it


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    classes(tmp_path / "pets", a=2, b=2)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(open_splits("folder:~/pets", SMALL).train) == 2


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("fodler:x", ["unknown data 'fodler:x'", "did you mean 'folder'", "digits"]),
        ("digit", ["did you mean 'digits'", "folder:PATH"]),
        ("digits:8", ["unknown data 'digits:8'"]),
        ("folder:", ["unknown data 'folder:'", "folder:PATH"]),
        ("", ["unknown data ''", "folder:PATH"]),
    ],
)
def test_unknown_data(spec: str, parts: list[str]):
    with pytest.raises(InputError) as caught:
        open_splits(spec, SMALL)
    assert all(part in str(caught.value) for part in parts)


def test_a_bare_path_gets_the_scheme_suggested(tmp_path: Path):
    with pytest.raises(InputError, match="did you mean 'folder:"):
        open_splits(str(tmp_path), SMALL)


def test_a_missing_folder_names_its_neighbours(tmp_path: Path):
    classes(tmp_path / "flowers", a=1, b=1)
    with pytest.raises(InputError, match=r"no such file.*did you mean 'flowers'"):
        open_folder(tmp_path / "flower")
    with pytest.raises(InputError, match="no such file"):
        open_folder(tmp_path / "no" / "parent")


def test_a_file_is_no_folder(tmp_path: Path):
    with pytest.raises(InputError, match="not a directory"):
        open_folder(put(tmp_path / "a.png"))


def test_too_few_classes(tmp_path: Path):
    with pytest.raises(InputError, match="has 0 class folders"):
        open_folder(tmp_path)
    classes(tmp_path, cat=3)
    with pytest.raises(InputError, match=r"1 class folders \['cat'\].*at least 2"):
        open_folder(tmp_path)


def test_classes_without_images_are_all_named(tmp_path: Path):
    classes(tmp_path, a=3)
    (tmp_path / "c").mkdir()
    (tmp_path / "b").mkdir()
    with pytest.raises(InputError, match=r"\['b', 'c'\].*\.jpeg"):
        open_folder(tmp_path)


def test_a_single_image_per_class_cannot_be_split(tmp_path: Path):
    with pytest.raises(InputError, match="at least two images"):
        open_folder(classes(tmp_path, a=1, b=1))


@pytest.mark.parametrize("name", ["train", "test"])
def test_half_a_split_is_not_taken_for_a_class(tmp_path: Path, name: str):
    classes(tmp_path / name, a=1, b=1)
    classes(tmp_path / "other", a=1, b=1)
    with pytest.raises(InputError, match=f"has '{name}' but not the other split"):
        open_folder(tmp_path)


def test_classes_that_differ_are_all_named(tmp_path: Path):
    classes(tmp_path / "train", zebra=1, cat=1, dog=1)
    classes(tmp_path / "val", cat=1, dogs=1, oyster=1)
    with pytest.raises(InputError) as caught:
        open_folder(tmp_path)
    lines = str(caught.value).splitlines()[1:]
    assert lines == [
        "  'dog' only in 'train'; did you mean 'dogs'?",
        "  'dogs' only in 'val'; did you mean 'dog'?",
        "  'oyster' only in 'val'",
        "  'zebra' only in 'train'",
    ]


def test_many_classes_that_differ_are_told_at_once(tmp_path: Path):
    one = tuple(f"class {i}" for i in range(4000))
    other = tuple(f"classes {i}" for i in range(4000))
    with pytest.raises(InputError, match="and 7980 more"):
        folder._require_same_classes({"train": "train", "test": "val"}, one, other)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list anything")
def test_a_folder_that_cannot_be_listed_is_not_passed_over(tmp_path: Path):
    classes(tmp_path, a=2, b=2)
    (tmp_path / "a/secret").mkdir(mode=0)
    with pytest.raises(InputError, match=r"cannot list folder.*permission denied"):
        open_folder(tmp_path)


@pytest.mark.real_data
@pytest.mark.skipif(not NASTY.exists(), reason="needs ../shared/data")
def test_the_nasty_folder_adds_up():
    with (NASTY / "MANIFEST.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    splits = open_folder(NASTY)
    report = splits.report
    assert report.found == report.used + len(report.rejected)
    assert report.used == len(splits.train) + len(splits.test)
    with pytest.raises(InputError, match=r"data_report\.json"):
        require_readable(splits)
    listed = {
        os.path.join(name, image)
        for name in splits.class_names
        for image in list_images(NASTY / name)[0]
    }
    assert len(listed) == report.found
    rejected = dict(report.rejected)
    for row in rows:
        if row["expect"] in ("skip", "skip_ext"):
            assert row["file"] not in listed
        elif row["expect"] == "load":
            assert row["file"] in listed
            assert row["file"] not in rejected
        elif row["expect"] == "error" and not row["file"].startswith("masks/"):
            assert row["file"] in rejected
    # Files the manifest does not know (copies that tar or git cannot carry) load too.
    assert set(rejected) <= {row["file"] for row in rows}


@pytest.mark.parametrize(
    ("train", "test", "others"),
    [
        ("seg_train/seg_train", "seg_test/seg_test", ["seg_pred"]),  # Intel, on Kaggle
        ("training_set/training_set", "test_set/test_set", []),  # cats and dogs
        ("Training", "Testing", []),
        ("TrainImages", "ValImages", ["TestImages"]),
        ("data-train", "data-dev", []),
        ("train", "holdout", []),
    ],
)
def test_split_folders_of_other_names(
    tmp_path: Path, train: str, test: str, others: list[str]
):
    classes(tmp_path / train, a=3, b=2)
    classes(tmp_path / test, a=1, b=1)
    for name in others:
        put(tmp_path / name / "inner/1.png")
    splits = open_folder(tmp_path)
    assert splits.class_names == ("a", "b")
    assert (len(splits.train), len(splits.test)) == (5, 2)
    assert splits.report.skipped == len(others)


def test_split_folders_can_be_chosen(tmp_path: Path):
    classes(tmp_path / "one", a=3, b=2)
    classes(tmp_path / "two/in", a=1, b=2)
    put(tmp_path / "test/unlabelled.png")
    both = open_splits(f"folder:{tmp_path}?train=one&test=two/in", SMALL)
    assert (len(both.train), len(both.test)) == (5, 3)
    alone = open_splits(f"folder:{tmp_path}?train=one", SMALL)
    assert len(alone.train) + len(alone.test) == 5
    for name in ("train", "train_1"):
        classes(tmp_path / "words" / name, x=2)
    whole = open_splits(f"folder:{tmp_path}/words?train=.", SMALL)
    assert whole.class_names == ("train", "train_1")
    with pytest.raises(InputError, match="needs train=FOLDER"):
        open_splits(f"folder:{tmp_path}?test=one", SMALL)
    with pytest.raises(InputError, match=r"cannot list folder.*did you mean 'one'"):
        open_splits(f"folder:{tmp_path}?train=onne", SMALL)


def test_split_folders_that_are_unclear_are_told(tmp_path: Path):
    for name in ("train_1", "train_2", "test_1"):
        classes(tmp_path / "several" / name, a=2, b=2)
    with pytest.raises(InputError, match=r"several train folders.*train=FOLDER"):
        open_folder(tmp_path / "several")
    classes(tmp_path / "half/my_train", a=2, b=2)
    classes(tmp_path / "half/rest", a=2, b=2)
    with pytest.raises(InputError, match=r"'my_train' but not.*train=\. takes all"):
        open_folder(tmp_path / "half")
    for name in ("cat", "dog"):
        classes(tmp_path / "inside" / name, train=2, test=2)
    with pytest.raises(InputError, match="the other order: train/CLASS"):
        open_folder(tmp_path / "inside")


def test_class_names_with_words_of_splits_stay_classes(tmp_path: Path):
    classes(tmp_path, freight_train=3, crash_test=3, dev_board=3)
    expected = ("crash_test", "dev_board", "freight_train")
    assert open_folder(tmp_path).class_names == expected


SYSTEM = ("@eaDir", "__MACOSX", ".ipynb_checkpoints", "lost+found", "$RECYCLE.BIN")


@pytest.mark.parametrize("name", [*SYSTEM, "System Volume Information", "#recycle"])
def test_folders_of_systems_are_no_classes(tmp_path: Path, name: str):
    classes(tmp_path, cat=4, dog=4)
    put(tmp_path / name / "cat" / "thumb.png")
    put(tmp_path / "cat" / name / "thumb.png")
    (tmp_path / "cat" / "Thumbs.db").touch()
    splits = open_folder(tmp_path)
    assert splits.class_names == ("cat", "dog")
    assert (splits.report.found, splits.report.skipped) == (8, 3)


def test_skipped_entries_are_named_by_their_endings(tmp_path: Path):
    classes(tmp_path, cat=4, dog=4)
    for i in range(3):
        (tmp_path / "cat" / f"{i}.HEIC").touch()
    (tmp_path / "cat" / "x.avif").touch()
    (tmp_path / "cat" / ".DS_Store").touch()
    kinds = sources.list_data(f"folder:{tmp_path}").skipped_kinds
    assert {k: n for k, n in kinds.items() if n} == {
        ".heic": 3,
        ".avif": 1,
        "hidden or of the system": 1,
    }
    (tmp_path / "fox").mkdir()
    (tmp_path / "fox" / "1.heic").touch()
    with pytest.raises(InputError, match=r"\['fox'\].*skipped are 4 \.heic, 1 "):
        open_folder(tmp_path)


def test_a_flat_folder_and_one_too_high_tell_what_to_do(tmp_path: Path):
    for i in range(3):
        put(tmp_path / "flat" / f"{i}.png")
    with pytest.raises(InputError, match=r"3 images are directly in it.*csv:FILE"):
        open_folder(tmp_path / "flat")
    classes(tmp_path / "high/archive/train", a=1, b=1)
    with pytest.raises(InputError, match=r"did you mean 'folder:.*high/archive'"):
        open_folder(tmp_path / "high")


def test_a_wrong_path_is_shown_as_it_was_looked_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir("/")
    with pytest.raises(InputError, match="cannot list folder '/no/where'"):
        open_splits("folder:no/where", SMALL)


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid", "run git lfs pull"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC file: save it as"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "AVIF file: save it as"),
    ],
)
def test_files_that_pretend_to_be_images_are_told(
    tmp_path: Path, content: bytes, hint: str
):
    classes(tmp_path, a=4, b=4)
    (tmp_path / "a/000.png").write_bytes(content * 20)
    ((_, why),) = open_folder(tmp_path).report.rejected
    assert hint in why
