"""Write preprocess_oracle.json: the pixels that torchvision and timm make of JPEGs.

Needs torch, torchvision and timm; the tests that read the file do not. Run it as

    PYTHONPATH=tests python tests/data/make_preprocess_oracle.py

The JPEG files beside it are made here too, if they are missing: only their bytes
decide the pixels, whichever encoder wrote them.
"""

import hashlib
import itertools
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from cpu_torchvision import import_torchvision
from PIL import Image

PATH = Path(__file__).with_name("preprocess_oracle.json")
JPEGS = Path(__file__).with_name("jpeg")

# Height, width and Pillow's mode. Odd sizes, both orientations, one to enlarge, one
# that is a strip, and one in grey.
PICTURES = {
    "wide": (160, 242, "RGB"),
    "tall": (151, 67, "RGB"),
    "small": (50, 60, "RGB"),
    "strip": (24, 640, "RGB"),
    "grey": (120, 120, "L"),
}
FRACTIONS = (0.875, 0.95, 224 / 232, 1.0)
FILTERS = ("nearest", "bilinear", "bicubic", "lanczos")
SIZES = (224, 75)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Case(NamedTuple):
    """One preprocessing: size and fraction of the crop, the filter, the crop mode."""

    size: int
    fraction: float
    interpolation: str
    mode: str = "center"

    @property
    def name(self) -> str:
        """What the file calls it."""
        mode = "" if self.mode == "center" else f" {self.mode}"
        return f"{self.size} {self.fraction:.6g} {self.interpolation}{mode}"


CASES = (
    *itertools.starmap(Case, itertools.product(SIZES, FRACTIONS, FILTERS)),
    # timm's alone; 0.875 crops what it has squashed or padded.
    *itertools.starmap(
        Case,
        itertools.product(
            SIZES, (0.875, 1.0), ("bilinear", "bicubic"), ("squash", "border")
        ),
    ),
)
"""Every preprocessing that is compared."""


def draw(height: int, width: int, mode: str) -> Image.Image:
    """Return a picture of waves and hard edges, without any symmetry."""
    y, x = np.mgrid[:height, :width]
    waves = np.stack(
        [np.sin(x / 9 + y / 31), np.cos(x * y / 2900), np.sin((x + 2 * y) / 7)], axis=-1
    )
    edges = ((x // 17 + y // 11) % 3 == 0)[..., None] * np.array([60, -50, 40])
    pixels = np.clip(127 + 70 * waves + edges, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def write_jpegs() -> None:
    """Write the pictures that are missing, with halved colours as cameras do."""
    JPEGS.mkdir(exist_ok=True)
    for name, picture in PICTURES.items():
        path = JPEGS / f"{name}.jpg"
        if not path.exists():
            draw(*picture).save(path, quality=50, subsampling="4:2:0")


def by_torchvision(path: Path, case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Return uint8 and normalised pixels [S, S, 3] as torchvision's recipes make them.

    They state the size before the crop and not a fraction; a fraction is made of it.
    """
    transforms = import_torchvision().transforms
    resize = transforms.Resize(
        math.floor(case.size / case.fraction),
        transforms.InterpolationMode(case.interpolation),
    )
    crop = transforms.Compose([resize, transforms.CenterCrop(case.size)])
    scale = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize(mean=MEAN, std=STD)]
    )
    with Image.open(path) as image:
        square = crop(image.convert("RGB"))
    return np.asarray(square), scale(square).permute(1, 2, 0).numpy()


def by_timm(path: Path, case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Return uint8 and normalised pixels [S, S, 3] as timm's evaluation makes them."""
    import_torchvision()
    from timm.data import create_transform

    made: list[np.ndarray] = []
    for normalize in (False, True):
        transform: Any = create_transform(
            (3, case.size, case.size),
            is_training=False,
            interpolation=case.interpolation,
            crop_pct=case.fraction,
            crop_mode=case.mode,
            mean=MEAN,
            std=STD,
            normalize=normalize,
        )
        with Image.open(path) as image:
            made.append(transform(image.convert("RGB")).permute(1, 2, 0).numpy())
    return made[0], made[1]


def agreed(path: Path, case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Return uint8 and normalised pixels of both libraries, which are the same."""
    again, more = by_timm(path, case)
    if case.mode != "center":
        return again, more
    pixels, numbers = by_torchvision(path, case)
    np.testing.assert_array_equal(pixels, again)
    np.testing.assert_array_equal(numbers, more)
    return pixels, numbers


def digest(pixels: np.ndarray) -> str:
    """Return what tells one array of bytes from another."""
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()[:32]


def compute() -> dict[str, dict[str, Any]]:
    """Return, by picture, the digest of the picture itself and of every square."""
    found: dict[str, dict[str, Any]] = {}
    for name in PICTURES:
        path = JPEGS / f"{name}.jpg"
        with Image.open(path) as image:
            found[name] = {"decoded": digest(np.asarray(image.convert("RGB")))}
        for case in CASES:
            found[name][case.name] = digest(agreed(path, case)[0])
    return found


def main() -> None:
    """Write the file."""
    write_jpegs()
    PATH.write_text(json.dumps(compute(), indent=1) + "\n")
    sizes = [path.stat().st_size for path in JPEGS.iterdir()]
    print(f"{PATH}: {PATH.stat().st_size} bytes, and JPEG files of {sizes}")


if __name__ == "__main__":
    main()
