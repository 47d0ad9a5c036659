"""A picture in memory, of any mode, as upright, opaque 8-bit RGB, or other channels."""

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

_BAND_PIXELS = 2**22  # converted at once, so that no second copy of all is needed
_ORIENTATION = 0x0112


class DecodeError(Exception):
    """A file holds no image we can use; the message is the reason, without the path."""


def pixels(image: Any, channels: int = 3) -> npt.NDArray[np.uint8]:
    """Return a picture that is in memory as `decode` returns one from a file.

    Args:
        image: A PIL image of any mode, or an array (or a tensor on the CPU) uint8
            [H, W], or [H, W, C] where C is 1, 3, 4 (the last channel is opacity) or
            `channels`.
        channels: As in `decode`.

    Returns:
        [H, W, channels] in 0..255; the array may be `image` itself.

    Raises:
        DecodeError: It has other numbers or another shape.
    """
    if isinstance(image, Image.Image):
        image.load()
        return upright(rgb(image, channels), orientation(image))
    array = np.asarray(image)
    if array.dtype != np.uint8:
        raise DecodeError(
            f"an image is uint8 in 0..255, not {array.dtype}"
            + ("; multiply by 255 if it is in 0..1" if array.dtype.kind == "f" else "")
        )
    if array.ndim not in (2, 3) or not array.size:
        raise DecodeError(f"an image is [H, W, {channels}], not {[*array.shape]}")
    return with_channels(array if array.ndim == 3 else array[..., None], channels)


def with_channels(array: npt.NDArray[np.uint8], channels: int) -> npt.NDArray[np.uint8]:
    """Return pixels [H, W, C] with another number of channels.

    Raises:
        DecodeError: Only grey, RGB and RGB with opacity become one another.
    """
    given = array.shape[2]
    if given == channels:
        return array
    if given not in (1, 3, 4) or channels not in (1, 3, 4):
        first = array.shape[0] in (1, channels)
        hint = "; channels come last: transpose(1, 2, 0)" if first else ""
        raise DecodeError(
            f"an image is [H, W, {channels}], not {[*array.shape]}"
            + (hint or f"; --model.channels {given} trains on {given} channels")
        )
    return rgb(Image.fromarray(array.squeeze(2) if given == 1 else array), channels)


def rgb(image: Image.Image, channels: int = 3) -> npt.NDArray[np.uint8]:
    """Return the pixels [H, W, 3] of a loaded image, converted some rows at a time.

    Args:
        image: The image.
        channels: 1 returns grey [H, W, 1]; 4, RGB and opacity [H, W, 4].

    Raises:
        DecodeError: It has numbers without an agreed range, or other channels.
    """
    if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
        raise DecodeError("float or 32-bit pixels have no agreed range; save as 8-bit")
    if channels not in (1, 3, 4):
        raise DecodeError(
            f"{image.mode} image of {len(image.getbands())} channels, not {channels}"
        )
    if channels == 4:
        return np.asarray(image if image.mode == "RGBA" else _opaque(image))
    if channels == 1:
        grey = Image.fromarray(rgb(image)).convert("L")
        return np.asarray(grey)[..., None]
    rows = max(1, _BAND_PIXELS // image.width)
    if rows >= image.height:
        return np.asarray(_to_rgb(image))
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        band = image.crop((0, top, image.width, bottom))
        pixels[top:bottom] = np.asarray(_to_rgb(band))
    return pixels


def _opaque(image: Image.Image) -> Image.Image:
    """Return the image in mode RGBA, opaque where it states no transparency."""
    if image.has_transparency_data and not image.mode.startswith("I"):
        return image.convert("RGBA")
    return _to_rgb(image).convert("RGBA")


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
