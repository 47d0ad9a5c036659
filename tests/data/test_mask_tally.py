"""What masks mean that are not all of one kind, or whose palettes differ."""

from dataclasses import dataclass
from pathlib import Path
from zlib import compress, crc32

import numpy as np
import pytest
from mask_folders import coloured, folder, image, load, mask, palette, put, values
from PIL import Image

from jft.data.masks.tally import MANY
from jft.data.masks.values import Wanted, find_values, inferred
from jft.errors import InputError

BLACK, RED, GREEN, WHITE = 0, 0xFF0000, 0x00FF00, 0xFFFFFF
MAROON = 0x800000  # VOC's first class
VOID = 255
HALVES = values(0, 1)


def one_bit(root: Path, shown: np.ndarray, name: str = "bits") -> None:
    image(root / "images" / f"{name}.jpg")
    (root / "masks").mkdir(exist_ok=True)
    Image.fromarray(shown > 0).save(root / "masks" / f"{name}.png")


# -- palettes ------------------------------------------------------------------------


def test_palettes_in_another_order_are_read_by_their_colours(tmp_path):
    palette(tmp_path, HALVES, [BLACK, MAROON], "a")
    palette(tmp_path, 1 - HALVES, [MAROON, BLACK], "b")
    data = load(tmp_path)
    assert data.class_names == ("background", "foreground")
    np.testing.assert_array_equal(mask(data, 0), HALVES)
    np.testing.assert_array_equal(mask(data, 1), HALVES)


def test_palettes_that_differ_in_colours_of_no_table_are_refused(tmp_path):
    palette(tmp_path, HALVES, [BLACK, RED], "a")
    palette(tmp_path, 1 - HALVES, [RED, BLACK], "b")
    match = r"palettes.*differ \(index 0 is 000000 and ff0000\).*values=000000,ff0000&"
    with pytest.raises(InputError, match=match) as caught:
        load(tmp_path)
    assert "values=0,1,... takes indices" in str(caught.value)
    data = load(tmp_path, "values=000000,ff0000&classes=road,crack")
    np.testing.assert_array_equal(mask(data, 1), HALVES)
    data = load(tmp_path, "values=0,1")
    np.testing.assert_array_equal(mask(data, 1), 1 - HALVES)


def test_palettes_may_differ_in_what_no_pixel_uses(tmp_path):
    palette(tmp_path, HALVES, [BLACK, RED, GREEN], "a")
    palette(tmp_path, HALVES, [BLACK, RED, WHITE, WHITE], "b")
    data = load(tmp_path)
    assert data.splits["train"].labels.coding.values == (0, 1)
    np.testing.assert_array_equal(mask(data, 1), HALVES)


@pytest.mark.parametrize("colours", [[BLACK, RED], [BLACK, WHITE], [BLACK, BLACK]])
def test_one_palette_beside_greys_of_its_places_is_numbers(tmp_path, colours):
    palette(tmp_path, HALVES, colours)
    put(tmp_path / "masks" / "b.png", HALVES)
    image(tmp_path / "images" / "b.jpg")
    one_bit(tmp_path, HALVES, "c")
    data = load(tmp_path)
    for i in range(3):
        np.testing.assert_array_equal(mask(data, i), HALVES)


def test_greys_that_palettes_have_elsewhere_are_told(tmp_path):
    palette(folder(tmp_path / "1", values(0, 255)), HALVES, [BLACK, WHITE])
    with pytest.raises(InputError, match="ffffff is index 1 in palettes and 255 in"):
        load(tmp_path / "1")
    data = load(tmp_path / "1", "values=000000,ffffff")
    np.testing.assert_array_equal(mask(data, 0), HALVES)
    np.testing.assert_array_equal(mask(data, 1), HALVES)
    palette(tmp_path / "2", HALVES, [WHITE, BLACK])
    one_bit(tmp_path / "2", HALVES)
    with pytest.raises(InputError, match="ffffff is index 0 in palettes and 1 in"):
        load(tmp_path / "2")


# -- a class file with colours -------------------------------------------------------


def labelmap(root: Path, text: str) -> None:
    (root / "labelmap.txt").write_text(text)


def test_colours_of_a_class_file_are_those_of_the_palette(tmp_path):
    palette(tmp_path, HALVES, [RED, BLACK])
    labelmap(tmp_path, "background:0,0,0::\nroad:255,0,0::\n")
    data = load(tmp_path)
    assert data.class_names == ("background", "road")
    np.testing.assert_array_equal(mask(data), 1 - HALVES)


def test_colours_of_a_class_file_are_those_of_greys(tmp_path):
    root = folder(tmp_path, values(0, 255))
    labelmap(root, "road:255,255,255::\nbackground:0,0,0::\n")
    data = load(root)
    assert data.class_names == ("road", "background")
    np.testing.assert_array_equal(mask(data), 1 - HALVES)


def test_greys_that_a_class_file_does_not_have_are_its_lines(tmp_path):
    root = folder(tmp_path, values(0, 1, 2))
    labelmap(root, "road:0,0,0::\nsky:0,0,9::\ncar:9,9,9::\n")
    np.testing.assert_array_equal(mask(load(root)), values(0, 1, 2))
    wide = np.where(HALVES, 40_000, 0).astype(np.uint16)
    Image.fromarray(wide).save(root / "masks" / "0.png")
    with pytest.raises(InputError, match="40000 in 1 masks"):
        load(root)


def test_colours_of_a_palette_that_a_class_file_lacks_are_listed(tmp_path):
    palette(tmp_path, values(0, 1, 2), [BLACK, RED, GREEN])
    labelmap(tmp_path, "road:0,0,0::\nsky:255,0,0::\n")
    with pytest.raises(InputError, match=r"labelmap\.txt' gives .*\n  00ff00$"):
        load(tmp_path)
    data = load(tmp_path, "values=0,1,2")
    np.testing.assert_array_equal(mask(data), values(0, 1, 2))


# -- files of few bits ---------------------------------------------------------------


@pytest.mark.parametrize("top", [1, 255, 65535])
def test_white_of_one_bit_is_the_foreground_of_the_others(tmp_path, top):
    wide = HALVES.astype(np.uint16 if top > 255 else np.uint8) * top
    image(tmp_path / "images" / "a.jpg")
    one_bit(tmp_path, 1 - HALVES)
    Image.fromarray(wide).save(tmp_path / "masks" / "a.png")
    for options in ("", f"values=0,{top}"):
        data = load(tmp_path, options)
        np.testing.assert_array_equal(mask(data, 0), HALVES)
        np.testing.assert_array_equal(mask(data, 1), 1 - HALVES)


def test_white_of_one_bit_that_may_be_void_is_told(tmp_path):
    root = folder(tmp_path, values(0, 1, 255))
    one_bit(root, HALVES)
    with pytest.raises(InputError, match=r"hold both 1 and 255.*values=0,1 takes it"):
        load(root)
    np.testing.assert_array_equal(mask(load(root, "values=0,1"), 1), HALVES)
    data = load(root, "values=0,1,255")
    np.testing.assert_array_equal(mask(data, 1), HALVES * 2)


def test_white_of_one_bit_is_white_among_colours(tmp_path):
    root = folder(tmp_path, coloured(BLACK, RED, WHITE))
    one_bit(root, HALVES)
    data = load(root, "values=000000,ff0000,ffffff")
    np.testing.assert_array_equal(mask(data, 1), HALVES * 2)


@pytest.mark.parametrize(("bits", "step"), [(4, 17), (2, 85)])
def test_greys_of_few_bits_are_told(tmp_path, bits, step):
    image(tmp_path / "images" / "a.jpg")
    file = put(tmp_path / "masks" / "a.png", values(0, 1, 2))
    file.write_bytes(grey_png(values(0, 1, 2), bits))
    with pytest.raises(InputError, match=f"greys of {bits} bits are read times {step}"):
        load(tmp_path)
    data = load(tmp_path, f"values=0,{step},{2 * step}")
    np.testing.assert_array_equal(mask(data), values(0, 1, 2))


def grey_png(shown: np.ndarray, bits: int) -> bytes:
    """Return a grey PNG of 2 or 4 bits, which Pillow cannot write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return len(data).to_bytes(4, "big") + body + crc32(body).to_bytes(4, "big")

    height, width = shown.shape
    planes = np.unpackbits(shown[..., None], axis=2)[..., -bits:]
    rows = np.packbits(planes.reshape(height, -1), axis=1)
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", size + bytes([bits, 0, 0, 0, 0]))
        + chunk(b"IDAT", compress(data))
        + chunk(b"IEND", b"")
    )


# -- too many values -----------------------------------------------------------------


@dataclass
class Noise:
    """Many masks of colours that no two pixels share."""

    file: bytes
    read: int = 0

    def __len__(self) -> int:
        return 500

    def __getitem__(self, index: int) -> bytes:
        self.read += 1
        return self.file


def test_masks_of_too_many_values_are_not_all_read(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    masks = Noise(put(tmp_path / "a.png", noise).read_bytes())
    found = find_values([masks])
    assert len(found.masks) == MANY + 1
    assert masks.read < len(masks)
    with pytest.raises(InputError, match=f"more than {MANY} different values"):
        inferred(found, Wanted())
