"""Folders of images and masks, written for tests."""

from pathlib import Path

import numpy as np
from PIL import Image

from jft.data.listing import Dataset
from jft.data.spec import parse_spec

VOID = 255
BINARY = np.resize(np.array([0, 255], np.uint8), (4, 6))


def put(path: Path, pixels: object = 0, mode: str | None = None) -> Path:
    """Write pixels [H, W], or [H, W, 3]; a number fills 4 x 6 of them."""
    array = np.array(pixels, np.uint8)
    if array.ndim == 0:
        array = np.full((4, 6), array)
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    (image if mode is None else image.convert(mode)).save(path)
    return path


def image(path: Path) -> None:
    put(path, np.full((4, 6, 3), 90))


def values(*some: int) -> np.ndarray:
    """Return a mask [4, 6] that holds these values and no others."""
    return np.resize(np.array(some, np.uint8), (4, 6))


def coloured(*colours: int) -> np.ndarray:
    """Return a mask [4, 6, 3] of colours 0xRRGGBB."""
    pixels = [list(colour.to_bytes(3, "big")) for colour in colours]
    return np.resize(np.array(pixels, np.uint8), (4, 6, 3))


def palette(root: Path, shown: np.ndarray, colours: list[int], name: str = "a") -> None:
    """Write images/NAME.jpg and masks/NAME.png, which has a palette."""
    image(root / "images" / f"{name}.jpg")
    (root / "masks").mkdir(exist_ok=True)
    picture = Image.fromarray(shown)
    picture.putpalette(bytes(b for c in colours for b in c.to_bytes(3, "big")))
    assert picture.mode == "P"
    picture.save(root / "masks" / f"{name}.png")


def folder(root: Path, *masks: np.ndarray) -> Path:
    """Write images/0.jpg and masks/0.png and so on."""
    for i, mask in enumerate(masks):
        image(root / "images" / f"{i}.jpg")
        put(root / "masks" / f"{i}.png", mask)
    return root


def load(root: Path, options: str = "") -> Dataset:
    return parse_spec(f"masks:{root}" + (f"?{options}" if options else "")).load()


def mask(data: Dataset, index: int = 0, split: str = "train") -> np.ndarray:
    return data.splits[split].labels[index]


def voc(root: Path, shown: np.ndarray = BINARY, **lists: str) -> Path:
    for name in "abcd":
        image(root / "JPEGImages" / f"{name}.jpg")
    for name in "abc":
        put(root / "SegmentationClass" / f"{name}.png", shown)
    for name, text in lists.items():
        path = root / "ImageSets" / "Segmentation" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root
