import numpy as np
import pytest
from mask_folders import (
    VOID,
    coloured,
    folder,
    image,
    load,
    mask,
    palette,
    put,
    values,
    voc,
)
from PIL import Image

from jft.data.masks.values import VOC_NAMES, voc_colour
from jft.errors import InputError

# -- what the values mean ------------------------------------------------------------


@pytest.mark.parametrize(
    ("shown", "options", "names", "expected"),
    [
        ([0, 1], "", ("background", "foreground"), [0, 1]),
        ([0, 255], "", ("background", "foreground"), [0, 1]),
        ([0, 255], "classes=road,crack", ("road", "crack"), [0, 1]),
        ([0, 1, 255], "", ("background", "foreground"), [0, 1, VOID]),
        ([0, 1, 2, 255], "", ("0", "1", "2"), [0, 1, 2, VOID]),
        ([0, 3, 255], "classes=a,b,c,d", ("a", "b", "c", "d"), [0, 3, VOID]),
        ([0, 3, 9], "classes=a,b,c", ("a", "b", "c"), [0, 1, 2]),
        ([0, 1, 255], "classes=a,b", ("a", "b"), [0, 1, VOID]),
        ([0, 1, 255], "classes=a,b,c&void=none", ("a", "b", "c"), [0, 1, 2]),
        ([1, 2, 3], "void=0", ("1", "2", "3"), [0, 1, 2]),
        ([0, 1, 2], "void=0", ("1", "2"), [VOID, 0, 1]),
        ([0, 1, 2], "void=0&classes=cat,dog", ("cat", "dog"), [VOID, 0, 1]),
        ([0, 100, 200], "values=0,200,100", ("0", "200", "100"), [0, 2, 1]),
        ([0, 7, 9], "values=0,7&void=9&classes=a,b", ("a", "b"), [0, 1, VOID]),
        (
            [0, 3, 120, 130, 255],
            "values=0,255&nearest=yes",
            ("0", "255"),
            [0, 0, 0, 1, 1],
        ),
    ],
)
def test_values_become_classes(tmp_path, shown, options, names, expected):
    data = load(folder(tmp_path, values(*shown)), options)
    assert data.class_names == names
    assert mask(data).dtype == np.uint8
    assert mask(data).ravel()[: len(shown)].tolist() == expected


def test_values_are_those_of_all_masks_together(tmp_path):
    data = load(folder(tmp_path, values(0), values(1, 2)))
    assert data.class_names == ("0", "1", "2")
    assert mask(data, 1)[0, :2].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("shown", "options", "match"),
    [
        ([0, 3], "", r"(?s)0 in 1 masks.*without gaps.*values=0,3 selects"),
        ([0, 1, 5], "classes=a,b", "classes names 2 classes"),
        ([0], "", "one value, which leaves nothing to learn"),
        ([0, 255], "void=255", "one value"),
        ([0, 1, 255], "classes=a,b,c", "255 may be void or a class"),
        (range(0, 250, 5), "", "50 different values.*nearest=yes"),
        (range(256), "", "256 different values.*nearest=yes"),
    ],
)
def test_values_that_could_be_anything_are_listed(tmp_path, shown, options, match):
    mask_shown = np.resize(np.array(shown, np.uint8), (16, 16))
    put(tmp_path / "images" / "a.png", np.zeros((16, 16, 3)))
    put(tmp_path / "masks" / "a.png", mask_shown)
    with pytest.raises(InputError, match=match):
        load(tmp_path, options)


def test_jpeg_masks_are_refused_with_the_option_that_takes_them(tmp_path):
    rng = np.random.default_rng(0)
    truth = np.kron(rng.integers(0, 2, (4, 4)), np.ones((9, 9))).astype(np.uint8)
    put(tmp_path / "images" / "a.png", np.zeros((36, 36, 3)))
    put(tmp_path / "masks" / "a.jpg", truth * 255)
    with pytest.raises(InputError, match=r"JPEG files.*values=0,255&nearest=yes"):
        load(tmp_path)
    data = load(tmp_path, "values=0,255&nearest=yes")
    np.testing.assert_array_equal(mask(data), truth)


def test_16_bit_and_one_bit_masks_are_numbers(tmp_path):
    wide = values(0, 1).astype(np.uint16) * 40_000
    image(tmp_path / "images" / "a.jpg")
    (tmp_path / "masks").mkdir()
    Image.fromarray(wide).save(tmp_path / "masks" / "a.png")
    data = load(tmp_path, "values=0,40000")
    np.testing.assert_array_equal(mask(data), wide > 0)
    Image.fromarray(wide > 0).save(tmp_path / "masks" / "a.png")
    np.testing.assert_array_equal(mask(load(tmp_path)), wide > 0)
    Image.fromarray(np.where(wide, 65535, 0).astype(np.uint16)).save(
        tmp_path / "masks" / "a.png"
    )
    np.testing.assert_array_equal(mask(load(tmp_path)), wide > 0)


def test_of_a_palette_the_places_count_unless_colours_are_said(tmp_path):
    shown = values(0, 1, 2)
    palette(tmp_path, shown, [0x111111, 0xFF0000, 0x00FF00])
    np.testing.assert_array_equal(mask(load(tmp_path)), shown)
    data = load(tmp_path, "values=00ff00,%23FF0000,111111")
    assert data.class_names == ("00ff00", "ff0000", "111111")
    np.testing.assert_array_equal(mask(data), 2 - shown)


def test_grey_rgb_masks_are_numbers(tmp_path):
    data = load(folder(tmp_path, coloured(0, 0xFFFFFF)))
    assert mask(data)[0].tolist() == [0, 1, 0, 1, 0, 1]


def test_opaque_alpha_is_taken_away_and_other_alpha_refused(tmp_path):
    root = folder(tmp_path, values(0, 1))
    rgba = Image.fromarray(coloured(0, 0x010101)).convert("RGBA")
    rgba.save(root / "masks" / "0.png")
    assert mask(load(root))[0].tolist() == [0, 1, 0, 1, 0, 1]
    rgba.putpixel((2, 2), (0, 0, 0, 9))
    rgba.save(root / "masks" / "0.png")
    with pytest.raises(InputError, match="transparent in part"):
        load(root)


def test_the_voc_table_is_that_of_the_devkit():
    # From VOC2012's documentation of its first classes, and 255's cream.
    known = {0: 0, 1: 0x800000, 2: 0x008000, 3: 0x808000, 7: 0x808080, 8: 0x400000}
    assert {i: voc_colour(i) for i in known} == known
    assert (voc_colour(20), voc_colour(255)) == (0x004080, 0xE0E0C0)


def test_colours_of_the_voc_table_need_no_option(tmp_path):
    root = voc(
        tmp_path, coloured(0, 0x800000, 0xE0E0C0, 0x004080), train="a\nb", val="c"
    )
    data = load(root)
    assert data.class_names == VOC_NAMES
    assert mask(data)[0].tolist() == [0, 1, VOID, 20, 0, 1]


def test_other_colours_are_listed_with_the_option_for_them(tmp_path):
    root = folder(tmp_path, coloured(0, 0xFF0000, 0x00FF00))
    with pytest.raises(
        InputError, match=r"values=000000,00ff00,ff0000.*\n  000000 in 1"
    ):
        load(root)
    data = load(root, "values=000000,00ff00&void=ff0000&classes=road,sky")
    assert data.class_names == ("road", "sky")
    assert mask(data)[0].tolist() == [0, VOID, 1, 0, VOID, 1]


def test_near_colours_are_taken_for_the_nearest_if_asked(tmp_path):
    root = folder(tmp_path, coloured(0x050301, 0xF00509, 0x02F1FF))
    data = load(root, "values=000000,ff0000,00ffff&nearest=yes")
    assert mask(data)[0].tolist() == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("classes.txt", "road\nsky\ncar\n", [0, 1, 2, 1]),
        ("codes.txt", "road\nsky\nVoid\n", [0, 1, VOID, 1]),
    ],
)
def test_a_class_list_names_numbers(tmp_path, name, text, expected):
    root = folder(tmp_path, values(0, 1, 2, 1))
    (root / name).write_text(text)
    data = load(root)
    assert data.class_names == ("road", "sky", "car")[: 3 - (VOID in expected)]
    assert mask(data)[0, :4].tolist() == expected


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "labelmap.txt",
            "# label:color_rgb:parts:actions\nroad:0,0,0::\nsky:0,0,9::\n",
        ),
        ("label_colors.txt", "0 0 0\troad\n0 0 9\t\tsky\n9 9 9 Void\n"),
        ("class_dict.csv", "name,r,g,b\nroad, 0, 0, 0\nsky, 0, 0, 9\n"),
    ],
)
def test_a_class_list_names_colours(tmp_path, name, text):
    root = folder(tmp_path, coloured(0, 9))
    (root / name).write_text(text)
    data = load(root)
    assert data.class_names == ("road", "sky")
    assert mask(data)[0].tolist() == [0, 1, 0, 1, 0, 1]


def test_the_first_line_of_labelme_takes_no_number(tmp_path):
    root = folder(tmp_path, values(0, 1, 2, 255))
    (root / "labels.txt").write_text("__ignore__\n_background_\ncar\nperson\n")
    data = load(root)
    assert data.class_names == ("_background_", "car", "person")
    assert mask(data)[0, :4].tolist() == [0, 1, 2, VOID]
    put(root / "masks" / "0.png", values(0, 255))
    (root / "labels.txt").write_text("__ignore__\n_background_\ncar\n")
    with pytest.raises(InputError, match="one value"):  # 255 is not car
        load(root)


def test_a_class_list_that_does_not_fit_says_so(tmp_path):
    root = folder(tmp_path, values(0, 1, 7))
    (root / "classes.txt").write_text("road\nsky\n")
    with pytest.raises(InputError, match=r"classes\.txt names 2 classes"):
        load(root)
    (root / "classes.txt").write_text("road 0 0 0\n0 0 9 sky\ncar\n")
    with pytest.raises(
        InputError, match=r"classes\.txt', line 3: .* no colour in 'car'"
    ):
        load(root)


def test_grey_and_coloured_masks_are_read_together(tmp_path):
    root = folder(tmp_path, coloured(0, 0x800000), values(0, 128), coloured(0, 0))
    put(root / "masks" / "1.png", coloured(0, 0x808080)[..., 0])
    data = load(root, "values=000000,800000,808080")
    assert mask(data, 0)[0, :2].tolist() == [0, 1]
    assert mask(data, 1)[0, :2].tolist() == [0, 2]
    palette(root, values(0, 1), [0, 0x800000], "1")
    assert load(root).class_names == ("background", "foreground")
    assert mask(load(root), 1)[0, :2].tolist() == [0, 1]


# -- transparent pixels --------------------------------------------------------------


def clear(shown: np.ndarray, alpha: np.ndarray) -> Image.Image:
    """Return an RGBA image of greys; where it is transparent, with odd colours."""
    pixels = np.stack([shown] * 3 + [alpha], -1)
    pixels[alpha < 128, :3] = (7, 8, 9)
    return Image.fromarray(pixels, "RGBA")


@pytest.mark.parametrize("option", ["void", "background"])
def test_transparent_pixels_are_void_or_background(tmp_path, option):
    shown = values(0, 255)
    alpha = np.full((4, 6), 255, np.uint8)
    alpha[1], alpha[2], alpha[3] = 0, 127, 128
    root = folder(tmp_path, shown)
    clear(shown, alpha).save(root / "masks" / "0.png")
    found = mask(load(root, f"transparent={option}"))
    expected = np.where(
        alpha < 128, {"void": VOID, "background": 0}[option], shown // 255
    )
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(InputError, match=r"12 pixels.*transparent=void or"):
        load(root)
    with pytest.raises(InputError, match="did you mean 'void'"):
        load(root, "transparent=viod")


def test_masks_of_colours_on_nothing_have_a_background(tmp_path):
    alpha = np.where(values(0, 1), 255, 0).astype(np.uint8)
    root = folder(tmp_path, values(0, 1))
    clear(np.full((4, 6), 255, np.uint8), alpha).save(root / "masks" / "0.png")
    data = load(root, "transparent=background")
    assert data.class_names == ("background", "foreground")
    np.testing.assert_array_equal(mask(data), values(0, 1))


def test_the_fourth_byte_of_a_bmp_means_nothing_where_it_is_0(tmp_path):
    shown = values(0, 255)
    image(tmp_path / "images" / "a.jpg")
    (tmp_path / "masks").mkdir()
    file = tmp_path / "masks" / "a.bmp"
    pixels = np.stack([shown] * 3 + [np.zeros_like(shown)], -1)
    Image.fromarray(pixels, "RGBA").save(file)
    assert file.read_bytes()[28] == 32
    np.testing.assert_array_equal(mask(load(tmp_path)), shown // 255)
