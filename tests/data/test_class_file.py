"""Files that name classes, as tools and people write them."""

import json

import numpy as np
import pytest
from mask_folders import VOID, coloured, folder, load, mask, put, values

from jft.data.masks.class_file import read_class_file
from jft.errors import InputError

NAMES = ("bg", "table", "traffic light")
COLOURS = (0, 0x8C19FF, 0x8CFF19)

# All have the same classes; each with what it gives: colours, numbers, or both.
FILES = {
    "class_dict.csv": (
        "name,r,g,b\nbg,0,0,0\ntable,140,25,255\ntraffic light,140,255,25\n",
        *("name;r;g;b\nbg;0;0;0\ntable;140;25;255\ntraffic light;140;255;25\n",),
        "name\tr\tg\tb\nbg\t0\t0\t0\ntable\t140\t25\t255\ntraffic light\t140\t255\t25",
        "\ufeffname, r, g, b\nbg, 0, 0, 0\ntable, 140, 25, 255\n"
        "traffic light, 140, 255, 25",
        '"name","r","g","b"\n"bg","0","0","0"\n"table","140","25","255"\n'
        '"traffic light","140","255","25"\n',
        ",name,r,g,b\n0,bg,0,0,0\n1,table,140,25,255\n2,traffic light,140,255,25\n",
        "name,r,g,b,group,rank\nbg,0,0,0,,\ntable,140,25,255,,16\n"
        "traffic light,140,255,25,,6\n",
        "id;class;Red;Green;Blue\n0;bg;0;0;0\n1;table;140;25;255\n"
        "2;traffic light;140;255;25\n",
        "r,g,b,label\n0,0,0,bg\n140,25,255,table\n140.0,255.0,25.0,traffic light\n",
        "bg,0,0,0\ntable,140,25,255\ntraffic light,140,255,25\n",
        "bg;0;0;0\r\ntable;140;25;255\r\ntraffic light;140;255;25\r\n",
        "0,bg,0,0,0\n1,table,140,25,255\n2,traffic light,140,255,25\n",
    ),
    "labelmap.csv": (
        "label,color\nbg,#000000\ntable,#8c19ff\ntraffic light,#8CFF19\n",
        'label,color\nbg,"(0, 0, 0)"\ntable,"(140, 25, 255)"\n'
        'traffic light,"[140, 255, 25]"\n',
        "bg,#000000\ntable,#8c19ff\ntraffic light,#8cff19\n",
    ),
    "labelmap.txt": (
        "# label:color_rgb:parts:actions\nbg:0,0,0::\ntable:140,25,255::\n"
        "traffic light:140,255,25::\n",
    ),
    "label_colors.txt": (
        "0 0 0\tbg\n140 25 255\t\ttable\n140 255 25 traffic light\n",
        "bg 0 0 0\ntable 140 25 255\ntraffic light 140 255 25\n",
    ),
    "dataset_meta.json": (
        json.dumps(
            {
                "label_map": {"0": "bg", "1": "table", "2": "traffic light"},
                "segmentation_colors": [[0, 0, 0], [140, 25, 255], [140, 255, 25]],
            }
        ),
        json.dumps(
            {
                "classes": [
                    {"title": "bg", "color": "#000000"},
                    {"title": "table", "color": "#8c19ff"},
                    {"title": "traffic light", "color": [140, 255, 25]},
                ]
            }
        ),
        json.dumps(
            {"bg": [0, 0, 0], "table": [140, 25, 255], "traffic light": [140, 255, 25]}
        ),
    ),
}
NUMBERED = {
    "_classes.csv": (
        "Pixel Value, Class\n0, bg\n1, table\n2, traffic light\n",
        "Pixel Value;Class\n2;traffic light\n0;bg\n1;table\n",
        "bg,0\ntable,1\ntraffic light,2\n",
    ),
    "classes.txt": (
        "0: bg\n1: table\n2: traffic light\n",
        "0 bg\n1 table\n2 traffic light\n",
        "0=bg\n1=table\n2=traffic light",
    ),
    "labelmap.csv": ("id,name\n0,bg\n1,table\n2,traffic light\n",),
    "id2label.json": ('{"0": "bg", "1": "table", "2": "traffic light"}',),
    "labels.txt": ("bg\ntable\ntraffic light\n", "\ufeffbg\r\ntable\r\ntraffic light"),
    "dataset_meta.json": (
        '{"label_map": {"0": "bg", "1": "table", "2": "traffic light"}}',
        '["bg", "table", "traffic light"]',
        '{"bg": 0, "table": 1, "traffic light": 2}',
    ),
}
SHOWN = values(0, 1, 2, 1)


@pytest.mark.parametrize(
    ("name", "text"), [(name, t) for name, some in FILES.items() for t in some]
)
@pytest.mark.parametrize("kind", ["numbers", "colours"])
def test_names_belong_to_their_colours_and_numbers(tmp_path, name, text, kind):
    colours = coloured(*(COLOURS[i] for i in (0, 1, 2, 1)))
    shown = SHOWN if kind == "numbers" else colours
    root = folder(tmp_path, shown)
    (root / name).write_bytes(text.encode())
    data = load(root)
    assert data.class_names == NAMES
    np.testing.assert_array_equal(mask(data), SHOWN)


@pytest.mark.parametrize(
    ("name", "text"), [(name, t) for name, some in NUMBERED.items() for t in some]
)
def test_names_belong_to_their_numbers(tmp_path, name, text):
    root = folder(tmp_path, SHOWN)
    (root / name).write_bytes(text.encode())
    data = load(root)
    shown = np.array(data.class_names)[mask(data)]
    np.testing.assert_array_equal(shown, np.array(NAMES)[SHOWN])


def test_numbers_of_the_file_are_those_of_the_masks(tmp_path):
    root = folder(tmp_path, values(3, 7, 255))
    (root / "_classes.csv").write_text("Pixel Value,Class\n7,cat\n3,road\n")
    data = load(root)
    assert data.class_names == ("cat", "road")
    assert mask(data)[0, :3].tolist() == [1, 0, VOID]
    put(root / "masks" / "0.png", values(3, 7, 9))
    with pytest.raises(InputError, match=r"_classes\.csv' does not have .*\n  9"):
        load(root)
    put(root / "masks" / "0.png", values(3, 7, 9))
    data = load(root, "void=9")
    assert mask(data)[0, :3].tolist() == [1, 0, VOID]


def test_numbers_beside_colours_are_told_with_the_order(tmp_path):
    root = folder(tmp_path, coloured(COLOURS[0], COLOURS[2], COLOURS[1]))
    (root / "classes.txt").write_text("0: bg\n1: table\n2: cup\n")
    data = load(root)
    assert mask(data)[0, :3].tolist() == [0, 2, 1]
    assert "000000 bg, 8c19ff table, 8cff19 cup" in data.notes[0]
    (root / "classes.txt").write_text("0: bg\n1: table\n")
    with pytest.raises(InputError, match=r"classes\.txt' does not have all values"):
        load(root)


def test_the_file_may_be_beside_the_images_of_the_split(tmp_path):
    for split in ("train", "valid"):
        put(tmp_path / split / "a.jpg", np.full((4, 6, 3), 90))
        put(tmp_path / split / "a_mask.png", SHOWN)
        (tmp_path / split / "_classes.csv").write_text(NUMBERED["_classes.csv"][0])
    assert load(tmp_path).class_names == NAMES


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("class_dict.csv", "name,r,g,b\nbg,0,0,0\ncup,1,x,2\n", "line 3.* no colour"),
        ("class_dict.csv", "name,r,g,b\n\n# a\nbg,0,0\n", "line 4.* no colour"),
        ("class_dict.csv", "name,r,g,b\nbg,0,0,300\n", "line 2.* no colour"),
        ("class_dict.csv", "name,r,g\nbg,0,0\n", "line 1: a colour has the columns"),
        ("class_dict.csv", "name,r,g,b\n,0,0,0\n", "line 2: a class has no name"),
        ("_classes.csv", "id,name\n0,bg\nx,cup\n", "line 3: a class has no value"),
        ("_classes.csv", "id,name\n0,bg\n1,bg\n", r"same name\n  bg"),
        ("classes.txt", "# nothing\n", "names no class"),
        ("a.json", "{", "is not JSON"),
        ("a.json", '[{"colour": 1}]', "a class has no name"),
        ("a.json", "3", "names no class"),
    ],
)
def test_a_file_that_is_no_list_says_where(tmp_path, name, text, match):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=match):
        read_class_file(tmp_path / name)


@pytest.mark.parametrize(
    "lines",
    [
        ["class 1", "class 2"],
        ["2 euro", "1 euro"],
        ["tench, Tinca tinca", "goldfish, Carassius auratus"],
        ["0", "1"],
    ],
)
def test_names_with_numbers_stay_whole(tmp_path, lines):
    (tmp_path / "classes.txt").write_text("\n".join(lines))
    assert read_class_file(tmp_path / "classes.txt").names == tuple(lines)
