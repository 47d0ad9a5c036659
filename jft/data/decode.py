"""From a file nobody vouches for to the uint8 square that a network's recipe states."""

import os
import re
import stat
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from jft.errors import InputError
from jft.preprocess import Preprocess

# Named, so that a file's content can never choose Pillow's EPS plugin, which starts
# Ghostscript, or a rare plugin that no test of ours has seen.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "JPEG2000")

# 134 Mpx admits 100-Mpx photographs (402 MB as RGB). It must stay below twice Pillow's
# own limit (179 Mpx), where Pillow refuses whatever we say here.
MAX_PIXELS = 2**27

_CHUNK = 64  # images per task of the pool, so that the cost of a task vanishes
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_QUIET = ("ignore", None, Warning, re.compile(r"PIL\."), 0)


class DecodeError(Exception):
    """A file holds no image we can use; the message is the reason, without the path."""


@dataclass(frozen=True)
class Files:
    """Images read from their files at each access; indexed like an array of them.

    Attributes:
        paths: One readable image file per example, N in all.
        preprocess: How each is brought to [S, S, 3].
    """

    paths: tuple[Path, ...]
    preprocess: Preprocess

    def __len__(self) -> int:
        """Return the number of images N."""
        return len(self.paths)

    def __getitem__(self, index: int) -> npt.NDArray[np.uint8]:
        """Return image `index` [S, S, 3]; `InputError` if its file has changed."""
        try:
            return fit(decode(self.paths[index]), self.preprocess)
        except DecodeError as error:
            path = str(self.paths[index])
            raise InputError(
                f"{path!r} could be read when the run began, but now: {error}"
            ) from error


def decode(path: Path) -> npt.NDArray[np.uint8]:
    """Return the picture in a file as a viewer shows it: upright, opaque, 8-bit RGB.

    The content decides the format, never the name. Of several frames or pages the first
    is taken. 16-bit greys are scaled by 1/257 and rounded; of 16-bit colours Pillow
    keeps the high byte, which is at most one level less. Colour profiles are ignored,
    as torchvision and timm ignore them.

    Args:
        path: A regular file; symbolic links are followed.

    Returns:
        The image [H, W, 3], R, G, B in 0..255; the array may be read-only.

    Raises:
        DecodeError: The file cannot be opened, is no image, is damaged, has more than
            `MAX_PIXELS` pixels, or holds numbers without an agreed range (float).
    """
    _silence_pillow()
    try:
        _require_regular(path)
        with path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
            _require_size(image)
            # Before reading the orientation: Pillow turns a TIFF upright as it loads,
            # and a PNG may keep its EXIF block behind the pixels.
            image.load()
            return np.asarray(_upright(_to_rgb(image), _orientation(image)))
    except DecodeError:
        raise
    except Exception as error:  # Pillow's plugins raise a dozen kinds on bad bytes
        raise DecodeError(_reason(path, error)) from error


def fit(image: npt.NDArray[np.uint8], preprocess: Preprocess) -> npt.NDArray[np.uint8]:
    """Resize the shorter side, keep the central square.

    Gives the bytes of torchvision's `Resize(preprocess.resized)` and
    `CenterCrop(size)` on a PIL image: truncation of the longer side, and rounding half
    to even of the offset, included. Only a strip so long that its resized copy would
    pass `MAX_PIXELS` loses its ends first.

    Args:
        image: RGB [H, W, 3] in 0..255, any size.
        preprocess: Its size S, interpolation and crop fraction are used.

    Returns:
        The square [S, S, 3] in 0..255; the array may be read-only, or `image` itself.
    """
    size, target = preprocess.size, preprocess.resized
    image = _shorten(image, target)
    height, width = image.shape[:2]
    short = min(height, width)
    new_height, new_width = int(target * height / short), int(target * width / short)
    if (new_height, new_width) != (height, width):
        resized = Image.fromarray(image).resize(
            (new_width, new_height), _FILTERS[preprocess.interpolation]
        )
        image = np.asarray(resized)
    top, left = round((new_height - size) / 2), round((new_width - size) / 2)
    return image[top : top + size, left : left + size]


def decode_all(
    paths: Sequence[Path], preprocess: Preprocess, *, keep: bool, workers: int | None
) -> tuple[npt.NDArray[np.uint8] | Files, dict[int, str]]:
    """Decode every file once, in threads, and set those aside that cannot be.

    Args:
        paths: The files.
        preprocess: Given to `fit`.
        keep: Whether to return the images themselves, or to read them again later.
        workers: Threads; None for one per core (more only wait for Python's lock).

    Returns:
        The N good images in the order of `paths`, as an array [N, S, S, 3] or as
        `Files`; and for each bad one its position in `paths` and the reason.
    """
    size = preprocess.size
    images = np.empty((len(paths) if keep else 0, size, size, 3), np.uint8)

    def check(start: int) -> dict[int, str]:
        bad: dict[int, str] = {}
        for i, path in enumerate(paths[start : start + _CHUNK], start):
            try:
                image = decode(path)
                if keep:
                    images[i] = fit(image, preprocess)
            except DecodeError as error:
                bad[i] = str(error)
        return bad

    bad: dict[int, str] = {}
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        for some in pool.map(check, range(0, len(paths), _CHUNK)):
            bad |= some
    if keep:
        return (np.delete(images, list(bad), axis=0) if bad else images), bad
    good = tuple(path for i, path in enumerate(paths) if i not in bad)
    return Files(good, preprocess), bad


def _silence_pillow() -> None:
    """Ignore the warnings that Pillow itself raises, from now on, in this process.

    They speak of damaged metadata and of 90-Mpx images: both are settled here. A
    `catch_warnings` around each call would be tidier, but it swaps a global list, which
    is not safe while a pool of threads decodes. Others put filters before ours or take
    the list back, hence the check at every call.
    """
    if warnings.filters[:1] != [_QUIET]:
        warnings.filterwarnings("ignore", module=_QUIET[3].pattern)


def _require_regular(path: Path) -> None:
    """Raise `DecodeError` unless a file of at least one byte can be opened at once."""
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise DecodeError("is a folder")
    if not stat.S_ISREG(status.st_mode):  # opening a FIFO would wait for ever
        raise DecodeError("is not a regular file")
    if status.st_size == 0:
        raise DecodeError("the file is empty")


def _require_size(image: Image.Image) -> None:
    """Raise `DecodeError` where the header declares more than `MAX_PIXELS` pixels."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise DecodeError(
            f"declares {width} x {height} pixels; at most {MAX_PIXELS:,} are decoded"
        )


def _to_rgb(image: Image.Image) -> Image.Image:
    """Return the image in mode RGB, 16 bits scaled and transparency over white.

    White, because it is the page that such pictures are made to lie on; dropping alpha
    instead would uncover the colour stored under transparent pixels, often black or
    random, which no viewer ever shows.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
        raise DecodeError("float or 32-bit pixels have no agreed range; save as 8-bit")
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


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation 1..8, or 1 where there is none that makes sense."""
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except Exception:  # cameras write broken EXIF; the pixels are still good
        return 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    """Turn or mirror the image as its EXIF orientation asks."""
    turn = _UPRIGHT.get(orientation)
    return image if turn is None else image.transpose(turn)


def _shorten(image: npt.NDArray[np.uint8], target: int) -> npt.NDArray[np.uint8]:
    """Keep the middle of an image whose resized copy would pass `MAX_PIXELS`."""
    height, width = image.shape[:2]
    limit = min(height, width) * max(1, MAX_PIXELS // target**2)
    top, left = max(0, (height - limit) // 2), max(0, (width - limit) // 2)
    return image[top : top + limit, left : left + limit]


def _reason(path: Path, error: Exception) -> str:
    """Say in a few words, without the path, why a file could not be read."""
    if isinstance(error, UnidentifiedImageError):
        with path.open("rb") as file:
            page = file.read(64).lstrip().startswith(b"<")
        hint = "; it looks like a web page" if page else ""
        return f"not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image{hint}"
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno).lower()
    return str(error) or type(error).__name__
