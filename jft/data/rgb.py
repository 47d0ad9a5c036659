"""A picture in memory, of any mode, as upright, opaque 8-bit RGB."""

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

_BAND_PIXELS = 2**22  # converted at once, so that no second copy of all is needed
_ORIENTATION = 0x0112


class DecodeError(Exception):
    """A file holds no image we can use; the message is the reason, without the path."""


def pixels(image: Any) -> npt.NDArray[np.uint8]:
    """Return a picture that is in memory as `decode` returns one from a file.

    Args:
        image: A PIL image of any mode, or an array (or a tensor on the CPU) uint8
            [H, W], [H, W, 1], [H, W, 3] or [H, W, 4], the last channel opacity.

    Returns:
        RGB [H, W, 3] in 0..255; the array may be `image` itself.

    Raises:
        DecodeError: It has other numbers or another shape.
    """
    if isinstance(image, Image.Image):
        image.load()
        return upright(rgb(image), orientation(image))
    array = np.asarray(image)
    if array.dtype != np.uint8:
        raise DecodeError(
            f"an image is uint8 in 0..255, not {array.dtype}"
            + ("; multiply by 255 if it is in 0..1" if array.dtype.kind == "f" else "")
        )
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in (1, 3, 4) or not array.size:
        first = array.ndim == 3 and array.shape[0] in (1, 3)
        hint = "; channels come last: transpose(1, 2, 0)" if first else ""
        raise DecodeError(f"an image is [H, W, 3], not {[*array.shape]}{hint}")
    if channels == 3:
        return array
    return np.asarray(
        _to_rgb(
            Image.fromarray(
                array.squeeze(2) if array.ndim == 3 and channels == 1 else array
            )
        )
    )


def rgb(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Return the pixels [H, W, 3] of a loaded image, converted some rows at a time."""
    if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
        raise DecodeError("float or 32-bit pixels have no agreed range; save as 8-bit")
    rows = max(1, _BAND_PIXELS // image.width)
    if rows >= image.height:
        return np.asarray(_to_rgb(image))
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        band = image.crop((0, top, image.width, bottom))
        pixels[top:bottom] = np.asarray(_to_rgb(band))
    return pixels


def _to_rgb(image: Image.Image) -> Image.Image:
    """Return the image in mode RGB, 16 bits scaled and transparency over white.

    White, because it is the page that such pictures are made for; dropping alpha
    instead would uncover the colour stored under transparent pixels, often black or
    random, which no viewer ever shows.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        return _eight_bit(image).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    page = Image.new("RGB", image.size, "white")
    page.paste(image, mask=image.getchannel("A"))
    return page


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey to mode L: `convert` would saturate all above 255 to white."""
    values = np.asarray(image).astype(np.int32)
    grey = ((values + 128) // 257).astype(np.uint8)
    if "transparency" in image.info:
        grey[values == image.info["transparency"]] = 255
    return Image.fromarray(grey)


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation 1..8, or 1 where there is none that makes sense."""
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except Exception:  # cameras write broken EXIF; the pixels are still good
        return 1


def upright(pixels: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """Turn or mirror an image [H, W, 3] as its EXIF orientation asks."""
    if orientation not in range(2, 9):
        return pixels
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
