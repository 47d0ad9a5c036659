import json
import subprocess
import sys
import tracemalloc
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from nasty_files import encode
from PIL import Image
from scipy.fft import dctn

from jft.data.__main__ import main
from jft.data.check import judge, sheet, tell
from jft.data.check.labels import spread
from jft.data.check.look import (
    Seen,
    look,
    look_at_all,
    look_at_splits,
    perceptual_hash,
    read_header,
)
from jft.data.check.report import describe
from jft.data.check.sheet import contact_sheet
from jft.data.check.similar import near, same
from jft.data.decode import DecodeError, decode
from jft.data.digits import Pixels
from jft.data.listing import Dataset, Listing, TaskName
from jft.data.sources import list_data, open_splits
from jft.preprocess import Preprocess
from jft.types import VOID

SHARED = Path(__file__).parents[3] / "shared" / "data"
Array = npt.NDArray[np.uint8]


def scene(seed: int, side: int = 64) -> Array:
    """A picture like no other: a few soft blobs of colour."""
    rng = np.random.default_rng(seed)
    rough = Image.fromarray(rng.integers(0, 256, (5, 5, 3), np.uint8))
    return np.asarray(rough.resize((side, side), Image.Resampling.BICUBIC))


def folder(root: Path, per_class: int = 4) -> Path:
    """Two splits of two classes, every picture another."""
    seed = 0
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            place = root / split / name
            place.mkdir(parents=True)
            for i in range(per_class):
                Image.fromarray(scene(seed)).save(place / f"{i}.png")
                seed += 1
    return root


def run(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> tuple[int, dict[str, Any], str]:
    """Check a folder; return the status, the report, and what was printed."""
    workdir = root.parent / "found"
    status = main(["check", f"folder:{root}", "--workdir", str(workdir)])
    report = json.loads((workdir / "data_report.json").read_text())
    return status, report, capsys.readouterr().out


def test_good_data_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    status, report, out = run(folder(tmp_path / "pets"), capsys)
    assert status == 0
    assert report["problems"] == report["notes"] == []
    assert report["found"] == report["used"] == 16
    assert report["splits"] == {"train": 8, "test": 8}
    assert report["labels"]["counts"] == {
        "train": {"cat": 4, "dog": 4},
        "test": {"cat": 4, "dog": 4},
    }
    assert report["sizes"]["width"] == [64, 64, 64]
    assert report["formats"] == {"PNG": 16}
    assert report["pixels"] == {"colour 8-bit": 16}
    assert out.startswith("pets: 16 images (8 train and 8 test), 2 classes")
    assert "nothing is wrong" in out
    assert max(len(line) for line in out.splitlines()[:-3]) <= tell.WIDTH


def test_a_report_is_the_same_every_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    root = folder(tmp_path / "pets")
    texts: list[str] = []
    for workdir in ("a", "b"):
        path = tmp_path / workdir
        main(["check", f"folder:{root}", "--json", "--workdir", str(path)])
        texts += [(path / "data_report.json").read_text(), capsys.readouterr().out]
    assert texts[0] == texts[2]
    assert texts[1] == texts[3] == texts[0] + "\n"
    assert list(json.loads(texts[0])) == sorted(json.loads(texts[0]))
    assert texts[0].isascii()


def test_the_folder_is_named_after_the_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert main(["check", f"folder:{folder(tmp_path / 'my pets')}"]) == 0
    written = sorted(p.name for p in (tmp_path / "data_check/my_pets").iterdir())
    assert written == ["contact_sheet.png", "data_report.json"]


def test_one_picture_in_both_splits_is_a_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    root = folder(tmp_path / "pets")
    copy = Image.open(root / "train/cat/2.png")
    copy.save(root / "test/dog/copy.bmp")  # other bytes, the same pixels
    status, report, out = run(root, capsys)
    assert status == 1
    (group,) = report["duplicates"]["identical"]
    assert group["across_splits"]
    assert group["labels_differ"]
    paths = [image["path"] for image in group["images"]]
    assert paths == ["train/cat/2.png", "test/dog/copy.bmp"]
    assert "1 picture in both splits" in out
    assert "1 picture with two labels" in out
    assert out.index("PROBLEMS") < out.index("(images)")


def test_copies_that_differ_a_little_are_pointed_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    root = folder(tmp_path / "pets")
    picture = Image.open(root / "train/cat/1.png")
    picture.save(root / "train/cat/again.jpg", quality=60)
    picture.resize((40, 40)).save(root / "test/cat/small.png")
    status, report, out = run(root, capsys)
    assert status == 0
    assert report["duplicates"]["identical"] == []
    (group,) = report["duplicates"]["near"]
    names = ["train/cat/1.png", "train/cat/again.jpg", "test/cat/small.png"]
    assert [image["path"] for image in group["images"]] == names
    assert group["across_splits"]
    assert "1 group of images that look the same, 1 of them across the splits" in out
    assert "'train/cat/1.png' and 'test/cat/small.png', and 1 more" in out


def test_unreadable_files_are_listed_with_reasons(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    root = folder(tmp_path / "pets")
    (root / "train/dog/bad.jpg").write_bytes(b"<!doctype html>")
    status, report, out = run(root, capsys)
    assert status == 1
    assert report["found"] == report["used"] + len(report["rejected"]) == 17
    (bad,) = report["rejected"]
    assert (bad["path"], bad["split"]) == ("train/dog/bad.jpg", "train")
    assert "web page" in bad["reason"]
    assert "1 of 17 images cannot be read" in out


def test_one_in_a_hundred_may_be_unreadable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    root = folder(tmp_path / "pets", per_class=25)
    (root / "train/dog/0.png").write_bytes(b"")
    status, report, _ = run(root, capsys)
    assert status == 0
    assert report["notes"][0]["what"] == "1 image cannot be read"
    (root / "train/dog/1.png").write_bytes(b"")
    assert run(root, capsys)[0] == 1


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("folder:nowhere", "cannot list folder"),
        ("floder:pets", "unknown data"),
        ("folder:.?size=3", "has no option 'size'"),
    ],
)
def test_no_such_data_is_bad_usage(
    source: str, says: str, capsys: pytest.CaptureFixture[str]
):
    assert main(["check", source]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("word", ["digits", "chek"])
def test_check_is_the_only_command(word: str, capsys: pytest.CaptureFixture[str]):
    assert main([word, "digits"]) == 2
    assert f"unknown command {word!r}; " in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["--help"], ["check", "-h"]])
def test_help_says_what_to_write(words: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 0
    assert "usage: python -m jft.data check [OPTION ...]" in capsys.readouterr().out


@pytest.mark.process
def test_nothing_of_jax_is_imported(tmp_path: Path):
    root = folder(tmp_path / "pets")
    code = (
        "import sys; from jft.data.__main__ import main; "
        f"main(['check', 'folder:{root}', '--workdir', {str(tmp_path / 'out')!r}]); "
        "print('jax' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "False"


@dataclass(frozen=True)
class Maps:
    masks: Array

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, index: int) -> Array:
        return self.masks[index]


def dataset(
    task: TaskName, names: tuple[str, ...], train: Any, test: Any, side: int = 32
) -> Dataset:
    """A data set in memory; the pictures are all different."""
    splits: dict[Any, Listing] = {}
    for split, labels in (("train", train), ("test", test)):
        start = 1000 * len(splits)
        images = np.stack([scene(start + i, side) for i in range(len(labels))])
        keys = tuple(f"{split}/{i}" for i in range(len(labels)))
        splits[split] = Listing(keys, Pixels(images), labels)
    return Dataset("made", task, names, splits, "0" * 64)


def checked(made: Dataset, size: int = 32) -> dict[str, Any]:
    report: dict[str, Any] = describe("made", made, look_at_splits(made))
    report["problems"] = judge.problems(report)
    report["notes"] = judge.notes(report)
    report["suggestions"] = judge.suggestions(report, size)
    assert json.loads(json.dumps(report)) == report
    assert tell.lines(report)
    return report


def flags(report: dict[str, Any]) -> list[str]:
    return [one["flags"] for one in report["suggestions"]]


def said(report: dict[str, Any], kind: str) -> str:
    return "\n".join(remark["what"] for remark in report[kind])


def test_skewed_classes_bring_balancing_to_mind():
    even = np.repeat(np.int32([0, 1]), [5, 5])
    for counts, expected in (([10, 4], False), ([12, 4], True), ([12, 3], True)):
        skewed = np.repeat(np.int32([0, 1]), counts)
        report = checked(dataset("classification", ("ab", "cd"), skewed, even))
        found = "--task.class-weights balanced or --sampling balanced" in flags(report)
        assert found == expected


def test_a_class_missing_in_a_split_is_a_problem():
    train, test = np.int32([0, 0, 1, 1, 2]), np.int32([0, 0, 2])
    report = checked(dataset("classification", ("ab", "cd", "ef"), train, test))
    assert said(report, "problems") == "1 of 3 classes have no example in test"
    assert report["problems"][0]["examples"] == ["'cd'"]


def test_notes_on_the_files_are_told_by_check_and_by_training():
    labels = np.array([0, 1, 0, 1], np.int32)
    made = dataset("classification", ("ab", "cd"), labels, labels)
    made = replace(made, notes=("3 objects cover no pixel",))
    report = open_splits(made, Preprocess(size=32)).report
    assert json.loads(report.to_json())["notes"] == ["3 objects cover no pixel"]
    assert said(checked(made), "notes") == "3 objects cover no pixel"


def test_small_pictures_and_letters_bring_flags_to_mind():
    labels = np.int32([0, 1, 2])
    report = checked(
        dataset("classification", ("b", "d", "p"), labels, labels), size=224
    )
    assert flags(report) == ["--image-size 32", "--augment.no-flip"]
    for names, found in (
        (("bb", "d", "p"), []),
        (("0", "1", "2"), []),  # the numbers of classes
        (tuple("0123456789"), ["--augment.no-flip"]),
    ):
        labels = np.arange(len(names), dtype=np.int32)
        made = dataset("classification", names, labels, labels)
        assert flags(checked(made)) == found


def test_masks_are_counted_pixel_by_pixel():
    rng = np.random.default_rng(0)
    masks = rng.choice(np.uint8([0, 1, VOID]), (6, 32, 32), p=[0.9, 0.05, 0.05])
    masks[1] = 0
    masks[2] = VOID
    masks[3][masks[3] == 1] = 0
    report = checked(
        dataset("segmentation", ("road", "crack"), Maps(masks[:4]), Maps(masks[4:]))
    )
    labels = report["labels"]
    train = {"road": int((masks[:4] == 0).sum()), "crack": int((masks[:4] == 1).sum())}
    assert labels["pixels"]["train"] == train
    assert labels["counts"]["train"] == {"road": 3, "crack": 1}
    assert labels["counts"]["test"] == {"road": 2, "crack": 2}
    assert labels["void_fraction"]["train"] == (masks[:4] == VOID).mean()
    assert labels["without_foreground"] == {"train": 2, "test": 0}
    assert labels["all_void"] == {"train": 1, "test": 0}
    assert "2 masks in train without any foreground" in said(report, "notes")
    assert "--task.loss cross-entropy+dice" in flags(report)
    assert "--model.decoder unet" in flags(report)


def test_a_mask_of_another_size_is_rejected():
    masks = np.zeros((2, 30, 32), np.uint8)
    made = dataset("segmentation", ("road", "crack"), Maps(masks), Maps(masks))
    report = checked(made)
    assert report["rejected"][0]["reason"].startswith("the mask has 32 x 30 pixels")
    assert "no image of train can be read" in said(report, "problems")


def test_labels_in_any_number_are_counted_together():
    train = np.int32([[1, 1, 0], [1, 1, -1], [0, 1, 0], [0, 0, 0]])
    test = np.int32([[1, 1, 1], [1, 0, 0]])
    report = checked(dataset("multilabel", ("sea", "sky", "sun"), train, test))
    labels = report["labels"]
    assert labels["counts"]["train"] == {"sea": 2, "sky": 3, "sun": 0}
    assert labels["counts"]["test"] == {"sea": 2, "sky": 1, "sun": 1}
    assert labels["unknown"] == 1
    assert labels["images_without_label"] == 1
    assert labels["labels_per_image"] == 9 / 6
    most = labels["most_together"]
    assert most == {"labels": ["sea", "sky"], "images": 3, "of_the_rarer": 3 / 4}
    assert said(report, "problems") == "1 of 3 classes have no example in train"


def test_numbers_far_from_all_others_are_found():
    rng = np.random.default_rng(0)
    train = rng.normal(5, 2, (40, 2)).astype(np.float32)
    train[7, 1], train[3, 0] = 500, np.nan
    report = checked(dataset("regression", ("age", "size"), train, train[8:20]))
    numbers = report["labels"]["numbers"]["train"]
    assert numbers["age"]["unknown"] == 1
    assert numbers["age"]["outliers"] == 0
    assert numbers["size"]["outliers"] == 1
    assert numbers["size"]["max"] == 500
    assert numbers["size"]["median"] == pytest.approx(
        np.median(train[:, 1].astype(float))
    )
    assert said(report, "notes").startswith("1 value of 'size' in train far")
    assert "--task.loss huber" in flags(report)


def test_labels_that_occur_together_are_counted_exactly():
    rng = np.random.default_rng(0)
    train = rng.integers(-1, 2, (500, 40)).astype(np.int32)
    names = tuple(map(str, range(40)))
    images = Pixels(np.zeros((500, 8, 8, 3), np.uint8))
    listing = Listing(names, images, train)
    made = Dataset("made", "multilabel", names, {"train": listing}, "0")
    found = spread(made, {"train": [Seen()] * 500})["most_together"]
    has = (train == 1).astype(int)
    together = has.T @ has - np.diag(has.sum(0))
    a, b = (names.index(name) for name in found["labels"])
    assert found["images"] == together.max() == together[a, b]


def test_weights_of_nothing_are_a_problem():
    labels = np.int32([0, 1, 0, 1])
    made = dataset("classification", ("ab", "cd"), labels, labels)
    assert checked(made)["weights"] == {}
    for weights, problem, note in (
        ([1, 2, 0.5, 1], "", ""),
        ([1, 0, 0, 1], "", "2 images in test of weight 0: not counted"),
        ([0, 0, 0, 0], "all weights of test are 0: no image of it counts", ""),
    ):
        test = replace(made.splits["test"], weights=np.float32(weights))
        splits: Any = {"train": made.splits["train"], "test": test}
        report = checked(replace(made, splits=splits))
        assert said(report, "problems") == problem
        assert said(report, "notes") == note
        assert report["weights"]["test"]["sum"] == sum(weights)


@pytest.mark.parametrize("held_out", [False, True])
def test_images_turned_without_their_masks_are_pointed_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], held_out: bool
):
    upside_down = Image.Exif()
    upside_down[0x0112] = 3
    for i in range(12):
        part = "" if held_out else ["train", "val"][i % 2]
        image, mask = (
            tmp_path / "road" / kind / part / f"{i}.{end}"
            for kind, end in (("images", "jpg"), ("masks", "png"))
        )
        for path in (image, mask):
            path.parent.mkdir(parents=True, exist_ok=True)
        turned = {"exif": upside_down} if i < 4 else {}
        Image.fromarray(scene(i)).save(image, **turned)
        drawn = Image.fromarray((scene(i)[..., 0] > 99).astype(np.uint8))
        drawn.save(mask, **(turned if i == 1 else {}))
    workdir = tmp_path / "found"
    main(["check", f"masks:{tmp_path / 'road'}", "--workdir", str(workdir)])
    report = json.loads((workdir / "data_report.json").read_text())
    assert sorted(Path(name).name for name in report["turned"]) == [
        "0.jpg",
        "2.jpg",
        "3.jpg",
    ]
    assert "3 images turned by EXIF, whose masks are not" in capsys.readouterr().out


class Broken(Pixels):
    """Images of which the second cannot be had."""

    def __getitem__(self, index: int) -> Array:
        if index == 1:
            raise DecodeError("the row has no image")
        return super().__getitem__(index)


def test_an_image_that_cannot_be_had_is_rejected():
    labels = np.int32([0, 1, 0, 1])
    made = dataset("classification", ("ab", "cd"), labels, labels)
    train = made.splits["train"]
    broken = replace(train, images=Broken(np.stack([scene(i) for i in range(4)])))
    splits: Any = {"train": broken, "test": made.splits["test"]}
    made = replace(made, splits=splits)
    (bad,) = checked(made)["rejected"]
    assert bad == {
        "path": "train/1",
        "reason": "the row has no image",
        "split": "train",
    }
    assert contact_sheet(made, look_at_splits(made)).size[0] > 0


def test_the_perceptual_hash_is_that_of_a_cosine_transform():
    for seed in range(20):
        grey = Image.fromarray(scene(seed)).convert("L")
        small = np.asarray(grey.resize((32, 32), Image.Resampling.BOX), np.float64)
        waves = dctn(small)[:8, :8].ravel()
        waves[0] = 0
        bits = "".join("01"[int(w > np.median(waves[1:]))] for w in waves)
        assert perceptual_hash(grey) == int(bits, 2)


def remembered(waves: int, content: int, thumbnail: bytes) -> Seen:
    key = content.to_bytes(16, "big")
    return Seen(8, 8, "PNG", "grey 8-bit", key, waves, thumbnail)


def connected(n: int, pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """The groups of two or more that pairs connect, by painting over and over."""
    colour = list(range(n))
    pairs = list(pairs)
    for _ in range(n):
        before = list(colour)
        for i, j in pairs:
            colour[i] = colour[j] = min(colour[i], colour[j])
        if colour == before:
            break
    groups = [[i for i in range(n) if colour[i] == c] for c in sorted({*colour})]
    return [group for group in groups if len(group) > 1]


def test_near_groups_are_those_of_a_comparison_of_all():
    rng = np.random.default_rng(0)
    thumbnail = scene(0, 16)[..., 0].tobytes()
    hashes = [int(h) for h in rng.integers(0, 2**63, 300)]
    for base in hashes[:100]:
        flips = rng.choice(64, rng.integers(1, 9), replace=False)
        hashes.append(base ^ int(sum(1 << int(bit) for bit in flips)))
    hashes += [hashes[300] ^ 1, hashes[300] ^ 6, hashes[300] ^ 30, hashes[7], hashes[7]]
    seen = [remembered(h, i, thumbnail) for i, h in enumerate(hashes)]
    expected = [
        (i, j)
        for i in range(len(hashes))
        for j in range(i + 1, len(hashes))
        if (hashes[i] ^ hashes[j]).bit_count() <= 4
    ]
    assert len(expected) > 30
    groups = connected(len(hashes), expected)
    assert max(map(len, groups)) >= 4
    assert near(seen) == groups


def test_thousands_that_look_the_same_are_one_group():
    rng = np.random.default_rng(0)
    thumbnail = scene(0, 16)[..., 0].tobytes()
    flips = rng.integers(0, 64, (3000, 2)).tolist()
    hashes = [2**63 ^ (1 << a) ^ (1 << b) for a, b in flips]
    seen = [remembered(h, i, thumbnail) for i, h in enumerate(hashes)]
    tracemalloc.start()
    assert near(seen) == [list(range(3000))]
    assert tracemalloc.get_traced_memory()[1] < 2e8  # all pairs would be 4.5 million
    tracemalloc.stop()


def test_equal_hashes_of_other_pictures_are_no_pair():
    one, other = scene(0, 16)[..., 0], scene(1, 16)[..., 0]
    seen = [remembered(5, i, p.tobytes()) for i, p in enumerate((one, other, one))]
    assert near(seen[:2]) == []
    assert near([seen[0], seen[2]]) == [[0, 1]]
    assert near(seen) == [[0, 2]]


def test_flat_and_unreadable_pictures_are_no_pairs():
    flat = np.full((20, 20, 3), 9, np.uint8)
    seen = [look(flat), look(np.full((30, 30, 3), 9, np.uint8)), Seen(reason="bad")]
    seen += [Seen(reason="bad"), look(flat)]
    assert near(seen) == []
    assert same(seen) == [[0, 4]]


def test_formats_channels_and_depths_are_told_apart():
    colour = Image.fromarray(scene(0))
    deep = Image.fromarray(np.arange(4096, dtype=np.uint16).reshape(64, 64))
    for file, expected in (
        (encode(colour, "JPEG"), ("JPEG", "colour 8-bit")),
        (encode(colour.convert("L"), "JPEG"), ("JPEG", "grey 8-bit")),
        (encode(colour.convert("CMYK"), "JPEG"), ("JPEG", "CMYK 8-bit")),
        (
            encode(colour.convert("RGBA"), "PNG"),
            ("PNG", "colour with transparency 8-bit"),
        ),
        (encode(colour.convert("1"), "PNG"), ("PNG", "black and white 1-bit")),
        (encode(colour.quantize(9), "PNG"), ("PNG", "palette 8-bit")),
        (encode(deep, "PNG"), ("PNG", "grey 16-bit")),
        (encode(deep, "TIFF"), ("TIFF", "grey 16-bit")),
    ):
        assert read_header(file)[:2] == expected
    assert read_header(scene(0))[:2] == ("pixels", "colour 8-bit")


def test_the_sheet_shows_every_class_and_colours_masks():
    images = np.stack([scene(i, 120) for i in range(3)])
    masks = np.zeros((3, 120, 120), np.uint8)
    masks[:, 30:60, 20:50] = 1
    masks[:, 80:90, 80:90] = VOID
    listing = Listing(("a", "b", "c"), Pixels(images), Maps(masks))
    splits: Any = {"train": listing, "test": listing}
    made = Dataset("made", "segmentation", ("road", "crack"), splits, "0" * 64)
    seen = {split: look_at_all(listing) for split in splits}
    drawn = np.asarray(contact_sheet(made, seen)).astype(int)
    plain = drawn[46:166, 190:310]
    colour = drawn[46:166, 316:436]
    np.testing.assert_array_equal(plain, images[0])
    np.testing.assert_array_equal(colour[:30], images[0][:30])
    inside = images[0][30:60, 20:50] * 0.35 + np.array([230, 159, 0]) * 0.65
    assert np.abs(colour[30:60, 20:50] - inside).max() <= 1
    void = images[0][80:90, 80:90] * 0.35 + 255 * 0.65
    assert np.abs(colour[80:90, 80:90] - void).max() <= 1


def test_a_long_name_is_written_in_three_lines(monkeypatch: pytest.MonkeyPatch):
    written: list[str] = []
    monkeypatch.setattr(
        sheet, "_write", lambda draw, place, text, *_: written.append(text)
    )
    name = "a class with quite a long name that goes on and on"
    labels = np.int32([0, 1])
    made = dataset("classification", (name, "x" * 30), labels, labels)
    contact_sheet(made, look_at_splits(made))
    assert written == [
        "made, training images",
        *("a class with quite a", "long name that goes", "on and on", "1 image"),
        *("x" * 20, "x" * 10, "1 image"),
    ]


def test_one_number_and_one_width_are_told_as_one():
    labels = np.linspace(0, 1, 6, dtype=np.float32)[:, None]
    lines = tell.lines(checked(dataset("regression", ("age",), labels, labels)))
    assert lines[0] == "made: 12 images (6 train and 6 test), 1 number to predict"
    made = dataset("regression", ("age",), labels, labels, side=40)
    train = replace(made.splits["train"], images=[scene(i)[: 50 + i] for i in range(6)])
    splits: Any = {**made.splits, "train": train}
    tall = checked(replace(made, splits=splits))
    tall["sizes"]["width"] = [64, 64, 64]
    assert "width     64 pixels" in tell.lines(tall)


def test_the_sheet_keeps_thin_cracks():
    image = np.full((1200, 1200, 3), 128, np.uint8)
    mask = np.zeros((1200, 1200), np.uint8)
    mask[601] = 1  # a tenth of a pixel of the tile
    listing = Listing(("a",), Pixels(image[None]), Maps(mask[None]))
    splits: Any = {"train": listing, "test": listing}
    made = Dataset("made", "segmentation", ("road", "crack"), splits, "0" * 64)
    drawn = np.asarray(contact_sheet(made, {s: look_at_all(listing) for s in splits}))
    line = drawn[46 + 60, 316:436].astype(int)
    assert (line[:, 0] - line[:, 2] > 100).all()


@pytest.mark.real_data
@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data")
def test_the_known_duplicate_of_neu_is_found():
    made = list_data(f"folder:{SHARED / 'neu_cls'}")
    report = checked(made, size=200)
    (group,) = report["duplicates"]["identical"]
    paths = [image["path"] for image in group["images"]]
    assert paths == [f"train/patches/patches_{i}.jpg" for i in (101, 105)]
    assert report["duplicates"]["near"] == report["problems"] == []
    first, second = (decode(SHARED / "neu_cls" / path) for path in paths)
    np.testing.assert_array_equal(first, second)


def test_more_classes_than_are_shown_leave_a_gap():
    # Class 0 takes rows 0 to 9, each further class a row of its own.
    masks = np.repeat(np.arange(32).clip(9) - 9, 32).reshape(1, 32, 32)
    masks = np.repeat(masks.astype(np.uint8), 4, 0)
    names = tuple(f"c{i}" for i in range(23))
    made = dataset("segmentation", names, Maps(masks[:2]), Maps(masks[2:]))
    rows = tell.lines(checked(made))
    start = next(i for i, row in enumerate(rows) if "(images that show it)" in row)
    table = [row.split() for row in rows[start + 1 : start + 22]]
    assert table[0] == ["c0", "2", "2", "31.25%", "31.25%"]
    assert table[10] == ["..."] * 5
    assert [row[0] for row in (table[9], table[11])] == ["c9", "c13"]
    assert table[-1] == ["c22", "2", "2", "3.12%", "3.12%"]


def test_the_background_is_the_class_of_that_name():
    masks = np.zeros((4, 32, 32), np.uint8)
    masks[0] = masks[1, :4] = 1
    masks[2] = 1
    made = dataset("segmentation", ("cat", "dog"), Maps(masks[:3]), Maps(masks[3:]))
    assert checked(made)["labels"]["without_foreground"] == {"train": 0, "test": 1}
    made = dataset("segmentation", ("cat", "_bg_"), Maps(masks[:3]), Maps(masks[3:]))
    assert checked(made)["labels"]["without_foreground"] == {"train": 2, "test": 0}
    shown = np.asarray(contact_sheet(made, look_at_splits(made))).astype(int)
    image, overlay = shown[172:292, 190:310], shown[172:292, 316:436]
    np.testing.assert_array_equal(image, overlay)  # of the background alone


def test_files_of_several_pages_are_counted(tmp_path: Path):
    for i in range(8):
        mask = np.zeros((64, 64), np.uint8)
        mask[i : i + 20] = 255
        for kind in ("images", "masks"):
            (tmp_path / kind).mkdir(exist_ok=True)
        pages = [Image.fromarray(np.roll(mask, k, 1)) for k in range(2)]
        more = {"save_all": True, "append_images": pages[1:]} if i < 5 else {}
        pages[0].save(tmp_path / "masks" / f"{i}.tif", **more)
        picture, other = Image.fromarray(scene(i)), Image.fromarray(scene(i + 50))
        more = {"save_all": True, "append_images": [other]} if i == 0 else {}
        picture.save(tmp_path / "images" / f"{i}.tif", **more)
    report = checked(list_data(f"masks:{tmp_path}"))
    assert len(report["pages"]["mask"]) == 5
    assert said(report, "notes").splitlines()[:2] == [
        "1 image of several pages: the first page is used",
        "5 masks of several pages: the first page is used",
    ]
