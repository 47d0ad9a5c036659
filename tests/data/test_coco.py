import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from jft.data.coco.shapes import decode_counts, paint, read_shape
from jft.data.decode import DecodeError
from jft.data.listing import Dataset
from jft.data.sources import open_splits
from jft.data.spec import parse_spec
from jft.errors import InputError
from jft.preprocess import Preprocess

Json = dict[str, Any]

VOID = 255
SQUARE = [[1, 1, 5, 1, 5, 4, 1, 4]]  # columns 1 to 4 of rows 1 to 3


def content(*annotations: Json, count: int = 2, size: tuple[int, int] = (6, 8)) -> Json:
    height, width = size
    return {
        "images": [
            {"id": 10 + i, "file_name": f"{i}.png", "height": height, "width": width}
            for i in range(count)
        ],
        "annotations": list(annotations),
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
    }


def annotation(segmentation: object, **more: object) -> Json:
    return {"image_id": 10, "category_id": 7, "segmentation": segmentation} | more


def write(root: Path, data: object, name: str = "instances.json") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for i in range(3):
        Image.new("RGB", (8, 6), (i, i, i)).save(root / f"{i}.png")
    text = data if isinstance(data, str) else json.dumps(data)
    (root / name).write_text(text)
    return root / name


def load(root: Path, data: object) -> Dataset:
    return parse_spec(f"coco:{write(root, data)}").load()


def drawn(*segmentations: object, size: tuple[int, int] = (6, 8)) -> np.ndarray:
    return paint([read_shape(s, 1) for s in segmentations], *size)


def encode(mask: np.ndarray) -> tuple[list[int], str]:
    """Return COCO's run lengths of a mask and its text for them: the definition."""
    counts, value = [], 0
    runs = [0]
    for pixel in mask.T.ravel().tolist():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    counts = runs
    text = ""
    for i, count in enumerate(counts):
        number = count - counts[i - 2] if i > 2 else count
        while True:
            group, number = number & 31, number >> 5
            more = number != (-1 if group & 16 else 0)
            text += chr(48 + (group | 32 * more))
            if not more:
                break
    return counts, text


def test_categories_are_classes_behind_the_background(tmp_path):
    data = load(tmp_path, content(annotation(SQUARE)))
    assert data.task == "segmentation"
    assert data.class_names == ("background", "cat", "dog")  # by their numbers
    listing = data.splits["train"]
    assert listing.keys == ("0.png", "1.png")
    expected = np.zeros((6, 8), np.uint8)
    expected[1:4, 1:5] = 2
    np.testing.assert_array_equal(listing.labels[0], expected)
    assert listing.labels[0].dtype == np.uint8
    assert not listing.labels[1].any()  # an image without objects is all background


def test_categories_of_one_name_are_one_class(tmp_path):
    data = content(annotation(SQUARE, category_id=9), annotation(SQUARE, image_id=11))
    data["categories"] += [{"id": 9, "name": "dog"}, {"id": 1, "name": "background"}]
    data = load(tmp_path, data)
    assert data.class_names == ("background", "cat", "dog")
    first, second = data.splits["train"].labels
    np.testing.assert_array_equal(first, second)


def test_polygons_cover_the_pixels_whose_centres_they_hold():
    rng = np.random.default_rng(0)
    for _ in range(12):
        corners = rng.uniform(-10, 50, (rng.integers(3, 9), 2))
        mask = drawn([corners.ravel().tolist()], size=(40, 30))
        corners = corners.astype(np.float32).astype(float)
        for y in range(40):
            for x in range(30):
                assert mask[y, x] == inside(corners, x + 0.5, y + 0.5)


def inside(corners: np.ndarray, x: float, y: float) -> int:
    """Count the edges that a ray to the right crosses (even-odd rule)."""
    count = 0
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if (y0 > y) != (y1 > y) and x < x0 + (y - y0) / (y1 - y0) * (x1 - x0):
            count += 1
    return count % 2


def test_parts_are_united_and_what_lies_outside_is_cut_off():
    corners = [
        [-9, -9, 2, -9, 2, 2, -9, 2],
        [1, 1, 99, 1, 99, 3, 1, 3],
        [50, 50, 60, 50, 60, 60],
    ]
    expected = np.zeros((6, 8), np.uint8)
    expected[:2, :2] = expected[1:3, 1:] = 1
    np.testing.assert_array_equal(drawn(corners), expected)


def test_lines_and_points_cover_nothing():
    assert not drawn([[2, 2, 2, 2, 2, 2]], [[1, 1, 5, 5, 3, 3]]).any()


@given(
    st.integers(1, 40), st.integers(1, 40), st.floats(0, 1), st.integers(0, 2**32 - 1)
)
def test_run_lengths_and_their_text_give_the_mask_back(height, width, share, seed):
    mask = (np.random.default_rng(seed).random((height, width)) < share).astype(int)
    counts, text = encode(mask)
    assert decode_counts(text) == counts
    for given_counts in (counts, text):
        runs = {"size": [height, width], "counts": given_counts}
        assert (drawn(runs, size=(height, width)) == mask).all()


def test_the_text_of_run_lengths_is_that_of_pycocotools():
    # Written by pycocotools 2.0.11: encode of a 50 x 40 mask with 1 in rows 5 to 29 of
    # columns 10 to 19, and in row 0 of column 30.
    mask = np.zeros((50, 40), int)
    mask[5:30, 10:20] = 1
    mask[0, 30] = 1
    runs = {"size": [50, 40], "counts": "i?i0i000000000000000000_?XO[O"}
    assert (drawn(runs, size=(50, 40)) == mask).all()


def test_crowds_are_void_below_the_rest_and_small_shapes_lie_on_top(tmp_path):
    crowd = {"size": [6, 8], "counts": [0, 48]}
    small = [[2, 2, 4, 2, 4, 3, 2, 3]]
    data = content(
        annotation(small, category_id=3),
        annotation(SQUARE),
        annotation(crowd, iscrowd=1),
    )
    expected = np.full((6, 8), VOID, np.uint8)
    expected[1:4, 1:5] = 2
    expected[2, 2:4] = 1
    np.testing.assert_array_equal(
        load(tmp_path, data).splits["train"].labels[0], expected
    )


BAD = {
    "no segmentation": (None, "no segmentation"),
    "empty": ([], "no segmentation"),
    "odd": ([[1, 2, 3, 4, 5]], "not a list of pairs"),
    "nan": ([[float("nan"), 1, 2, 3, 4, 5]], "finite"),
    "infinite": ([[1e999, 1, 2, 3, 4, 5]], "finite"),
    "huge": ([[10**400, 1, 2, 3, 4, 5]], "finite"),
    "words": ([["1", "2", "3", "4", "5", "6"]], "finite"),
    "a point": ([[1, 1]], "fewer than three points"),
    "two points": ([[1, 1, 5, 5]], "fewer than three points"),
    "a box": ([1, 1, 5, 5], "fewer than three points"),
    "two pairs": ([[1, 1], [5, 5]], "fewer than three points"),
    "nothing": ([[]], "fewer than three points"),
    "two deep": ([[[[1, 2], [3, 4], [5, 6]]]], "finite"),
    "truths": ([[True, False] * 3], "finite"),
    "text": ("1 2 3", "no segmentation"),
    "no size": ({"counts": [48]}, "need a size"),
    "other size": ({"size": [8, 6], "counts": [48]}, "are of 6 x 8 pixels"),
    "short": ({"size": [6, 8], "counts": [1, 2]}, "do not add up"),
    "negative": ({"size": [6, 8], "counts": [50, -2]}, "need a size"),
    "many": ({"size": [6, 8], "counts": [10**30]}, "need a size"),
    "endless": ({"size": [6, 8], "counts": "o" * 99}, "damaged"),
    "cut": ({"size": [6, 8], "counts": "`"}, "damaged"),
    "letters": ({"size": [6, 8], "counts": "\u00e9 \n"}, "damaged"),
    "below nothing": ({"size": [6, 8], "counts": "O"}, "damaged"),
}


@pytest.mark.parametrize("name", BAD)
def test_an_outline_that_is_none_rejects_its_image_alone(tmp_path, name):
    segmentation, reason = BAD[name]
    data = content(annotation(segmentation), annotation(SQUARE, image_id=11), count=3)
    masks = load(tmp_path, data).splits["train"].labels
    with pytest.raises(DecodeError, match=reason):
        _ = masks[0]
    assert masks[1].any()


def test_an_absurd_size_rejects_its_image_and_takes_no_memory(tmp_path):
    data = content(
        annotation([[0, 0, 1e8, 0, 1e8, 1e8, 0, 1e8]]), size=(10**6, 10**400)
    )
    with pytest.raises(DecodeError, match="more pixels than are decoded"):
        _ = load(tmp_path, data).splits["train"].labels[0]


def test_a_far_larger_outline_than_the_image_is_cut_first():
    corners = [[-1e8, -1e8, 1e8, -1e8, 1e8, 1e8, -1e8, 1e8]]
    assert drawn(corners).all()


def test_an_image_of_another_size_than_declared_is_rejected(tmp_path):
    data = content(annotation(SQUARE), count=3)
    data["images"][1] |= {"height": 9}
    splits = open_splits(f"coco:{write(tmp_path, data)}", Preprocess(size=8))
    assert splits.report.rejected == (
        ("1.png", "the mask has 8 x 9 pixels, the image 8 x 6"),
    )


def test_a_test_file_has_the_same_classes_under_any_numbers(tmp_path):
    train = write(tmp_path / "a", content(annotation(SQUARE)))
    other = content(annotation(SQUARE, category_id=1))
    other["categories"] = [{"id": 1, "name": "dog"}]
    test = write(tmp_path / "b", other)
    data = parse_spec(f"coco:{train}?test={test}").load()
    assert data.splits["train"].keys == ("train/0.png", "train/1.png")
    assert data.splits["test"].keys == ("test/0.png", "test/1.png")
    assert data.splits["test"].images[0] == tmp_path / "b" / "0.png"
    assert data.splits["test"].labels[0].max() == 2
    other["categories"] = [{"id": 1, "name": "dogs"}]
    write(tmp_path / "b", other)
    with pytest.raises(InputError, match="'dogs'; did you mean 'dog'"):
        parse_spec(f"coco:{train}?test={test}").load()


@pytest.mark.parametrize("folder", ["images", "train2017", "images/train2017"])
def test_images_are_found_where_coco_keeps_them(tmp_path, folder):
    name = "annotations/instances_train2017.json"
    (tmp_path / "annotations").mkdir()
    write(tmp_path / folder, content(annotation(SQUARE)), "unused.json")
    (tmp_path / name).write_text(json.dumps(content(annotation(SQUARE))))
    data = parse_spec(f"coco:{tmp_path / name}").load()
    assert data.splits["train"].images[0] == tmp_path / folder / "0.png"


def test_images_says_where_they_are(tmp_path):
    write(tmp_path / "far" / "away", content())
    file = tmp_path / "a.json"
    file.write_text(json.dumps(content(annotation(SQUARE))))
    with pytest.raises(InputError, match=r"no image is found, such as '0\.png'"):
        parse_spec(f"coco:{file}").load()
    data = parse_spec(f"coco:{file}?images={tmp_path / 'far' / 'away'}").load()
    assert data.splits["train"].images[0].exists()
    with pytest.raises(InputError, match="did you mean 'far'"):
        parse_spec(f"coco:{file}?images={tmp_path / 'fat'}").check()
    with pytest.raises(InputError, match=r"did you mean 'a\.json'"):
        parse_spec(f"coco:{tmp_path / 'a.jsn'}").check()


def changed(**lists: object) -> Json:
    return content(annotation(SQUARE)) | lists


IMAGE = {"id": 10, "file_name": "0.png", "height": 6, "width": 8}


@pytest.mark.parametrize(
    ("data", "match"),
    [
        ("", "Expecting value"),
        ("[" * 100_000, "nested too deeply"),
        ('{"images": ' + "9" * 5000 + "}", "integer string conversion"),
        ("[]", "no list of objects called 'images'"),
        ("null", "no list of objects"),
        (changed(images={"a": 1}), "no list of objects called 'images'"),
        (changed(annotations=[1, 2]), "no list of objects called 'annotations'"),
        (changed(categories=[]), "no categories"),
        (changed(images=[], annotations=[]), "no images"),
        (changed(images=[{"id": 1}]), "has no id and file_name"),
        (changed(images=[IMAGE | {"id": 1.5}]), "has no id and file_name"),
        (changed(images=[IMAGE, IMAGE | {"id": "10"}]), "same id:\n  10"),
        (changed(images=[IMAGE, IMAGE]), "same id:\n  10"),
        (changed(images=[IMAGE, IMAGE | {"id": 11}]), r"same file name\n  0\.png"),
        (changed(images=[IMAGE | {"height": -1}]), "no height and width"),
        (changed(images=[IMAGE | {"width": 2.5}]), "no height and width"),
        (changed(images=[IMAGE | {"file_name": "/etc/0.pn"}]), "no image is found"),
        (changed(images=[IMAGE | {"file_name": "\ud800.png"}]), "not Unicode"),
        (changed(categories=[{"id": 7, "name": 5}]), "has no id and name"),
        (
            changed(categories=[{"id": i, "name": f"n{i}"} for i in range(254)]),
            "255 cl",
        ),
        (content(annotation(SQUARE, image_id=99)), "(?s)1 of 1.*'image_id': 99, 'c"),
        (content(annotation(SQUARE, image_id=[1])), "1 of 1 annotations"),
        (content(annotation(SQUARE, category_id=None)), "1 of 1 annotations"),
        (
            content({"image_id": 10, "category_id": 7, "bbox": [1, 2, 3, 4]}),
            "boxes make",
        ),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path, data, match):
    with pytest.raises(InputError, match=match):
        load(tmp_path, data)


def test_the_listing_travels_and_the_fingerprint_is_of_the_content(tmp_path):
    data = [load(tmp_path / name, content(annotation(SQUARE))) for name in "ab"]
    assert data[0].fingerprint == data[1].fingerprint
    again = pickle.loads(pickle.dumps(data[0].splits["train"]))
    np.testing.assert_array_equal(again.labels[0], data[0].splits["train"].labels[0])
    other = load(tmp_path / "c", content(annotation([[1, 1, 5, 1, 5, 5, 1, 5]])))
    assert other.fingerprint != data[0].fingerprint


def test_a_warm_cache_draws_no_outlines_unless_the_file_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    cache, size = str(tmp_path / "cache"), Preprocess(size=8)
    file = write(tmp_path, content())

    def masks(outline: object) -> list[int]:
        file.write_text(json.dumps(content(annotation(outline), count=3)))
        splits = open_splits(f"coco:{file}", size, cache=cache)
        return [
            int(np.sum(m == 2)) for s in (splits.train, splits.test) for m in s.labels
        ]

    first = masks(SQUARE)
    with monkeypatch.context() as patch:
        patch.setattr("jft.data.coco.read.paint", None)
        assert masks(SQUARE) == first
    assert masks([[1, 1, 3, 1, 3, 4, 1, 4]]) != first


# -- as exporters write it -----------------------------------------------------------

PAINTED = np.zeros((6, 8), np.uint8)  # SQUARE by hand
PAINTED[1:4, 1:5] = 2
DIALECTS = {
    "flat": ([1, 1, 5, 1, 5, 4, 1, 4], "one polygon without the list around it"),
    "pairs": ([[1, 1], [5, 1], [5, 4], [1, 4]], r"points as lists \[x, y\]"),
    "nested": ([[[1, 1], [5, 1], [5, 4], [1, 4]]], r"points as lists \[x, y\]"),
    "nested triangle": ([[[1, 1], [9, 1], [1, 9]], []], "parts of fewer than three"),
    "short part": ([*SQUARE, [7, 0, 8, 1], []], "parts of fewer than three points"),
    "floats": ({"size": [6.0, 8.0], "counts": [7.0, *[3, 3] * 3, 3, 20.0]}, ""),
}


@pytest.mark.parametrize("name", DIALECTS)
def test_what_exporters_write_is_read_and_counted(tmp_path, name):
    segmentation, note = DIALECTS[name]
    data = load(tmp_path, content(annotation(segmentation), annotation(SQUARE)))
    expected = PAINTED.copy()
    if name == "nested triangle":
        for y in range(6):
            for x in range(8):
                corners = np.array([(1, 1), (9, 1), (1, 9)], float)
                expected[y, x] = max(
                    expected[y, x], 2 * inside(corners, x + 0.5, y + 0.5)
                )
    np.testing.assert_array_equal(data.splits["train"].labels[0], expected)
    assert len(data.notes) == bool(note)
    if note:
        match = f"1 objects in 'instances.json': {note}"
        assert re.match(match, data.notes[0]), data.notes


@pytest.mark.parametrize("marked", [1, True, 1.0, "1"])
def test_crowds_are_counted_and_may_be_objects(tmp_path, marked):
    counts, _ = encode(PAINTED // 2)
    brush = annotation({"size": [6, 8], "counts": counts}, iscrowd=marked)
    other = annotation(SQUARE, image_id=11, category_id=3)
    file = write(tmp_path, content(brush, other))
    void = parse_spec(f"coco:{file}").load()
    used = parse_spec(f"coco:{file}?crowd=use").load()
    np.testing.assert_array_equal(
        void.splits["train"].labels[0], np.where(PAINTED, VOID, 0)
    )
    np.testing.assert_array_equal(used.splits["train"].labels[0], PAINTED)
    assert "1 of 2 objects in 'instances.json' are crowds (iscrowd)" in void.notes[0]
    assert "crowd=use" in void.notes[0]
    assert "used as objects" in used.notes[0]
    assert void.fingerprint != used.fingerprint
    with pytest.raises(InputError, match="did you mean 'use'"):
        parse_spec(f"coco:{file}?crowd=used").check()


def test_ids_may_be_text_and_sizes_decimals(tmp_path):
    data = content(annotation(SQUARE, image_id="10", category_id="dog-7"))
    data["images"] = [e | {"height": 6.0, "width": "8"} for e in data["images"]]
    data["images"][1]["id"] = "11"
    data["categories"] = [{"id": "dog-7", "name": "dog"}, {"id": 3, "name": "cat"}]
    data["annotations"].append(annotation(SQUARE, image_id=11.0, category_id="3"))
    data = load(tmp_path, data)
    assert data.class_names == ("background", "cat", "dog")  # numbers before text
    np.testing.assert_array_equal(data.splits["train"].labels[0], PAINTED)
    np.testing.assert_array_equal(data.splits["train"].labels[1], PAINTED // 2)


@pytest.mark.parametrize(
    "form",
    [
        "images\\{}.png",
        ".\\images\\{}.png",
        "C:\\Users\\me\\{}.png",
        "/home/me/data/{}.png",
        "https://example.org/upload/{}.png",
        "upload/7/{}.png",
    ],
)
def test_images_are_found_by_paths_of_other_machines(tmp_path, form):
    data = content(annotation(SQUARE))
    data["images"] = [
        entry | {"file_name": form.format(i)} for i, entry in enumerate(data["images"])
    ]
    write(tmp_path / "images", content(), "unused.json")
    (tmp_path / "a.json").write_text(json.dumps(data))
    listing = parse_spec(f"coco:{tmp_path / 'a.json'}").load().splits["train"]
    assert [*listing.images] == [tmp_path / "images" / f"{i}.png" for i in range(2)]
    assert listing.keys[1] in ("images/1.png", "1.png")


def test_a_backslash_in_the_name_of_a_file_stays(tmp_path):
    data = content(annotation(SQUARE), count=1)
    data["images"][0]["file_name"] = "a\\b.png"
    file = write(tmp_path, data)
    (tmp_path / "0.png").rename(tmp_path / "a\\b.png")
    assert parse_spec(f"coco:{file}").load().splits["train"].keys == ("a\\b.png",)


def test_the_parent_of_all_categories_is_no_class(tmp_path):
    data = content(annotation(SQUARE))
    data["categories"] = [
        {"id": 0, "name": "pets", "supercategory": "none"},
        {"id": 3, "name": "cat", "supercategory": "pets"},
        {"id": 7, "name": "dog", "supercategory": "dog"},
    ]
    found = load(tmp_path, data)
    assert found.class_names == ("background", "cat", "dog")
    assert "no class for the category 'pets'" in found.notes[0]
    data["annotations"].append(annotation(SQUARE, category_id=0, image_id=11))
    assert load(tmp_path, data).class_names == ("background", "pets", "cat", "dog")


def test_objects_that_cover_no_pixel_are_counted(tmp_path):
    zeros = [
        {"size": [6, 8], "counts": counts} for counts in ([48], encode(PAINTED * 0)[1])
    ]
    outside = [[9, 1, 12, 1, 12, 5]]
    tiny = [[1.6, 1.6, 2.4, 1.6, 2.4, 2.4]]
    line = [[1, 1, 5, 5, 3, 3]]
    some = [annotation(s) for s in (*zeros, outside, tiny, line, SQUARE)]
    data = load(tmp_path, content(*some))
    assert data.notes[0].startswith("5 objects in 'instances.json' cover no pixel")
    np.testing.assert_array_equal(data.splits["train"].labels[0], PAINTED)
