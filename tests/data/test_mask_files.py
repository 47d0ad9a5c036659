"""One mask file: its pixels, and what is wrong with it."""

import pickle

import numpy as np
import pytest
from mask_folders import BINARY, VOID, folder, load, mask, put, values
from PIL import Image

from jft.data.decode import DecodeError
from jft.data.geometry import Square
from jft.data.images import read_all
from jft.data.masks.files import Coding
from jft.data.masks.pixels import read_pixels
from jft.data.sources import open_splits
from jft.errors import InputError
from jft.preprocess import Preprocess


def test_a_value_that_is_no_class_is_told_with_its_place(tmp_path):
    shown = values(0, 1)
    shown[2, 3] = 9
    file = put(tmp_path / "a.png", shown)
    with pytest.raises(DecodeError, match=r"value 9 at x=3, y=2 is not a class \(1"):
        Coding((0, 1)).indices(file)
    with pytest.raises(DecodeError, match="value 090909 at x=3"):
        Coding((0, 0x010101), colour=True).indices(file)


def test_places_equal_a_loop_over_pixels(tmp_path):
    rng = np.random.default_rng(1)
    coding = Coding((5, 0, 200), void=(7, 255))
    shown = rng.choice([5, 0, 200, 7, 255], (13, 17)).astype(np.uint8)
    table = {5: 0, 0: 1, 200: 2, 7: VOID, 255: VOID}
    expected = [[table[value] for value in row] for row in shown.tolist()]
    file = put(tmp_path / "a.png", shown)
    assert coding.indices(file).tolist() == expected
    assert coding.indices(file.read_bytes()).tolist() == expected


def test_a_mask_is_turned_as_its_exif_says(tmp_path):
    shown = values(0, 1, 2, 3, 4)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(shown).save(tmp_path / "a.png", exif=exif)
    pixels = read_pixels(tmp_path / "a.png").values
    np.testing.assert_array_equal(pixels, np.rot90(shown, -1))


@pytest.mark.parametrize(
    "name", ["gone.png", "text.png", "float.tif", "cmyk.jpg", "cut.png"]
)
def test_files_that_hold_no_mask_have_a_reason(tmp_path, name):
    (tmp_path / "text.png").write_text("not an image")
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "float.tif")
    Image.new("CMYK", (4, 4)).save(tmp_path / "cmyk.jpg")
    whole = put(
        tmp_path / "whole.png", np.random.default_rng(0).integers(0, 9, (40, 40))
    )
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:200])
    with pytest.raises(DecodeError, match="the mask") as caught:
        read_pixels(tmp_path / name)
    assert str(tmp_path) not in str(caught.value)


def test_a_mask_that_gets_another_size_later_is_an_error(tmp_path):
    root = folder(tmp_path, *[BINARY] * 10)
    source = load(root).splits["train"]
    square = Square(Preprocess(size=8).with_crop("letterbox"))
    examples = read_all(source, square, keep=False)
    np.testing.assert_array_equal(examples.labels[3], examples.labels[4])
    put(root / "masks" / "3.png", np.resize(BINARY, (8, 12)))
    put(root / "images" / "4.jpg", np.zeros((6, 4, 3)))
    with pytest.raises(InputError, match=r"3\.jpg.*12 x 8 pixels, where .* 6 x 4"):
        examples.labels[3]
    with pytest.raises(InputError, match=r"4\.jpg.*4 x 6 pixels, where .* 6 x 4"):
        examples.images[4]


def test_a_photograph_with_a_mask_is_decoded_at_full_size(tmp_path):
    # Ten times the size of the square: without a mask it is decoded at 1/4 of its size.
    for i in range(12):
        put(tmp_path / "images" / f"{i}.jpg", np.full((80, 90, 3), 20 * i))
        put(tmp_path / "masks" / f"{i}.png", np.full((80, 90), 255 * (i % 2)))
    splits = open_splits(f"masks:{tmp_path}", Preprocess(size=8))
    assert splits.report.used == 12


def test_a_bad_mask_and_one_of_another_size_are_rejected(tmp_path):
    root = folder(tmp_path, *[BINARY] * 12)
    put(root / "masks" / "3.png", np.resize(BINARY, (6, 4)))
    put(root / "masks" / "5.png", values(0, 255))
    (root / "masks" / "5.png").write_bytes(b"\x89PNG no more")
    splits = open_splits(f"masks:{root}", Preprocess(size=8))
    assert dict(splits.report.rejected) == {
        "images/3.jpg": "the mask has 4 x 6 pixels, the image 6 x 4",
        "images/5.jpg": "the mask is not an image",
    }


def test_no_readable_mask_is_said_at_once(tmp_path):
    root = folder(tmp_path, BINARY)
    (root / "masks" / "0.png").write_bytes(b"nothing")
    with pytest.raises(
        InputError, match=r"no mask can be read: '0\.png': the mask is no"
    ):
        load(root)


def test_the_listing_travels_and_the_fingerprint_is_of_the_content(tmp_path):
    data = [load(folder(tmp_path / name, BINARY)) for name in "ab"]
    assert data[0].fingerprint == data[1].fingerprint
    again = pickle.loads(pickle.dumps(data[0].splits["train"]))
    np.testing.assert_array_equal(again.labels[0], mask(data[0]))
    others = {
        load(tmp_path / "a", "values=255,0").fingerprint,
        load(tmp_path / "a", "classes=x,y").fingerprint,
        load(folder(tmp_path / "c", np.tile(BINARY, (50, 50)))).fingerprint,
    }
    assert len(others | {data[0].fingerprint}) == 4
