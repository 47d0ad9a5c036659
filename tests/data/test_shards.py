"""WebDataset shards: good ones against what was written, bad ones are told."""

import io
import json
import os
import pickle
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jft.data.decode import DecodeError
from jft.data.listing import Dataset, stamp
from jft.data.parquet import read as parquet
from jft.data.sources import list_data, open_splits
from jft.data.webdataset import read as form
from jft.data.webdataset import tar_index
from jft.data.webdataset.files import expand
from jft.errors import InputError
from jft.preprocess import Preprocess

DECIMALS = [[0.375], [2], [np.nan], [-10]]
TWO = ("multilabel", ["0", "1"])


def noise(seed: int, shape: tuple[int, ...] = (6, 5, 3), high: int = 256) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, high, shape, np.uint8)


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def write(
    path: Path, files: list[tuple[str, bytes | str]], form: int = tarfile.PAX_FORMAT
):
    """Write a tar archive."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as archive:
        for name, content in files:
            data = content if isinstance(content, bytes) else content.encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def examples(places: range, label: Any = lambda i: str(i % 3), end: str = "cls"):
    return [
        file
        for i in places
        for file in ((f"{i:04}.png", png(noise(i))), (f"{i:04}.{end}", label(i)))
    ]


def write_small(folder: Path) -> Path:
    write(folder / "train-000.tar", examples(range(10)))
    write(folder / "train-001.tar", examples(range(10, 15)))
    write(folder / "val-000.tar", examples(range(15, 18)))
    return folder


def load(place: Path | str, **options: str) -> Dataset:
    return form.load(str(place), options)


def test_every_example_is_there_with_its_bytes_and_its_class(tmp_path: Path):
    dataset = load(write_small(tmp_path / "birds"))
    assert (dataset.name, dataset.task) == ("birds", "classification")
    assert dataset.class_names == ("0", "1", "2")
    for split, places in (("train", range(15)), ("test", range(15, 18))):
        listing = dataset.splits[split]
        found = [listing.images[k] for k in range(len(places))]
        assert found == [png(noise(i)) for i in places]
        np.testing.assert_array_equal(listing.labels, np.mod(places, 3))
    assert dataset.splits["train"].keys[10] == "train-001.tar/0010"


@pytest.mark.parametrize(
    ("place", "options", "counts"),
    [
        ("train-000.tar", {}, [10]),
        ("train-{000..001}.tar", {}, [15]),
        ("train-{000..001}.tar", {"test": "val-*.tar"}, [15, 3]),
        ("", {"train": "train-000.tar", "test": "{train-001,val-000}.tar"}, [10, 8]),
        ("{train,val}-000.tar", {}, [10, 3]),
    ],
)
def test_files_and_patterns_are_found(
    tmp_path: Path, place: str, options: dict[str, str], counts: list[int]
):
    dataset = load(write_small(tmp_path) / place, **options)
    assert [len(listing.keys) for listing in dataset.splits.values()] == counts


def test_patterns_are_expanded_as_a_shell_does():
    assert expand("a{1..3}b") == ["a1b", "a2b", "a3b"]
    assert expand("{a,b}{08..09}") == ["a08", "a09", "b08", "b09"]
    assert expand("plain") == ["plain"]


def test_a_fifth_is_held_out_and_the_pixels_are_those_that_were_written(tmp_path: Path):
    write(tmp_path / "all.tar", examples(range(30)))
    listed = list_data(f"webdataset:{tmp_path / 'all.tar'}")
    splits = open_splits(listed, Preprocess(size=5, crop_fraction=1.0))
    assert (len(splits.train), len(splits.test)) == (24, 6)
    for k, key in enumerate(listed.splits["test"].keys):
        i = int(key.rpartition("/")[2])
        # 6 x 5 pixels: the centre crop begins at round(1 / 2) = 0.
        np.testing.assert_array_equal(splits.test.images[k], noise(i)[:5])


@pytest.mark.parametrize(
    ("end", "label", "options", "task", "names", "expected"),
    [
        ("cls", "bac", {}, "classification", "abc", [1, 0, 2]),
        ("txt", ["x", "y", "x"], {}, "classification", "xy", [0, 1, 0]),
        (
            "cls",
            ["1", "0", "1"],
            {"classes": "no,yes"},
            "classification",
            ("no", "yes"),
            [1, 0, 1],
        ),
        ("json", [5, {"label": 7}, 5], {}, "classification", ("5", "7"), [0, 1, 0]),
        (
            "json",
            [{"a": {"b": "u"}}, {"a": {"b": "v"}}] * 2,
            {"label": "json.a.b"},
            "classification",
            "uv",
            [0, 1, 0, 1],
        ),
        (
            "json",
            [{"label": ["p", "q"]}, {"label": []}, {"label": ["q"]}],
            {},
            "multilabel",
            "pq",
            [[1, 1], [0, 0], [0, 1]],
        ),
        (
            "json",
            [{"label": 0.5}, {"label": 2}, {"label": None}],
            {},
            "regression",
            ["label"],
            [[0.5], [2], [np.nan]],
        ),
        (
            "cls",
            ["3", "4", "9"],
            {"task": "regression"},
            "regression",
            ["cls"],
            [[3], [4], [9]],
        ),
        ("txt", ["0.375", "2", "", "-1e1"], {}, "regression", ["txt"], DECIMALS),
        ("cls", ["1", "2", "ten"], {}, "classification", ["1", "2", "ten"], [0, 1, 2]),
        ("json", [{"label": [1, 0]}, {"label": [1, 1]}], {}, *TWO, [[1, 0], [1, 1]]),
    ],
)
def test_labels_mean_what_their_files_say(
    tmp_path: Path,
    end: str,
    label: Any,
    options: dict[str, str],
    task: str,
    names: Any,
    expected: Any,
):
    def text(i: int) -> str:
        return json.dumps(label[i]) if end == "json" else label[i]

    write(tmp_path / "x.tar", examples(range(len(label)), text, end))
    dataset = load(tmp_path / "x.tar", **options)
    assert (dataset.task, dataset.class_names) == (task, tuple(names))
    np.testing.assert_array_equal(dataset.splits["train"].labels, expected)


def test_masks_beside_images_are_masks(tmp_path: Path):
    masks = [noise(i, (6, 5), 2) * 255 for i in range(4)]
    files = [(f"a/{i}.jpg", png(noise(i))) for i in range(4)]
    files += [(f"a/{i}.mask.png", png(mask)) for i, mask in enumerate(masks)]
    write(tmp_path / "x.tar", files)
    dataset = load(tmp_path / "x.tar")
    assert dataset.task == "segmentation"
    assert dataset.class_names == ("background", "foreground")
    for i, mask in enumerate(masks):
        np.testing.assert_array_equal(dataset.splits["train"].labels[i], mask // 255)
    plain = load(tmp_path / "x.tar", image="jpg", label="mask.png", classes="a,b")
    assert plain.class_names == ("a", "b")


@pytest.mark.parametrize(
    "kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
)
def test_every_kind_of_tar_is_read_and_names_are_only_names(tmp_path: Path, kind: int):
    names = ["../../etc/passwd", "/root/x", "a/" * 40 + "long" * 15, "é"]
    if kind != tarfile.USTAR_FORMAT:
        names.append("n" * 300)
    files = [
        file
        for i, name in enumerate(names)
        for file in ((f"{name}.png", png(noise(i))), (f"{name}.cls", str(i)))
    ]
    write(tmp_path / "x.tar", files, kind)
    dataset = load(tmp_path / "x.tar")
    listing = dataset.splits["train"]
    assert listing.keys == tuple(f"x.tar/{name}" for name in names)
    for i in range(len(names)):
        assert listing.images[i] == png(noise(i))
        assert dataset.class_names[listing.labels[i]] == str(i)


def test_other_entries_are_counted(tmp_path: Path):
    write(tmp_path / "x.tar", examples(range(4)))
    with tarfile.open(tmp_path / "x.tar", "a") as archive:
        for name, kind in (("d", tarfile.DIRTYPE), ("9.png", tarfile.SYMTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        archive.addfile(tarfile.TarInfo(".hidden"))
        archive.addfile(tarfile.TarInfo("README"))
    content = (tmp_path / "x.tar").read_bytes().rstrip(b"\0")
    content += bytes(-len(content) % 512)
    sparse = header(b"8.png", octal(0), b"S") + bytes(1024)
    (tmp_path / "x.tar").write_bytes(content + sparse)
    assert load(tmp_path / "x.tar").skipped == 5


def test_ends_are_known_in_capitals_too(tmp_path: Path):
    files = [("1.PNG", png(noise(1))), ("1.CLS", "a"), ("2.PNG", b""), ("2.cls", "b")]
    write(tmp_path / "x.tar", files)
    dataset = load(tmp_path / "x.tar")
    assert dataset.class_names == ("a", "b")
    assert dataset.splits["train"].images[0] == png(noise(1))


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        (
            [("1.png", b"x"), ("1.cls", "0"), ("2.png", b"x")],
            {},
            r"1 of 2 .*\n.*2: no .cls",
        ),
        ([("1.png", b"x"), ("1.png", b"x"), ("1.cls", "0")], {}, "twice"),
        (
            [("1.png", b"x"), ("1.foo", "0")],
            {},
            r"no label files .*\.foo \(1\), \.png",
        ),
        ([("1.foo", b"x"), ("1.cls", "0")], {}, "no image files"),
        ([("1.png", b"x"), ("1.cls", "0")], {"label": "cl"}, "did you mean 'cls'"),
        ([("1.png", b"x"), ("1.json", "{")], {}, "1.json holds no label"),
        ([("1.png", b"x"), ("1.json", "[" * 100_000)], {}, "1.json holds no label"),
        ([("1.png", b"x"), ("1.json", "9" * 5000)], {}, "1.json holds no label"),
        (
            [("1.png", b"x"), ("1.json", '{"labels": 1}')],
            {},
            "no 'label', but .'labels'",
        ),
        *(
            ([("1.png", b"x"), ("1.json", text)], {"label": "json.a.b"}, message)
            for text, message in (
                ('{"a": "word"}', "1.json .*no 'a.b', but 'word' where 'b' would be"),
                ('{"a": {"c": 1}}', "no 'a.b', but .'c'"),
                ("[1, 2]", "where 'a' would be"),
            )
        ),
        ([("1.png", b"x"), ("1.cls", b"\xff")], {}, "1.cls holds no label"),
        (
            [("1.png", b"x"), ("1.cls", "0.5"), ("2.png", b"x"), ("2.cls", "ten")],
            {"task": "regression"},
            "1 labels .*2: 'ten'",
        ),
        ([("1.png", b"x"), ("1.txt", "")], {}, "no example has a label"),
        ([("1.png", b"x"), ("1.cls", "0")], {"image": "png,pgn"}, "did you mean 'png'"),
        ([("1.png", b"x")], {"image": "png", "label": "png"}, "both name the files"),
        ([("1.png", b"x"), ("1.cls", "0" * 2**21)], {}, "too long for a label"),
        ([("1.png", b"x"), ("1.cls", "0")], {"classes": "one"}, "cannot read '.*/one'"),
        (
            [("1.png", b"x"), ("1.cls", "5")],
            {"classes": "a,b"},
            "any of the 2 classes",
        ),
        ([("1.png", b"x"), ("1.cls", "0")], {"values": "0,1"}, "values= is for masks"),
        ([], {}, "no image files '' in the archives"),
    ],
)
def test_mistakes_are_told(
    tmp_path: Path, files: Any, options: dict[str, str], message: str
):
    write(tmp_path / "x.tar", files)
    with pytest.raises(InputError, match=f"(?s){message}"):
        load(tmp_path / "x.tar", **options)


def test_missing_files_and_single_splits_are_told(tmp_path: Path):
    write_small(tmp_path)
    with pytest.raises(InputError, match=r"no such files .*\n.*train-002.tar"):
        load(tmp_path / "train-{000..003}.tar")
    with pytest.raises(InputError, match="train= and in test="):
        load(tmp_path, train="*", test="val*")
    with pytest.raises(InputError, match="cannot read"):
        form.check(str(tmp_path / "trian-000.tar"), {})
    for place in ("train-000.tar", "train-001.tar"):
        (tmp_path / place).rename(tmp_path / f"test-{place[-7:]}")
    (tmp_path / "val-000.tar").unlink()
    with pytest.raises(InputError, match="files of 'test' but none of 'train'"):
        form.check(str(tmp_path), {})


def header(name: bytes, size: bytes, kind: bytes = b"0") -> bytes:
    """Return a tar header with any size field, and a right checksum."""
    block = bytearray(512)
    block[: len(name)] = name
    block[100:108], block[108:116], block[116:124] = (b"0000644\0",) * 3
    block[124:136], block[136:148], block[156:157] = size, b"0" * 11 + b"\0", kind
    block[257:265] = b"ustar\00000"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def octal(size: int) -> bytes:
    return b"%011o\0" % size


def negative(size: int) -> bytes:
    """Return a size below zero, in the form of GNU tar."""
    return b"\xff" * 4 + struct.pack(">q", size)


def pax(text: bytes) -> bytes:
    record = b"%d %s\n" % (len(text) + 4, text)
    return header(b"x", octal(len(record)), b"x") + record.ljust(512, b"\0")


GOOD = header(b"1.png", octal(3)) + b"abc".ljust(512, b"\0")
HOSTILE = {
    "a header declares 8,589,9": header(b"x", octal(2**33 - 1), b"L"),
    "a header declares 8,589,93": header(b"x", octal(2**33 - 1), b"x"),
    # Back to this very header, for ever.
    "a header declares a negative": GOOD + header(b"2.png", negative(-512)),
    "a header declares a neg": GOOD + pax(b"size=-512") + header(b"2", octal(0)),
    "unexpected end of data": header(b"1.png", octal(2**30)),
    "no tar header at byte 1,024": GOOD + GOOD[:300],
    "is damaged: no tar header": GOOD + bytes(range(256)) * 4,
    "not a complete tar archive: bad checksum|invalid": header(b"1.png", b"9" * 12),
    "is cut short at byte 1,024: an archive ends with two": GOOD,
    "is cut short at byte 1,536: an archive ends with": GOOD + bytes(512),
    "does not end at byte 1,024, .* several archives": (GOOD + bytes(1024)) * 2,
    "does not end at byte 1,024, .* a header is damaged": GOOD + bytes(512) + GOOD,
    "not a complete tar archive: empty file": b"",
    "not a complete tar archive: ": b"<html>" * 200,
    r"compressed \(gzip\)": b"\x1f\x8b" + bytes(600),
    r"compressed \(zstd\)": b"\x28\xb5\x2f\xfd" + bytes(600),
}


@pytest.mark.parametrize("reason", HOSTILE)
def test_a_damaged_or_hostile_archive_is_refused(tmp_path: Path, reason: str):
    (tmp_path / "x.tar").write_bytes(HOSTILE[reason])
    with pytest.raises(InputError, match=rf"x\.tar.*({reason})"):
        list(tar_index.read_members(tmp_path / "x.tar"))


def test_every_truncation_is_refused(tmp_path: Path):
    write(tmp_path / "x.tar", examples(range(3)))
    content = (tmp_path / "x.tar").read_bytes()
    whole = [m for m in tar_index.read_members(tmp_path / "x.tar") if m]
    end = whole[-1].offset + 512 + 1024  # the last label is in one block
    for length in (*range(0, end, 97), *range(0, end, 512), end - 1):
        (tmp_path / "y.tar").write_bytes(content[:length])
        with pytest.raises(InputError, match=r"y\.tar"):
            list(tar_index.read_members(tmp_path / "y.tar"))
    for length in (end, end + 1, len(content)):
        (tmp_path / "y.tar").write_bytes(content[:length])
        assert [*tar_index.read_members(tmp_path / "y.tar")] == whole


def test_a_header_lost_to_zeros_is_refused(tmp_path: Path):
    write(tmp_path / "x.tar", examples(range(10)))
    content = bytearray((tmp_path / "x.tar").read_bytes())
    members = [m for m in tar_index.read_members(tmp_path / "x.tar") if m]
    start = members[6].offset - 512
    content[start : start + 512] = bytes(512)
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(InputError, match=rf"does not end at byte {start:,}"):
        load(tmp_path)


def test_it_can_be_sent_to_another_process_and_a_change_is_told(tmp_path: Path):
    listing = load(write_small(tmp_path)).splits["train"]
    images = pickle.loads(pickle.dumps(listing.images))
    assert images[12] == png(noise(12))
    archive = tmp_path / "train-001.tar"
    archive.write_bytes(archive.read_bytes()[:600])
    with pytest.raises(DecodeError, match="cut short"):
        _ = images[12]
    archive.unlink()
    with pytest.raises(DecodeError, match="archive cannot be read"):
        _ = images[12]


def test_a_member_too_large_for_memory_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    listing = load(write_small(tmp_path)).splits["train"]
    monkeypatch.setattr(tar_index, "_MAX_MEMBER_BYTES", 10)
    with pytest.raises(DecodeError, match="at most 10 are read"):
        _ = listing.images[0]


def test_where_the_data_lies_does_not_matter_but_its_labels_do(tmp_path: Path):
    a, b = (write_small(tmp_path / name) for name in "ab")
    assert load(a).fingerprint == load(b).fingerprint
    write(b / "val-000.tar", examples(range(15, 18), lambda i: str((i + 1) % 3)))
    assert load(a).fingerprint != load(b).fingerprint


def test_images_of_several_types_are_taken_together(tmp_path: Path):
    ends = ("jpg", "jpeg", "PNG", "jpg")
    files = [(f"{i}.{end}", png(noise(i))) for i, end in enumerate(ends)]
    files += [(f"{i}.cls", str(i % 2)) for i in range(4)]
    write(tmp_path / "x.tar", files)
    for options in ({}, {"image": "jpg,png,jpeg"}):
        found = load(tmp_path / "x.tar", **options).splits["train"].images
        assert [found[i] for i in range(4)] == [png(noise(i)) for i in range(4)]
    with pytest.raises(InputError, match=r"1 of 4 .*\n.*2: no \.jpg or \.jpeg"):
        load(tmp_path / "x.tar", image="jpg,jpeg")
    # Where one example has two, the commonest is the image, or the first that is named.
    write(tmp_path / "x.tar", [*files, ("0.png", png(noise(9)))])
    with pytest.raises(InputError, match=r"2 of 4 .*\n.*1: no \.jpg"):
        load(tmp_path / "x.tar")
    for options, seed in (("jpg,png,jpeg", 0), ("png,jpg,jpeg", 9)):
        found = load(tmp_path / "x.tar", image=options).splits["train"].images
        assert found[0] == png(noise(seed))


def test_pipes_among_the_shards_are_refused_and_not_waited_for(tmp_path: Path):
    write_small(tmp_path)
    os.mkfifo(tmp_path / "train-002.tar")
    for place in (tmp_path, tmp_path / "train-*.tar"):
        with pytest.raises(InputError, match=r"train-002.tar.* no regular file"):
            form.check(str(place), {})
    assert len(load(tmp_path, train="train-000.tar", test="val*").splits) == 2
    os.mkfifo(tmp_path / "train.parquet")
    with pytest.raises(InputError, match=r"train.parquet.* no regular file"):
        parquet.check(str(tmp_path), {})


def test_folders_that_cannot_be_listed_are_told_and_linked_ones_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write_small(tmp_path / "data")
    write_small(tmp_path / "elsewhere")
    (tmp_path / "data" / "more").symlink_to(tmp_path / "elsewhere")
    dataset = load(tmp_path / "data")
    assert (len(dataset.splits["train"].keys), dataset.skipped) == (15, 1)
    (tmp_path / "data" / "locked").mkdir()
    real = os.scandir

    def refuse(path: Any) -> Any:  # root may list any folder
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match=r"cannot list folder .*locked'.*denied"):
        load(tmp_path / "data")


def test_stamps_follow_the_archive_and_no_member_is_read_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    files = load(write_small(tmp_path)).splits["train"].images
    monkeypatch.setattr(tar_index.Members, "__getitem__", None)
    before = [stamp(files, i) for i in range(15)]
    assert len({*before}) == 15
    write(tmp_path / "train-001.tar", examples(range(20, 25)))
    os.utime(tmp_path / "train-001.tar", (1, 1))
    after = [stamp(files, i) for i in range(15)]
    assert after[:10] == before[:10]
    assert {*after[10:]}.isdisjoint(before)
    (tmp_path / "train-001.tar").unlink()
    assert "No such file" in stamp(files, 12)
