"""The check, as a user starts it, on each form that data comes in."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import test_coco as coco
import test_parquet as parquet
import test_shards as shards
from PIL import Image
from test_check import scene

from jft.data.__main__ import main
from jft.data.decode import decode

Check = tuple[int, dict[str, Any], str]


def check(source: str, workdir: Path, capsys: pytest.CaptureFixture[str]) -> Check:
    status = main(["check", source, "--workdir", str(workdir)])
    report = json.loads((workdir / "data_report.json").read_text())
    assert decode(workdir / "contact_sheet.png").std() > 0
    assert report["found"] == report["used"] + len(report["rejected"])
    return status, report, capsys.readouterr().out


def test_parquet_with_an_empty_cell(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    features = {"image": parquet.IMAGE, "label": parquet.CLASSES}
    for split, start in (("train", 0), ("test", 50)):
        cells = [parquet.cell(parquet.png(scene(start + i))) for i in range(12)]
        if split == "train":
            cells[5] = parquet.cell(None)
        columns = {"image": cells, "label": [i % 3 for i in range(12)]}
        file = tmp_path / "pets" / f"{split}-00000-of-00001.parquet"
        parquet.write(file, columns, features)
    source = f"hf-parquet:{tmp_path / 'pets'}"
    status, report, out = check(source, tmp_path, capsys)
    assert status == 1
    (bad,) = report["rejected"]
    assert bad["path"] == "train-00000-of-00001.parquet/5"
    assert bad["reason"] == "the cell is empty"
    assert report["labels"]["counts"]["train"] == {"cat": 4, "dog": 4, "owl": 3}
    assert out.startswith("pets: 23 images (11 train and 12 test), 3 classes")


def test_shards(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for split, start in (("train", 0), ("val", 50)):
        files: list[tuple[str, bytes | str]] = []
        for i in range(9):
            image = shards.png(scene(start + i))
            image = b"<html>" if (split, i) == ("val", 4) else image
            files += [(f"{i}.png", image), (f"{i}.cls", ["owl", "jay", "tit"][i % 3])]
        shards.write(tmp_path / "birds" / f"{split}-000.tar", files)
    source = f"webdataset:{tmp_path / 'birds'}"
    status, report, _ = check(source, tmp_path, capsys)
    assert status == 1
    assert [bad["path"] for bad in report["rejected"]] == ["val-000.tar/4"]
    assert report["labels"]["counts"]["test"] == {"jay": 2, "owl": 3, "tit": 3}
    assert report["formats"] == {"PNG": 17}


def test_outlines(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    upside_down = Image.Exif()
    upside_down[0x0112] = 3
    for i in range(10):
        turned = {"exif": upside_down} if i == 4 else {}
        Image.fromarray(scene(i)).save(tmp_path / f"{i}.png", **turned)
    some = [
        coco.annotation(coco.SQUARE, image_id=10 + i, category_id=[3, 7][i % 2])
        for i in range(10)
    ]
    text = json.dumps(coco.content(*some, count=10, size=(64, 64)))
    (tmp_path / "train.json").write_text(text)
    source = f"coco:{tmp_path / 'train.json'}"
    status, report, _ = check(source, tmp_path / "found", capsys)
    assert status == 0
    assert report["turned"] == ["4.png"]
    assert "1 image turned by EXIF" in report["notes"][0]["what"]
    pixels = report["labels"]["pixels"]
    assert sum(pixels[split]["cat"] for split in pixels) == 5 * 12
    assert sum(sum(pixels[split].values()) for split in pixels) == 10 * 64 * 64


@pytest.mark.skipif(
    importlib.util.find_spec("tensorflow_datasets") is None, reason="needs TFDS"
)
def test_a_prepared_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    import tfds_datasets as written

    written.write(written.Pets, tmp_path)
    source = f"tfds:pets?dir={tmp_path}"
    classes = "classes=pet,background,border"
    masks = f"{source}&label=segmentation_mask&{classes}"
    _, report, _ = check(f"{source}&label=label", tmp_path / "a", capsys)
    assert report["splits"] == {"train": 12, "test": 6}
    assert report["labels"]["counts"]["test"] == dict.fromkeys(written.NAMES, 2)
    status, report, _ = check(masks, tmp_path / "b", capsys)
    assert status == 0
    assert report["classes"] == ["pet", "background", "border"]
    assert report["labels"]["counts"]["train"] == dict.fromkeys(report["classes"], 12)


@pytest.mark.process
@pytest.mark.parametrize("encoding", ["ascii", "utf-8:strict"])
def test_any_name_can_be_printed(tmp_path: Path, encoding: str):
    odd = os.fsdecode(b"\xff") if encoding.startswith("utf-8") else ""
    for name in (f"kätzchen{odd}", "猫"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(12):
            picture = Image.fromarray(scene(len(name) * 20 + i))
            picture.save(tmp_path / "pets" / name / f"{i}.png")
    words = ["check", f"folder:{tmp_path / 'pets'}", "--workdir", str(tmp_path / "a")]
    done = subprocess.run(
        [sys.executable, "-m", "jft.data", *words],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"tzchen" in done.stdout
    assert (b"\\u732b" in done.stdout) == (encoding == "ascii")
