"""How an image of any size becomes the square that a network sees, and its mask too."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from jft.data.decode import MAX_PIXELS, one_at_a_time
from jft.preprocess import Preprocess, bilinear
from jft.types import VOID

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_TILE = 64  # pixels: few enough for the caches, and for products on one core


@dataclass(frozen=True)
class Square:
    """The way from a decoded image to a square of uint8 pixels.

    Attributes:
        preprocess: Gives the size S, the filter and the crop.
        fast: Save what changes pixels by a level or so: decode a JPEG at a fraction of
            its size where it is much larger, and resize no more than is kept. Not for
            images with masks, which must match in size.
    """

    preprocess: Preprocess
    fast: bool = False

    @property
    def at_least(self) -> int | None:
        """How many pixels a side has to have for the resize; None for all there are."""
        return self.preprocess.resized if self.fast else None

    @property
    def channels(self) -> int:
        """Number of channels of an image, C."""
        return len(self.preprocess.mean)

    def image(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return the square [S, S, C] of an image [H, W, C]."""
        if self.preprocess.crop == "letterbox":
            return letterbox(
                image,
                self.preprocess.size,
                _FILTERS[self.preprocess.interpolation],
                self.preprocess.fill,
                self.preprocess.resized,
            )
        return centre(image, self.preprocess, exact=not self.fast)

    def mask(self, mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return the square [S, S] of a mask [H, W]: nearest pixels, void outside."""
        return letterbox(mask, self.preprocess.size, Image.Resampling.NEAREST, VOID)


def letterbox(
    image: npt.NDArray[np.uint8],
    size: int,
    interpolation: Image.Resampling,
    fill: int | tuple[int, ...],
    resized: int | None = None,
) -> npt.NDArray[np.uint8]:
    """Resize the longer side, cut the central square, and fill it up on both sides.

    timm's crop_mode "border", to the bit.

    Args:
        image: [H, W] or [H, W, C].
        size: Side of the square, in pixels.
        interpolation: Pillow's filter.
        fill: What the margins show, in 0..255, for each channel.
        resized: The longer side after the resize, at least `size`; None for `size`,
            which keeps the whole image.

    Returns:
        [size, size] or [size, size, C].
    """
    _, _, height, width = inner(image.shape[:2], resized or size)
    if (height, width) != image.shape[:2]:
        image = _resize(image, (width, height), interpolation)
    top, left = (max(0, round((side - size) / 2)) for side in (height, width))
    image = image[top : top + size, left : left + size]
    height, width = image.shape[:2]
    top, left = (size - height) // 2, (size - width) // 2
    square = np.empty((size, size, *image.shape[2:]), np.uint8)
    square[:] = fill
    square[top : top + height, left : left + width] = image
    return square


def inner(shape: tuple[int, ...], size: int) -> tuple[int, int, int, int]:
    """Return where an image is in its square: top, left, height, width, in pixels.

    Args:
        shape: Height and width of the image.
        size: Side of the square.
    """
    ratio = max(shape) / size
    height, width = (max(1, round(side / ratio)) for side in shape)
    return (size - height) // 2, (size - width) // 2, height, width


def most_probable(
    probabilities: npt.NDArray[np.float32], shape: tuple[int, int]
) -> npt.NDArray[np.uint8]:
    """Return the most probable class of each pixel of the image a square was made of.

    The classes' maps are enlarged by bilinear interpolation, as Pillow has it. That is
    done a tile at a time, and there only for classes that can win: an interpolated
    value is a mean, so a class whose highest is below another's lowest never does.

    Args:
        probabilities: [S, S, K], of each pixel of `letterbox`'s square.
        shape: Height and width of the image.

    Returns:
        [H, W], the earlier of two classes that are equal; 0 where there is a NaN.
    """
    top, left, height, width = inner(shape, len(probabilities))
    cut = probabilities[top : top + height, left : left + width]
    best = np.zeros(shape, np.uint8)
    columns = list(_tiles(width, shape[1]))
    for down, rows, vertical in _tiles(height, shape[0]):
        for across, used, horizontal in columns:
            part, tile = cut[rows, used], best[down, across]
            able = np.flatnonzero(part.max((0, 1)) >= part.min((0, 1)).max())
            if len(able) == 1:
                tile[:] = able[0]
                continue
            highest = np.full(tile.shape, -np.inf, np.float32)
            for k in able:
                found = vertical @ np.ascontiguousarray(part[..., k]) @ horizontal.T
                tile[found > highest] = k
                np.maximum(highest, found, out=highest)
    return best


def _tiles(
    here: int, there: int
) -> Iterator[tuple[slice, slice, npt.NDArray[np.float32]]]:
    """Yield the tiles of a side of `here` pixels that becomes one of `there`.

    Each is the slice of the tile, the slice of the pixels it is made of, and their
    weights in it, [tile, pixels].
    """
    reach = max(here / there, 1.0)  # where it becomes shorter, all its pixels count
    for start in range(0, there, _TILE):
        stop = min(start + _TILE, there)
        centres = (np.arange(start, stop) + 0.5) * here / there - 0.5
        weights = bilinear(centres[None], np.arange(here)[:, None], here, reach).T
        used = np.flatnonzero(weights.any(axis=0))
        pixels = slice(used[0], used[-1] + 1)
        yield slice(start, stop), pixels, weights[:, pixels].astype(np.float32)


def centre(
    image: npt.NDArray[np.uint8], preprocess: Preprocess, *, exact: bool = True
) -> npt.NDArray[np.uint8]:
    """Resize the shorter side, or both sides, and keep the central square.

    Gives the bytes of torchvision's `Resize(preprocess.resized)` (for "squash", of both
    sides) and `CenterCrop(size)` on a PIL image: truncation of the longer side, and
    rounding half to even of the offset, included. Only a strip so long that its resized
    copy would pass `MAX_PIXELS` loses its ends first.

    Args:
        image: [H, W, C] in 0..255, any size.
        preprocess: Its size S, interpolation, crop and crop fraction are used.
        exact: Else only what is kept is resized, and Pillow may round rows before
            columns where it would round columns first.

    Returns:
        The square [S, S, C] in 0..255; the array may be read-only, or `image` itself.
    """
    size, target = preprocess.size, preprocess.resized
    if preprocess.crop == "centre":
        image = _shorten(image, target)
    height, width = image.shape[:2]
    short = min(height, width)
    new_height, new_width = int(target * height / short), int(target * width / short)
    if preprocess.crop == "squash":
        new_height = new_width = target
    top, left = round((new_height - size) / 2), round((new_width - size) / 2)
    if (new_height, new_width) == (height, width):
        return image[top : top + size, left : left + size]
    sides = (new_width, new_height)
    how = _FILTERS[preprocess.interpolation]
    with one_at_a_time(new_height * new_width):
        if exact:
            resized = _resize(image, sides, how)
            return resized[top : top + size, left : left + size]
        x, y = width / new_width, height / new_height
        box = (left * x, top * y, (left + size) * x, (top + size) * y)
        return _resize(image, (size, size), how, box)


def _resize(
    image: npt.NDArray[np.uint8],
    sides: tuple[int, int],
    how: Image.Resampling,
    box: tuple[float, float, float, float] | None = None,
) -> npt.NDArray[np.uint8]:
    """Return an image [H, W] or [H, W, C], or a box of it, at another width and height.

    Of RGB at once, otherwise each channel by itself: Pillow would take the last of four
    for opacity, and weight the others with it.
    """
    if image.ndim == 2 or image.shape[2] == 3:
        return np.asarray(Image.fromarray(image).resize(sides, how, box=box))
    bands = [_resize(image[..., c], sides, how, box) for c in range(image.shape[2])]
    return np.stack(bands, axis=2)


def _shorten(image: npt.NDArray[np.uint8], target: int) -> npt.NDArray[np.uint8]:
    """Keep the middle of an image whose resized copy would pass `MAX_PIXELS`."""
    height, width = image.shape[:2]
    limit = min(height, width) * max(1, MAX_PIXELS // target**2)
    top, left = max(0, (height - limit) // 2), max(0, (width - limit) // 2)
    return image[top : top + limit, left : left + limit]
