import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from mask_folders import BINARY, folder, image, load, mask, put, values, voc

from jft.data.decode import DecodeError
from jft.data.masks.values import VOC_NAMES
from jft.data.sources import list_data
from jft.data.spec import parse_spec
from jft.errors import InputError

CRACKS = Path(__file__).parents[3] / "shared" / "data" / "crackforest"
VOID = 255

LAYOUTS = {
    "two folders": ("images/a.jpg", "masks/a.png"),
    "other names": ("Images/a.jpg", "labels/a.png"),
    "annotations": ("img/a.png", "annotations/a.png"),
    "ground truth": ("imgs/a.jpg", "groundTruth/a.bmp"),
    "deeper": ("images/x/y/a.jpg", "masks/x/y/a.png"),
    "suffix": ("images/a.jpg", "masks/a_mask.png"),
    "camvid": ("images/0001TP_006690.png", "labels/0001TP_006690_L.png"),
    "beside with suffix": ("a.jpg", "a_mask.png"),
    "beside with another suffix": ("x/a.png", "x/a-mask.png"),
    "beside with the type": ("a.jpg", "a.png"),
    "prefix": ("images/1.jpg", "masks/mask_1.png"),
    "two prefixes": ("images/image_1.jpg", "masks/mask_1.png"),
    "prefix without a line": ("images/img1.jpg", "masks/Label1.png"),
    "whole name": ("images/1.jpg", "masks/1.jpg.png"),
    "whole name and suffix": ("images/1.jpg", "masks/1.jpg_mask.png"),
    "satellite": ("1_sat.jpg", "1_mask.png"),
    "beside with whole name": ("1.jpg", "1.jpg.png"),
    "beside with prefix": ("1.jpg", "mask_1.png"),
    "mmsegmentation": ("img_dir/a.jpg", "ann_dir/a.png"),
    "kitti": ("image_2/000000_10.png", "semantic/000000_10.png"),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_pairs_are_found_in_every_layout(tmp_path, name):
    key, mask_file = LAYOUTS[name]
    image(tmp_path / key)
    put(tmp_path / mask_file, BINARY)
    data = load(tmp_path)
    assert data.task == "segmentation"
    assert list(data.splits) == ["train"]
    listing = data.splits["train"]
    assert listing.keys == (key,)
    assert listing.images[0] == tmp_path / key
    np.testing.assert_array_equal(mask(data), BINARY == 255)


SPLITS = {
    "inside": ("images/train/a.jpg", "masks/train/a.png", "images/val", "masks/val"),
    "outside": ("train/images/a.jpg", "train/masks/a.png", "test/images", "test/masks"),
    "ade": (
        *("images/training/a.jpg", "annotations/training/a.png"),
        *("images/validation", "annotations/validation"),
    ),
    "camvid": ("train/a.png", "trainannot/a.png", "val", "valannot"),
    "beside": ("train/a.jpg", "train/a_mask.png", "val", "val"),
}


@pytest.mark.parametrize("name", SPLITS)
def test_splits_are_found_in_every_layout(tmp_path, name):
    train, train_mask, *folders = SPLITS[name]
    test, test_mask = (
        f"{folder}/{Path(file).name}"
        for folder, file in zip(folders, (train, train_mask), strict=True)
    )
    for file, mask_file, shown in (
        (train, train_mask, BINARY),
        (test, test_mask, 255 - BINARY),
    ):
        image(tmp_path / file)
        put(tmp_path / mask_file, shown)
    data = load(tmp_path)
    assert data.splits["train"].keys == (train,)
    assert data.splits["test"].keys == (test,)
    assert mask(data, split="train")[0].tolist() == [0, 1, 0, 1, 0, 1]
    assert mask(data, split="test")[0].tolist() == [1, 0, 1, 0, 1, 0]


def test_val_goes_before_test_and_the_rest_is_counted(tmp_path):
    for split in ("train", "val", "test"):
        image(tmp_path / "images" / split / "a.jpg")
        put(tmp_path / "masks" / split / "a.png", BINARY)
    data = load(tmp_path)
    assert data.splits["test"].keys == ("images/val/a.jpg",)
    assert data.skipped == 1


def test_options_name_other_folders(tmp_path):
    image(tmp_path / "photos" / "a.jpg")
    put(tmp_path / "trimaps" / "fine" / "a.png", BINARY)
    with pytest.raises(InputError, match="no image with a mask of its name"):
        load(tmp_path)
    data = load(tmp_path, "images=photos&masks=trimaps/fine")
    assert data.splits["train"].keys == ("photos/a.jpg",)


def test_voc_lists_say_what_is_in_a_split(tmp_path):
    root = voc(tmp_path, values(0, 1, 20, 255), train="c\na\n", val="b\n")
    data = load(root)
    assert data.class_names == VOC_NAMES
    assert data.splits["train"].keys == ("JPEGImages/c.jpg", "JPEGImages/a.jpg")
    assert data.splits["test"].keys == ("JPEGImages/b.jpg",)
    assert data.skipped == 1
    assert mask(data)[0].tolist() == [0, 1, 20, VOID, 0, 1]


def test_names_in_voc_lists_may_have_spaces(tmp_path):
    voc(tmp_path, values(0, 1), train="a one\r\n\n  b\n", val="c\n")
    for name in ("JPEGImages/a.jpg", "SegmentationClass/a.png"):
        (tmp_path / name).rename((tmp_path / name).with_stem("a one"))
    data = load(tmp_path)
    assert data.splits["train"].keys == ("JPEGImages/a one.jpg", "JPEGImages/b.jpg")


def test_masks_may_be_gif_files_and_train_may_be_alone(tmp_path):
    image(tmp_path / "train" / "a.jpg")
    put(tmp_path / "train" / "a.gif", 7)  # a preview: no image, and no mask
    put(tmp_path / "train_masks" / "a_mask.gif", BINARY)
    data = load(tmp_path)
    assert data.splits["train"].keys == ("train/a.jpg",)
    assert data.skipped == 1
    np.testing.assert_array_equal(mask(data), BINARY == 255)


def test_a_gif_beside_its_image_is_a_mask_if_it_is_called_so(tmp_path):
    image(tmp_path / "a.png")
    put(tmp_path / "a_mask.gif", BINARY)
    put(tmp_path / "a.gif", 7)
    data = load(tmp_path)
    assert data.splits["train"].keys == ("a.png",)
    assert data.skipped == 1
    np.testing.assert_array_equal(mask(data), BINARY == 255)


def test_voc_lists_name_only_what_is_there_and_once(tmp_path):
    with pytest.raises(
        InputError, match=r"val\.txt': 1 of 1 names have no image and mask.*\n  d"
    ):
        load(voc(tmp_path / "1", train="a", val="d"))
    with pytest.raises(InputError, match=r"listed twice\n  JPEGImages/a"):
        load(voc(tmp_path / "2", train="a\nb", val="a"))


def test_an_image_without_a_mask_is_refused_unless_said(tmp_path):
    root = folder(tmp_path, BINARY, BINARY)
    (root / "masks" / "1.png").rename(root / "masks" / "7.png")
    match = r"1 images have no mask and 1 masks no image, beside 1 pairs.*images/1\.jpg"
    with pytest.raises(InputError, match=f"(?s){match}"):
        load(root)
    data = load(root, "unpaired=skip")
    assert data.splits["train"].keys == ("images/0.jpg",)
    assert data.skipped == 2


def test_what_does_not_tell_a_pair_is_refused(tmp_path):
    root = folder(tmp_path / "1", BINARY)
    image(root / "images" / "0.png")
    with pytest.raises(InputError, match="differ only in their file type"):
        load(root)
    root = folder(tmp_path / "2", BINARY)
    put(root / "masks" / "0_mask.png", BINARY)
    with pytest.raises(InputError, match=r"has 2 masks: 'masks/0\.png' and"):
        load(root)
    root = folder(tmp_path / "3", BINARY)
    (root / "images" / "train").mkdir()
    with pytest.raises(InputError, match="has 'train' but not the other split"):
        load(root)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ("images=photos", "need each other"),
        ("images=image&masks=masks", "did you mean 'images'"),
        ("unpaired=maybe", "valid are no, skip"),
        ("nearest=yes", "needs values="),
        ("nearest=maybe", "valid are no, yes"),
        ("classes=a,,b", "a name is empty"),
        ("values=0,red", "'red' is neither a number"),
        ("values=0,0", "each once"),
        ("values=0,ff0000", "both numbers, or both colours"),
        ("values=0,1&void=ff0000", "both numbers, or both colours"),
        ("values=0,1&void=1", "1 cannot be void and a class"),
        ("values=0,1&classes=a,b,c", "3 classes .*, but 2 values"),
        ("values=0,1&classes=a,a", "called ..a"),
        ("values=7", "1 classes; valid is 2 to 254"),
        (f"values={','.join(map(str, range(255)))}", "255 classes"),
    ],
)
def test_options_are_checked_before_anything_is_read(tmp_path, options, match):
    folder(tmp_path, BINARY)
    with pytest.raises(InputError, match=match):
        parse_spec(f"masks:{tmp_path}?{options}").check()


@pytest.mark.real_data
@pytest.mark.skipif(not CRACKS.is_dir(), reason="needs ../shared/data")
def test_crackforest_is_read_as_it_is():
    data = list_data(f"masks:{CRACKS}?classes=background,crack")
    assert data.class_names == ("background", "crack")
    assert data.skipped == 0
    for split, count in (("train", 94), ("test", 24)):
        listing = data.splits[split]
        assert len(listing.keys) == len(listing.labels) == count
        stats = json.loads(
            (CRACKS / f"mask_stats_crackforest_{split}.json").read_text()
        )
        seen: Counter[int] = Counter()
        for i in range(count):
            seen.update(
                dict(enumerate(np.bincount(listing.labels[i].ravel()).tolist()))
            )
        assert {str(value): number for value, number in seen.items()} == stats["values"]
        names = (CRACKS / f"split_{split}.txt").read_text().split()
        assert [Path(key).stem for key in listing.keys] == names


# -- VOC, KITTI, Cityscapes and other real trees -------------------------------------


def text(path: Path, content: str = "x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def test_a_folder_without_images_holds_no_masks(tmp_path):
    root = voc(tmp_path / "1", values(0, 1, 2), train="a\nb\n", val="c\n")
    text(root / "Annotations" / "a.xml")
    put(root / "SegmentationObject" / "a.png", values(0, 1))
    data = load(root)
    assert [len(some.keys) for some in data.splits.values()] == [2, 1]
    root = folder(tmp_path / "2", BINARY)
    text(root / "labels" / "0.txt")
    assert load(root).splits["train"].keys == ("images/0.jpg",)
    put(root / "labels" / "0.png", BINARY)
    with pytest.raises(InputError, match="hold the masks: 'masks', 'labels'; images="):
        load(root)
    assert len(load(root, "images=images&masks=labels").splits["train"].keys) == 1


@pytest.mark.parametrize(
    "line",
    [
        "sub/a",
        "sub/a.jpg",
        "JPEGImages/sub/a.jpg",
        "/JPEGImages/sub/a.jpg /SegmentationClass/sub/a.png",
        "VOC2012\\JPEGImages\\sub\\a.jpg",
        "./sub/a.png  1",
        "a",
    ],
)
def test_lists_have_folders_and_endings(tmp_path, line):
    for name in ("sub/a", "b"):
        image(tmp_path / "JPEGImages" / f"{name}.jpg")
        put(tmp_path / "SegmentationClass" / f"{name}.png", values(0, 1, 2))
    lists = tmp_path / "ImageSets" / "Segmentation"
    text(lists / "Train.txt", line + "\n")
    text(lists / "val.txt", "b.jpg\n")
    data = load(tmp_path)
    assert data.splits["train"].keys == ("JPEGImages/sub/a.jpg",)
    assert data.splits["test"].keys == ("JPEGImages/b.jpg",)
    (lists / "val.txt").unlink()
    assert [*load(tmp_path).splits] == ["train"]
    assert load(tmp_path).skipped_kinds["in no list"] == 1


def test_a_name_that_fits_two_images_is_refused(tmp_path):
    for name in ("x/a", "y/a"):
        image(tmp_path / "images" / f"{name}.jpg")
        put(tmp_path / "masks" / f"{name}.png", BINARY)
    text(tmp_path / "list.txt", "a\n")
    with pytest.raises(InputError, match=r"list\.txt': 1 names fit several.*\n  a$"):
        load(tmp_path, "train=list.txt")
    text(tmp_path / "list.txt", "y/a\n")
    data = load(tmp_path, "train=list.txt")
    assert data.splits["train"].keys == ("images/y/a.jpg",)
    text(tmp_path / "list.txt", "y/a\nimages/y/a.jpg")
    with pytest.raises(InputError, match="listed twice"):
        load(tmp_path, "train=list.txt")


def test_splits_may_be_links(tmp_path):
    for split in ("train", "val"):
        image(tmp_path / "store" / "img" / split / "a.jpg")
        put(tmp_path / "store" / "msk" / split / "a.png", BINARY)
        for kind, at in (("images", "img"), ("masks", "msk")):
            (tmp_path / "data" / kind).mkdir(parents=True, exist_ok=True)
            link = tmp_path / "data" / kind / split
            link.symlink_to(tmp_path / "store" / at / split)
    data = load(tmp_path / "data")
    assert data.splits["train"].keys == ("images/train/a.jpg",)
    assert data.splits["test"].keys == ("images/val/a.jpg",)
    assert data.skipped == 0
    (tmp_path / "data" / "images" / "loop").symlink_to(tmp_path / "data" / "images")
    assert load(tmp_path / "data").skipped_kinds["linked folder"] == 1


def test_options_name_the_splits(tmp_path):
    for split in ("training", "special"):
        image(tmp_path / split / "image_2" / "a.png")
        put(tmp_path / split / "semantic" / "a.png", BINARY)
    image(tmp_path / "testing" / "image_2" / "a.png")  # KITTI keeps its masks
    with pytest.raises(InputError, match=r"testing' has no .*with train= alone"):
        load(tmp_path)
    data = load(tmp_path, "train=training")
    assert [*data.splits] == ["train"]
    data = load(tmp_path, "train=training&test=special")
    assert data.splits["test"].keys == ("special/image_2/a.png",)
    with pytest.raises(InputError, match="needs train="):
        load(tmp_path, "test=special")


def test_cityscapes_is_read_with_a_suffix(tmp_path):
    for split in ("train", "val"):
        name = f"{split}/aachen/aachen_000000_000019"
        image(tmp_path / "leftImg8bit" / f"{name}_leftImg8bit.png")
        for kind, shown in (("labelIds", 7), ("labelTrainIds", 0), ("color", 9)):
            mask_file = tmp_path / "gtFine" / f"{name}_gtFine_{kind}.png"
            put(mask_file, values(shown, shown + 1))
        text(tmp_path / "gtFine" / f"{name}_gtFine_polygons.json")
    data = load(tmp_path, "suffix=_gtFine_labelTrainIds")
    assert data.splits["train"].keys == (
        "leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png",
    )
    assert mask(data)[0, :2].tolist() == [0, 1]
    assert {k: n for k, n in data.skipped_kinds.items() if n} == {".png": 4, ".json": 2}


# -- several masks of one image ------------------------------------------------------


def test_masks_of_one_image_are_merged_if_said(tmp_path):
    first, second = np.zeros((4, 6), np.uint8), np.zeros((4, 6), np.uint8)
    first[:2], second[2:, 3:] = 255, 255
    image(tmp_path / "b (1).png")
    put(tmp_path / "b (1)_mask.png", first)
    put(tmp_path / "b (1)_mask_1.png", second)
    with pytest.raises(
        InputError, match=r"several=merge .*\n  'b \(1\)\.png' has 2 masks"
    ):
        load(tmp_path)
    data = load(tmp_path, "several=merge")
    np.testing.assert_array_equal(mask(data), np.maximum(first, second) // 255)
    before = data.splits["train"].labels.stamp(0)
    put(tmp_path / "b (1)_mask_1.png", 255 - second)
    assert data.splits["train"].labels.stamp(0) != before
    assert load(tmp_path, "suffix=_mask_1").splits["train"].keys == ("b (1).png",)


def test_several_suffixes_are_masks_of_one_image(tmp_path):
    tumour, organ = values(0, 0, 2), values(1, 1, 0)
    for i in range(2):
        image(tmp_path / "images" / f"{i}.jpg")
        put(tmp_path / "masks" / f"{i}_tumour.png", tumour)
        put(tmp_path / "masks" / f"{i}_organ.png", organ)
        put(tmp_path / "masks" / f"{i}_preview.png", values(9))
    data = load(tmp_path, "suffix=_tumour,_organ&several=merge")
    np.testing.assert_array_equal(mask(data, 1), np.maximum(tumour, organ))
    put(tmp_path / "masks" / "1_organ.png", values(1, 1, 1))
    with pytest.raises(DecodeError, match=r"have different classes at x=2, y=0"):
        mask(load(tmp_path, "suffix=_tumour,_organ&several=merge"), 1)
