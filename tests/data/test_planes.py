"""Images that are not RGB: grey, with opacity, and of any number of channels."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jft.data.__main__ import main
from jft.data.decode import DecodeError, decode
from jft.data.geometry import Square
from jft.data.sources import open_splits
from jft.preprocess import Preprocess

FIVE = np.random.default_rng(0).integers(0, 256, (7, 9, 5), np.uint8)


def write_tiff(
    path: Path,
    pixels: np.ndarray,
    *,
    order: str = "<",
    apart: bool = False,
    deflate: bool = False,
    predictor: bool = False,
    compression: int = 0,
) -> Path:
    """Write [H, W, C] in two strips, by the letter of TIFF 6.0."""
    height, width, samples = pixels.shape
    values = pixels.astype(pixels.dtype.newbyteorder(order))
    if predictor:
        values = np.diff(pixels, axis=1, prepend=np.zeros_like(pixels[:, :1]))
        values = values.astype(pixels.dtype.newbyteorder(order))
    planes = [values[..., c] for c in range(samples)] if apart else [values]
    parts = [part for plane in planes for part in (plane[:4], plane[4:])]
    strips = [part.tobytes() for part in parts]
    if deflate:
        strips = [zlib.compress(strip) for strip in strips]
    offsets = 8 + np.cumsum([0, *map(len, strips)])
    tags: dict[int, tuple[str, list[int]]] = {
        256: ("I", [width]),
        257: ("I", [height]),
        258: ("H", [8 * pixels.dtype.itemsize] * samples),
        259: ("H", [compression or (8 if deflate else 1)]),
        262: ("H", [1]),
        273: ("I", offsets[:-1].tolist()),
        277: ("H", [samples]),
        278: ("I", [4]),
        279: ("I", list(map(len, strips))),
        284: ("H", [2 if apart else 1]),
        317: ("H", [2 if predictor else 1]),
    }
    start = int(offsets[-1])
    beyond = start + 2 + 12 * len(tags) + 4
    entries, extra = b"", b""
    for tag, (code, numbers) in tags.items():
        data = struct.pack(order + code * len(numbers), *numbers)
        kind = {"H": 3, "I": 4}[code]
        entries += struct.pack(order + "HHI", tag, kind, len(numbers))
        if len(data) <= 4:
            entries += data.ljust(4, b"\0")
        else:
            entries += struct.pack(order + "I", beyond + len(extra))
            extra += data
    magic = b"II*\0" if order == "<" else b"MM\0*"
    head = magic + struct.pack(order + "I", start)
    table = struct.pack(order + "H", len(tags)) + entries + b"\0" * 4
    path.write_bytes(head + b"".join(strips) + table + extra)
    return path


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(
    ("deflate", "predictor"), [(False, False), (True, False), (True, True)]
)
def test_a_tiff_of_five_samples(
    tmp_path: Path, order: str, apart: bool, deflate: bool, predictor: bool
):
    for pixels in (FIVE, FIVE.astype(np.uint16) * 257):
        path = write_tiff(
            tmp_path / "a.tif",
            pixels,
            order=order,
            apart=apart,
            deflate=deflate,
            predictor=predictor,
        )
        np.testing.assert_array_equal(decode(path, channels=5), FIVE)


def test_a_tiff_of_grey_pages(tmp_path: Path):
    pages = [Image.fromarray(np.ascontiguousarray(FIVE[..., c])) for c in range(5)]
    path = tmp_path / "a.tif"
    pages[0].save(path, save_all=True, append_images=pages[1:])
    np.testing.assert_array_equal(decode(path, channels=5), FIVE)
    # As RGB, the first page alone.
    np.testing.assert_array_equal(decode(path)[..., 1], FIVE[..., 0])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_numpy_file(tmp_path: Path, dtype: type):
    scale = 257 if dtype is np.uint16 else 1
    path = tmp_path / "a.npy"
    np.save(path, FIVE.astype(dtype) * dtype(scale))
    np.testing.assert_array_equal(decode(path, channels=5), FIVE)
    np.save(path, FIVE[..., 0].astype(dtype) * dtype(scale))
    np.testing.assert_array_equal(decode(path, channels=1)[..., 0], FIVE[..., 0])
    np.testing.assert_array_equal(decode(path)[..., 2], FIVE[..., 0])


def test_grey_and_opacity_are_those_of_pillow(tmp_path: Path):
    layers = np.random.default_rng(1).integers(0, 256, (6, 8, 4), np.uint8)
    picture = Image.fromarray(layers)
    picture.save(tmp_path / "a.png")
    np.testing.assert_array_equal(decode(tmp_path / "a.png", channels=4), layers)
    opaque = picture.convert("RGB")
    opaque.save(tmp_path / "b.png")
    grey = decode(tmp_path / "b.png", channels=1)
    np.testing.assert_array_equal(grey[..., 0], np.asarray(opaque.convert("L")))
    assert (decode(tmp_path / "b.png", channels=4)[..., 3] == 255).all()


def test_each_channel_is_resized_by_itself():
    layers = np.random.default_rng(1).integers(0, 256, (40, 60, 4), np.uint8)
    for crop in ("centre", "squash", "letterbox"):
        preprocess = Preprocess(size=16).with_channels(4).with_crop(crop)
        square = Square(preprocess).image(layers)
        assert square.shape == (16, 16, 4)
        for c in range(4):
            alone = Preprocess(size=16, mean=preprocess.mean[c : c + 1], std=(1.0,))
            one = Square(alone.with_crop(crop)).image(layers[..., c : c + 1])
            np.testing.assert_array_equal(square[..., c], one[..., 0])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((5, 7, 9), np.uint8), r"not \[5, 7, 9\]; channels come last"),
        (np.zeros((7, 9, 6), np.uint8), "--model.channels 6 trains on 6 channels"),
        (np.zeros((7, 9, 5), np.float32), "float32 pixels have no agreed range"),
        (np.zeros((7, 9, 5, 1), np.uint8), r"is \[H, W\] or \[H, W, C\]"),
        (np.zeros((0, 9, 5), np.uint8), r"is \[H, W\] or \[H, W, C\]"),
    ],
)
def test_arrays_that_are_no_image_have_a_reason(
    tmp_path: Path, array: np.ndarray, message: str
):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(DecodeError, match=message):
        decode(tmp_path / "a.npy", channels=5)


def test_damaged_and_other_files_have_a_reason(tmp_path: Path):
    np.save(tmp_path / "a.npy", np.array([{}], object))
    with pytest.raises(DecodeError):
        decode(tmp_path / "a.npy", channels=5)
    whole = write_tiff(tmp_path / "a.tif", FIVE).read_bytes()
    for length in range(0, len(whole), 7):
        with pytest.raises(DecodeError):
            decode(whole[:length], channels=5)
    lzw = write_tiff(tmp_path / "b.tif", FIVE, compression=5)
    with pytest.raises(DecodeError, match="uncompressed or with Deflate"):
        decode(lzw, channels=5)
    Image.new("RGB", (4, 4)).save(tmp_path / "c.png")
    with pytest.raises(DecodeError, match="RGB image of 3 channels, not 5"):
        decode(tmp_path / "c.png", channels=5)


def test_a_folder_of_five_channels_becomes_squares_of_five(tmp_path: Path):
    for c, name in enumerate("ab"):
        for i in range(8):
            (tmp_path / name).mkdir(exist_ok=True)
            np.save(tmp_path / name / f"{i}.npy", np.full((9, 9, 5), 10 * c, np.uint8))
    preprocess = Preprocess(size=8).with_channels(5)
    for cache in (None, str(tmp_path / "cache")):
        splits = open_splits(f"folder:{tmp_path}", preprocess, cache=cache)
        assert splits.report.used == 16
        assert splits.train.images[0].shape == (8, 8, 5)


def test_data_check_looks_at_five_channels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    draw = np.random.default_rng(0)
    for name in "ab":
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(8):
            array = draw.integers(0, 256, (9, 9, 5), np.uint8)
            np.save(tmp_path / "data" / name / f"{i}.npy", array)
    args = ["check", f"folder:{tmp_path / 'data'}", "--workdir", str(tmp_path / "out")]
    assert main([*args, "--channels", "5"]) == 0
    assert "nothing is wrong" in capsys.readouterr().out
    assert main(args) == 1
    report = (tmp_path / "out" / "data_report.json").read_text()
    assert "--model.channels 5 trains on 5 channels" in report
