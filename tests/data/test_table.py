import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jft.data.listing import Dataset
from jft.data.sources import list_data, open_splits
from jft.data.spec import parse_spec
from jft.data.split import held_out
from jft.errors import InputError
from jft.preprocess import Preprocess

NEU = Path(__file__).parents[3] / "shared" / "data" / "neu_cls"


def write(root: Path, text: str | bytes, name: str = "table.csv") -> Path:
    """Write a table, and a small image for each of a.png to f.png."""
    for i, letter in enumerate("abcdef"):
        Image.new("RGB", (4, 4), (i, i, i)).save(root / f"{letter}.png")
    data = text.encode() if isinstance(text, str) else text
    (root / name).write_bytes(data)
    return root / name


def load(root: Path, text: str | bytes, options: str = "") -> Dataset:
    query = f"?{options}" if options else ""
    return parse_spec(f"csv:{write(root, text)}{query}").load()


def labels(data: Dataset, split: str = "train") -> list[Any]:
    return np.asarray(data.splits[split].labels).tolist()


def refused(root: Path, text: str | bytes, match: str, options: str = "") -> None:
    with pytest.raises(InputError, match=match):
        load(root, text, options)


PLAIN = "path,label\na.png,dog\nb.png,cat\nc.png,dog\n"


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        PLAIN.replace(",", "\t"),
        PLAIN.replace(",", ";"),
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        PLAIN.replace("\n", "\n\n"),
        PLAIN.replace(",", ", "),
        'label, path\ndog, "a.png"\ncat, b.png\ndog, c.png\n',
        "\ufeff" + PLAIN,
        "sep=;\n" + PLAIN.replace(",", ";"),
        "\ufeffsep=|\r\n" + PLAIN.replace(",", "|"),
        'Image,CLASS\n"a.png","dog"\n"b.png",cat\nc.png,"dog"',
    ],
)
def test_a_table_is_read_however_it_is_written(tmp_path, text):
    data = load(tmp_path, text)
    assert data.task == "classification"
    assert data.class_names == ("cat", "dog")
    assert labels(data) == [1, 0, 1]
    assert data.splits["train"].keys == ("a.png", "b.png", "c.png")
    assert [Path(file).read_bytes()[:4] for file in data.splits["train"].images] == [
        b"\x89PNG"
    ] * 3


def test_labels_have_the_dtypes_of_their_tasks(tmp_path):
    kinds = {
        "path,label\na.png,x\nb.png,y": (np.int32, (2,)),
        "path,label\na.png,1.5\nb.png,2": (np.float64, (2, 1)),
    }
    for text, (dtype, shape) in kinds.items():
        array = load(tmp_path, text).splits["train"].labels
        assert (array.dtype, array.shape) == (dtype, shape)
    several = load(tmp_path, "path,p,q\na.png,1,0\nb.png,0,1", "label=p,q")
    assert several.splits["train"].labels.dtype == np.int32


def test_names_with_commas_quotes_and_line_breaks_are_kept(tmp_path):
    odd = 'x, "y"\nz.png'
    Image.new("RGB", (2, 2)).save(tmp_path / odd)
    cell = odd.replace('"', '""')
    data = load(tmp_path, f'path,label\n"{cell}",one\na.png,two\n')
    assert data.splits["train"].keys == (odd, "a.png")
    assert data.splits["train"].images[0] == tmp_path / odd


def test_whole_numbers_are_classes_in_the_order_of_numbers(tmp_path):
    data = load(tmp_path, "path,label\na.png,10\nb.png,9\nc.png,-1\n")
    assert data.class_names == ("-1", "9", "10")
    assert labels(data) == [2, 1, 0]


def test_decimals_are_numbers_to_predict(tmp_path):
    data = load(
        tmp_path, "path,age\na.png,1.5\nb.png,2e1\nc.png,\nd.png,nan", "label=age"
    )
    assert (data.task, data.class_names) == ("regression", ("age",))
    np.testing.assert_array_equal(labels(data), [[1.5], [20], [np.nan], [np.nan]])


def test_columns_of_zero_and_one_are_labels_and_nothing_is_unknown(tmp_path):
    text = "path,red,round\na.png,1,0\nb.png,-1,1.0\nc.png,,0\n"
    data = load(tmp_path, text, "label=red,round")
    assert (data.task, data.class_names) == ("multilabel", ("red", "round"))
    assert labels(data) == [[1, 0], [-1, 1], [-1, 0]]


def test_truth_values_are_labels_too(tmp_path):
    text = "path,red,round\na.png,True,False\nb.png,,TRUE\nc.png,false,1\n"
    data = load(tmp_path, text, "label=red,round")
    assert (data.task, labels(data)) == ("multilabel", [[1, 0], [-1, 1], [0, 1]])
    refused(tmp_path, text, r"line 2.*'True'", "label=red,round&task=regression")
    wrong = "(?s)1 labels are not 0, 1, -1, true, false .*line 3.*'yes'"
    refused(tmp_path, text.replace("TRUE", "yes"), wrong, "label=red,round")


@pytest.mark.parametrize("cells", [["0.0", "1.0", ""], ["1.0", "nan", "2.0"]])
def test_whole_numbers_with_decimals_may_be_classes_with_gaps(tmp_path, cells):
    rows = zip("abc", cells, strict=True)
    text = "path,label\n" + "".join(f"{a}.png,{b}\n" for a, b in rows)
    refused(tmp_path, text, "give task=classification or task=regression")
    assert load(tmp_path, text, "task=regression").task == "regression"


def test_many_whole_numbers_with_decimals_are_numbers(tmp_path):
    (tmp_path / "0.png").touch()
    text = "path,label\n" + "\n".join(f"{i}.png,{i}.0" for i in range(30))
    assert load(tmp_path, text).task == "regression"


def test_columns_of_other_numbers_are_predicted(tmp_path):
    data = load(tmp_path, "path,x,y\na.png,1,0\nb.png,3,1\n", "label=x,y")
    assert (data.task, labels(data)) == ("regression", [[1, 0], [3, 1]])


def test_task_says_otherwise_than_it_looks(tmp_path):
    whole = "path,label\na.png,1\nb.png,0\n"
    assert load(tmp_path, whole).task == "classification"
    data = load(tmp_path, whole, "task=regression")
    assert (data.task, labels(data)) == ("regression", [[1], [0]])
    data = load(tmp_path, whole, "task=multilabel")
    assert (data.task, labels(data)) == ("multilabel", [[1], [0]])
    data = load(tmp_path, "path,label\na.png,1.5\nb.png,2.5\n", "task=classification")
    assert data.class_names == ("1.5", "2.5")


def test_a_separator_makes_several_labels_of_a_cell(tmp_path):
    text = "path,label\na.png,dog|cat\nb.png,\nc.png, cat |\n"
    data = load(tmp_path, text, "separator=|")
    assert (data.task, data.class_names) == ("multilabel", ("cat", "dog"))
    assert labels(data) == [[1, 1], [0, 0], [1, 0]]


def test_a_split_column_divides_the_rows_and_val_goes_before_test(tmp_path):
    text = (
        "path,label,split\na.png,x,train\nb.png,y,Train\n"
        "c.png,x,val\nd.png,y,test\ne.png,y,val\n"
    )
    data = load(tmp_path, text)
    assert data.splits["train"].keys == ("a.png", "b.png")
    assert data.splits["test"].keys == ("c.png", "e.png")
    assert labels(data, "test") == [0, 1]
    assert data.skipped == 1


@pytest.mark.parametrize(
    ("header", "cells", "options"),
    [
        ("is_valid", "False False True True", ""),  # as fastai
        ("is_valid", "0 0 1 1", ""),
        ("isValid", "no no yes yes", "split=isValid"),
        ("is_test", "0.0 0.0 1.0 1.0", ""),
        ("is_train", "1 1 0 0", ""),
        ("valid", "false false true true", "split=valid"),
        ("partition", "train-set trainSet Test_images test", ""),
        ("fold", "0 2 1 1", "split=fold&test=1"),
        ("fold", "a b c c", "split=fold&train=a,b&test=c"),
        ("split", "train train dev dev", ""),
    ],
)
def test_split_columns_of_other_tools(tmp_path, header, cells, options):
    rows = zip("abcd", "xyxy", cells.split(), strict=True)
    text = f"path,label,{header}\n" + "".join(
        f"{name}.png,{label},{cell}\n" for name, label, cell in rows
    )
    splits = load(tmp_path, text, options).splits
    assert splits["train"].keys == ("a.png", "b.png")
    assert splits["test"].keys == ("c.png", "d.png")


@pytest.mark.parametrize(
    ("header", "cell", "options", "match"),
    [
        ("split", "", "", "2 rows are of no split.*line 2"),
        ("is_valid", "perhaps", "", "no split.*test=WORD"),
        ("fold", "1", "split=fold", r"'1'\] mean no split; give test=WORD"),
        ("fold", "1", "split=fold&test=2", r"no test=2, but \['0', '1'\]"),
        ("fold", "1", "split=fold&test=1&train=0,1", "'1' is in train= and in test="),
        ("fold", "1", "test=1", "give split=COLUMN as well"),
    ],
)
def test_a_split_column_that_means_nothing_is_told(
    tmp_path, header, cell, options, match
):
    text = f"path,label,{header}\na.png,x,{cell}\nb.png,y,0\n"
    refused(tmp_path, text, f"(?s){match}", options)


def test_decimal_commas_are_those_of_excel(tmp_path):
    text = "path;label;weight\na.png;1,5;0,5\nb.png;-2,25e1;1\nc.png;;2.5\n"
    data = load(tmp_path, text)
    assert data.task == "regression"
    np.testing.assert_array_equal(labels(data), [[1.5], [-22.5], [np.nan]])
    np.testing.assert_array_equal(data.splits["train"].weights, [0.5, 1, 2.5])
    quoted = 'path,label\na.png,"1,5"\nb.png,"2,5"\n'
    assert load(tmp_path, quoted).task == "classification"
    assert labels(load(tmp_path, quoted, "decimal=,")) == [[1.5], [2.5]]
    whole = text.replace(";0,5", ";1").replace("c.png;;", "c.png;0;")
    assert load(tmp_path, whole, "decimal=.").class_names == ("-2,25e1", "0", "1,5")


def test_encodings(tmp_path):
    text = "path,label\na.png,Spaß\nb.png,Müll\n"
    for encoding in ("cp1252", "utf-16", "utf-16-le", "gb18030"):
        data = load(tmp_path, text.encode(encoding), f"encoding={encoding}")
        assert data.class_names == ("Müll", "Spaß")
    refused(tmp_path, text.encode("cp1252"), r"\(line 2\); encoding=NAME")
    refused(tmp_path, text, "unknown encoding", "encoding=utf9")
    refused(tmp_path, text, "unknown encoding", "encoding=base64")


def test_nan_and_nothing_are_no_class(tmp_path):
    text = "path,label\na.png,x\nb.png,NaN\nc.png,y\nd.png,<NA>\ne.png,\n"
    refused(tmp_path, text, "(?s)3 examples have no class.*line 3.*line 5.*line 6")
    none = "path,label\na.png,none\nb.png,null\n"  # a class of good parts, often
    assert load(tmp_path, none).class_names == ("none", "null")


def test_without_a_split_a_fifth_of_each_class_is_held_out(tmp_path):
    rows = [f"{i}.png,{'xy'[i % 2]}" for i in range(20)]
    (tmp_path / "0.png").touch()
    text = "path,label\n" + "\n".join(rows)
    data = list_data(f"csv:{write(tmp_path, text)}")
    keys = tuple(f"{i}.png" for i in range(20))
    mask = held_out(keys, [i % 2 for i in range(20)])
    assert data.splits["test"].keys == tuple(
        k for k, m in zip(keys, mask, strict=True) if m
    )
    assert set(data.splits["test"].labels.tolist()) == {0, 1}


def test_weights_are_how_many_examples_a_row_counts_as(tmp_path):
    data = load(tmp_path, "path,label,weight\na.png,x,2\nb.png,y,0.5\nc.png,y,0\n")
    weights = data.splits["train"].weights
    assert weights is not None
    assert weights.dtype == np.float32
    assert weights.tolist() == [2, 0.5, 0]


@pytest.mark.parametrize("cell", ["", "-1", "nan", "inf", "1e99", "one", "1_0"])
def test_a_weight_that_is_none_is_refused_with_its_line(tmp_path, cell):
    text = f"path,label,weight\na.png,x,1\nb.png,y,{cell}\n"
    refused(tmp_path, text, r"1 weights are.*\n  line 3: ")


def test_root_and_suffix_complete_the_paths(tmp_path):
    inside = tmp_path / "pictures"
    inside.mkdir()
    table = write(tmp_path, "path,label\na,x\nb,y\n")
    for name in "ab":
        (tmp_path / f"{name}.png").rename(inside / f"{name}.png")
    data = parse_spec(f"csv:{table}?root={inside}&suffix=.png").load()
    assert data.splits["train"].keys == ("a.png", "b.png")
    assert data.splits["train"].images[1] == inside / "b.png"


def test_paths_may_climb_and_be_absolute_but_keys_say_no_place(tmp_path):
    inside = tmp_path / "tables"
    inside.mkdir()
    write(tmp_path, "")
    text = f"path,label\n../a.png,x\n{tmp_path}/b.png,y\n./c/../../c.png,y\n"
    table = inside / "t.csv"
    table.write_text(text)
    listing = parse_spec(f"csv:{table}").load().splits["train"]
    assert listing.keys == ("../a.png", "../b.png", "../c.png")
    assert all(file.exists() for file in listing.images)


def test_backslashes_of_windows_are_folders(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.png").touch()
    (tmp_path / "sub" / "in").mkdir()
    (tmp_path / "sub" / "in" / "a.png").touch()
    (tmp_path / "with\\in.png").touch()  # as Linux allows
    text = "path,label\nsub\\a.png,x\nsub\\in/a.png,y\nwith\\in.png,x\n"
    data = load(tmp_path, text)
    assert data.splits["train"].keys == ("sub/a.png", "sub/in/a.png", "with\\in.png")
    assert all(file.exists() for file in data.splits["train"].images)


@pytest.mark.parametrize("again", ["../{name}/a.png", "{root}/a.png", "x/../a.png"])
def test_one_image_in_two_rows_is_found_however_it_is_written(tmp_path, again):
    other = again.format(name=tmp_path.name, root=tmp_path)
    refused(tmp_path, f"path,label\na.png,x\n{other},y", "line 3: .*in line 2 already")
    inside = tmp_path / "deep"
    inside.mkdir()
    link = tmp_path / "deep" / "link"
    link.symlink_to(tmp_path)
    text = f"path,label\na.png,x\n{other},y"
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(InputError, match="in line 2 already"):
        parse_spec(f"csv:{link / 'table.csv'}").load()


def test_the_fingerprint_is_of_the_content_not_of_the_place(tmp_path):
    prints = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        prints.append(load(tmp_path / name, PLAIN).fingerprint)
    assert prints[0] == prints[1]
    other = {
        load(tmp_path / "one", PLAIN.replace("dog", "fox")).fingerprint,
        load(tmp_path / "one", PLAIN.replace("c.png", "d.png")).fingerprint,
        load(
            tmp_path / "one", "path,label\na.png,dog\nb.png,cat\nc.png,cat"
        ).fingerprint,
    }
    table = write(tmp_path / "one", PLAIN)
    (tmp_path / "one" / "a.png").write_bytes(b"longer than before" * 99)
    other.add(parse_spec(f"csv:{table}").load().fingerprint)
    assert len(other | {prints[0]}) == 5


def test_a_listing_travels_into_other_processes(tmp_path):
    listing = load(tmp_path, PLAIN).splits["train"]
    again = pickle.loads(pickle.dumps(listing))
    assert (again.keys, list(again.images)) == (listing.keys, list(listing.images))


def test_a_missing_file_is_rejected_with_its_reason_when_it_is_read(tmp_path):
    rows = "".join(f"{letter}.png,{letter < 'd'}\n" for letter in "abcdef")
    text = "path,label,split\n" + rows.replace("\n", ",train\n").replace(
        "a.png,True,train", "a.png,True,val"
    )
    text += "gone.png,True,train\n"
    splits = open_splits(f"csv:{write(tmp_path, text)}", Preprocess(size=4))
    assert splits.report.rejected == (("gone.png", "no such file or directory"),)
    assert splits.report.used == 6


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "has 0 lines"),
        ("path,label\n", "has 1 lines"),
        ("a.png,dog\nb.png,cat\n", r"first line is 'a\.png, dog'.*path=NAME"),
        ("path,kind\na.png,dog\n", r"no column called label.*label=NAME"),
        ("path,label,class\na.png,x,y\n", "give label=label or label=class"),
        (
            "path,label\na.png\nb.png,x\nc.png,x,y",
            r"2 rows do not have 2.*\n  line 2.*\n.*4",
        ),
        ("path,label\n,x\nb.png,y", "1 rows have no path"),
        ("path,label\na.png,\nb.png,y", "1 examples have no class.*\n  line 2"),
        ("path,label\na.png,x\nb.png,x", r"training labels are all \['x'\]"),
        ("path,label\na.png,x\n./a.png,y", r"line 3: 'a\.png' is in line 2 already"),
        ("path,label\nz.png,x\ny.png,y", r"no image is in .*'z\.png'; root="),
        ("path,label\na,x\nb,y", r"did you mean suffix=\.png"),
        ('path,label\n"a.png,x\nb.png,y', "line 3: "),
        ('path,label\n"a".png,x\nb.png,y', "line 2: "),
        (b"path,label\na.png,caf\xe9\n", r"not UTF-8 text \(line 2\)"),
        (
            "path,label,split\na.png,x,train\nb.png,y,\nc.png,y,other",
            "2 rows are of no",
        ),
        ("path,label,split\na.png,x,val\nb.png,y,test", "no row is of train"),
        (
            "path,label,split\na.png,x,train\nb.png,y,train\nc.png,z,val",
            "1 labels are not any of the 2 classes.*line 4: 'z'",
        ),
        ("path,label,weight\na.png,x,0\nb.png,y,0", "all weights are 0"),
        ("path,label\n" + "a.png," + "x" * 200_000, "field larger"),
    ],
)
def test_a_wrong_table_is_refused_with_the_place(tmp_path, text, match):
    with pytest.raises(InputError, match=f"(?s){match}"):
        load(tmp_path, text)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ("label=kinds", "no column 'kinds'.*did you mean 'kind'"),
        ("label=kind,kind", "twice"),
        ("label=kind,size&task=classification", "take one column"),
        ("label=kind&task=segmentation", "valid are auto, classification, multilabel"),
        ("label=kind&task=multilabel", "not 0, 1, -1, true, .*\n.*line 2.*'dog'"),
        ("label=kind&task=regression", "classification takes words.*\n.*line 2.*'dog'"),
        ("label=kind,size", "words go into one column.*\n.*line 2.*'dog'"),
        ("label=kind&separator=", "separator= is empty"),
        ("label=kind&separator=|&task=regression", "it is task=multilabel"),
        ("label=kind&root=nowhere", "cannot list folder '.*/nowhere'"),
        ("label=same&path=path", "2 columns called 'same'"),
        ("label=empty&task=regression", "no example has a label 'empty'"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path, options, match):
    text = "path,kind,size,same,same,empty\na.png,dog,1,1,2,\nb.png,cat,2,1,2,\n"
    refused(tmp_path, text, match, options)


def test_a_column_of_ids_is_not_taken_for_classes(tmp_path):
    (tmp_path / "0.png").touch()
    text = "path,label\n" + "\n".join(f"{i}.png,{i}" for i in range(30))
    refused(tmp_path, text, "30 different values in 30 examples")
    assert len(load(tmp_path, text, "task=classification").class_names) == 30
    assert load(tmp_path, text, "task=regression").task == "regression"


def test_a_missing_table_gets_the_nearest_name_before_it_is_read(tmp_path):
    write(tmp_path, PLAIN, "leaves.csv")
    with pytest.raises(InputError, match=r"did you mean 'leaves\.csv'"):
        parse_spec(f"csv:{tmp_path / 'leafs.csv'}").check()
    with pytest.raises(InputError, match="it is a folder"):
        parse_spec(f"csv:{tmp_path}").check()


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(InputError, match="no regular file"):
        parse_spec(f"csv:{tmp_path / 'pipe.csv'}").check()


def test_a_name_that_is_too_long_for_a_file_is_one_bad_row(tmp_path):
    data = load(tmp_path, f"path,label\n{'x' * 5000}.png,x\nb.png,y\n")
    assert len(data.splits["train"].keys) == 2


@pytest.mark.real_data
@pytest.mark.skipif(not NEU.is_dir(), reason="needs ../shared/data")
def test_a_table_of_neu_gives_the_labels_of_its_folders(tmp_path):
    folder = list_data(f"folder:{NEU}")
    rows = [
        f"{key},{folder.class_names[label]},{key.partition('/')[0]}\n"
        for listing in folder.splits.values()
        for key, label in zip(listing.keys, listing.labels, strict=True)
    ]
    table = tmp_path / "neu.csv"
    table.write_text("path,label,split\n" + "".join(rows))
    data = list_data(f"csv:{table}?root={NEU}")
    assert data.class_names == folder.class_names
    for split, listing in folder.splits.items():
        ours = data.splits[split]
        assert ours.keys == listing.keys
        np.testing.assert_array_equal(ours.labels, listing.labels)
        assert ours.images[0].read_bytes() == listing.images[0].read_bytes()
