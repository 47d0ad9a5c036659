"""What Pillow makes of each operation: the second computation of its tests."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

ENHANCERS: dict[str, Any] = {
    "brightness": ImageEnhance.Brightness,
    "color": ImageEnhance.Color,
    "contrast": ImageEnhance.Contrast,
    "sharpness": ImageEnhance.Sharpness,
}
NEAREST, BLACK = Image.Resampling.NEAREST, (0, 0, 0)


def _matrix(operation: str, magnitude: float) -> tuple[float, ...]:
    """Return what torchvision's functional.affine hands to Pillow."""
    return {
        "shear_x": (1.0, magnitude, 0.0, 0.0, 1.0, 0.0),
        "shear_y": (1.0, 0.0, 0.0, magnitude, 1.0, 0.0),
        "translate_x": (1.0, 0.0, -int(magnitude), 0.0, 1.0, 0.0),
        "translate_y": (1.0, 0.0, 0.0, 0.0, 1.0, -int(magnitude)),
    }[operation]


def stretched(image: Image.Image) -> Image.Image:
    """Return ImageOps.autocontrast(image) without the errors of its float64.

    `test_colour` shows how far apart the two are.
    """
    table: list[int] = []
    for low, high in cast(Any, image.getextrema()):
        span = high - low
        values = [255 * (i - low) // span if span else i for i in range(256)]
        table += [min(max(value, 0), 255) for value in values]
    return image.point(table)


def change(
    image: np.ndarray, operation: str, magnitude: float, fill: Any = BLACK
) -> np.ndarray:
    """Return an image [H, W, 3] or a mask [H, W], uint8, after one operation.

    Geometric operations show `fill` where the image has nothing.
    """
    picture = Image.fromarray(image)
    others: dict[str, Callable[[], Image.Image]] = {
        "identity": lambda: picture,
        "rotate": lambda: picture.rotate(magnitude, NEAREST, fillcolor=fill),
        "posterize": lambda: ImageOps.posterize(picture, int(magnitude)),
        "solarize": lambda: ImageOps.solarize(picture, magnitude),
        "autocontrast": lambda: stretched(picture),
        "equalize": lambda: ImageOps.equalize(picture),
    }
    if operation in ENHANCERS:
        return np.array(ENHANCERS[operation](picture).enhance(1.0 + magnitude))
    if operation in others:
        return np.array(others[operation]())
    matrix = _matrix(operation, magnitude)
    affine = Image.Transform.AFFINE
    out = picture.transform(picture.size, affine, matrix, NEAREST, fillcolor=fill)
    return np.array(out)
