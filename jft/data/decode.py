"""From a file nobody vouches for to an upright picture of 8 bits, mostly RGB."""

import functools
import io
import os
import re
import stat
import threading
import warnings
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from jft.data import planes
from jft.data.rgb import DecodeError as DecodeError
from jft.data.rgb import orientation as orientation
from jft.data.rgb import pixels, rgb, upright, with_channels

# Named, so that a file's content can never choose Pillow's EPS plugin, which starts
# Ghostscript, or a rare plugin that no test of ours has seen.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "JPEG2000")

# 134 Mpx admits 100-Mpx photographs (402 MB as RGB). It must stay below twice Pillow's
# own limit (179 Mpx), where Pillow refuses in any case. OpenJPEG needs 20
# bytes a pixel, so there the same memory holds less.
MAX_PIXELS = 2**27
_MOST_PIXELS = {"JPEG2000": 2**25}

# Larger ones are made one at a time, whatever the number of threads: of the largest,
# each takes up to 1.2 GB while it is decoded.
_LARGE_PIXELS = 2**24
_LARGE = threading.Lock()

# A scan of a few bytes can make the decoder walk over all pixels: a 1-MB file would
# take it half an hour. What encoders write has about ten.
_MAX_SCANS = 500
_MAX_JPEG_BYTES = 2**27  # read into memory at once; Pillow reads longer files in parts

_QUIET = ("ignore", None, Warning, re.compile(r"PIL\."), 0)


_FOREIGN = {
    b"git-lfs": "; it is a Git LFS pointer: run git lfs pull",
    b"ftypavif": "; it is an AVIF file: save it as PNG or JPEG",
    **dict.fromkeys(
        (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftyphevc"),
        "; it is an HEIC file: save it as PNG or JPEG",
    ),
}


def decode(
    source: Path | bytes | npt.NDArray[np.uint8],
    *,
    at_least: int | None = None,
    channels: int = 3,
) -> npt.NDArray[np.uint8]:
    """Return the picture in a file as a viewer shows it: upright, opaque, 8-bit RGB.

    The content decides the format, never the name. Of several frames or pages the first
    is taken. 16-bit greys are scaled by 1/257 and rounded; of 16-bit colours Pillow
    keeps the high byte, which is at most one level less. Colour profiles are ignored,
    as torchvision and timm ignore them. JPEGs are decoded by simplejpeg where it is
    installed, to the pixels that Pillow gives.

    Args:
        source: A regular file (symbolic links are followed), a file's bytes, or pixels
            [H, W, C] that need no decoding.
        at_least: Pixels of the shorter side that a resize will ask for. A JPEG with
            four times as many, or more, is decoded at 1/2, 1/4 or 1/8 of its size by
            the scaled inverse DCT, so that twice as many are left: after the resize the
            pixels of a photograph differ from those of the whole image by less than a
            level in the mean, without that margin by about three. None decodes all.
        channels: 3 for RGB; 1 for grey, to which colours are converted (ITU-R 601); 4
            for RGB and opacity. Any number is read from a NumPy file uint8 or uint16
            [H, W, C], a TIFF file with C samples a pixel, or one of C grey pages.

    Returns:
        The image [H, W, channels] in 0..255; the array may be read-only.

    Raises:
        DecodeError: The file cannot be opened, is not an image, is damaged, has more
            than `MAX_PIXELS` pixels or another number of channels, or holds numbers
            without an agreed range (float).
    """
    if isinstance(source, np.ndarray):
        return pixels(source, channels)
    _silence_pillow()
    try:
        with open_file(source) as file:
            many = _many_channels(file, channels)
            if many is not None:
                return with_channels(many, channels)
            with Image.open(file, formats=FORMATS) as image:
                _require_size(image)
                with one_at_a_time(image.width * image.height):
                    return _pixels_of(file, image, at_least, channels)
    except DecodeError:
        raise
    except Exception as error:  # Pillow's plugins raise a dozen kinds on bad bytes
        raise DecodeError(_reason(source, error)) from error


def _many_channels(file: BinaryIO, channels: int) -> npt.NDArray[np.uint8] | None:
    """Return the pixels of a file that Pillow does not read; None for another."""
    start = file.read(len(planes.NPY))
    file.seek(0)
    if start == planes.NPY:
        return planes.read_npy(file)
    found = None if channels in (1, 3) else planes.read_tiff(file)
    file.seek(0)
    return found


def _pixels_of(
    file: BinaryIO, image: Image.Image, at_least: int | None, channels: int
) -> npt.NDArray[np.uint8]:
    """Decode an opened image, by the fastest decoder that there is for it."""
    jpeg = image.format in ("JPEG", "MPO")  # MPO: a JPEG with further pictures behind
    factor = _factor(image, at_least) if jpeg else 1
    if jpeg and "progressive" in image.info:
        _require_few_scans(file)
    found = None
    if image.format == "JPEG" and channels == 3:
        found = _simplejpeg(file, image, factor)
    elif channels not in (1, 3):
        found = planes.read_pages(image, channels)
    if found is None:
        if factor > 1:
            image.draft(image.mode, (image.width // factor, image.height // factor))
        # Before reading the orientation: Pillow turns a TIFF upright as it loads,
        # and a PNG may keep its EXIF block behind the pixels.
        image.load()
        found = rgb(image, channels)
    return upright(found, orientation(image))


def _factor(image: Image.Image, at_least: int | None) -> int:
    """Return by how much a JPEG is made smaller as it is decoded: 1, 2, 4 or 8."""
    if at_least is None:
        return 1
    spare = min(image.size) // (2 * at_least)
    return max(factor for factor in (1, 2, 4, 8) if factor <= max(spare, 1))


def _simplejpeg(
    file: BinaryIO, image: Image.Image, factor: int
) -> npt.NDArray[np.uint8] | None:
    """Decode a grey or colour JPEG [H, W, 3], or return None to leave it to Pillow.

    That decides what to think of the damaged ones, too.
    """
    decoder = _decoder()
    if decoder is None or image.mode not in ("L", "RGB"):
        return None
    file.seek(0)
    data = file.read(_MAX_JPEG_BYTES + 1)
    if len(data) > _MAX_JPEG_BYTES:
        return None
    height, width = (-(-side // factor) for side in (image.height, image.width))
    try:
        return decoder.decode_jpeg(
            data, "RGB", min_height=height, min_width=width, min_factor=factor
        )
    except ValueError:
        return None


def _require_few_scans(file: BinaryIO) -> None:
    """Raise `DecodeError` where a progressive JPEG would be walked over for ever."""
    file.seek(0)
    scans = file.read(_MAX_JPEG_BYTES).count(b"\xff\xda")
    if scans > _MAX_SCANS:
        raise DecodeError(f"has {scans} scans; at most {_MAX_SCANS} are decoded")


@functools.cache
def _decoder() -> Any:
    try:
        import simplejpeg
    except ImportError:
        return None
    return simplejpeg


def one_at_a_time(pixels: int) -> AbstractContextManager[Any]:
    """Return a context that a single thread is in, if an image is large; not nested."""
    return _LARGE if pixels > _LARGE_PIXELS else nullcontext()


def open_file(source: Path | bytes) -> BinaryIO:
    """Open a file for reading; `DecodeError` if it is empty or no regular file."""
    if isinstance(source, Path):
        _require_regular(source)
        return source.open("rb")
    if not source:
        raise DecodeError("the file is empty")
    return io.BytesIO(source)


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
    most = _MOST_PIXELS.get(image.format or "", MAX_PIXELS)
    if width * height > most:
        raise DecodeError(
            f"declares {width} x {height} pixels; at most {most:,} are decoded"
        )


def _reason(source: Path | bytes, error: Exception) -> str:
    """Return in a few words, without the path, why a file could not be read."""
    if isinstance(error, UnidentifiedImageError):
        with open_file(source) as file:
            start = file.read(64)
        hint = next((why for sign, why in _FOREIGN.items() if sign in start), "")
        if start.lstrip().startswith(b"<"):
            hint = "; it looks like a web page"
        return f"not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image{hint}"
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno).lower()
    return str(error) or type(error).__name__
