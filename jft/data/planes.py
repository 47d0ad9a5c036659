"""Images of any number of channels: NumPy's files, and TIFF files that Pillow lacks."""

import zlib
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageSequence
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from jft.data.rgb import DecodeError

NPY = b"\x93NUMPY"
MOST_BYTES = 2**29  # of an image's pixels
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _OFFSETS = 256, 257, 258, 259, 273
_SAMPLES, _COUNTS, _PLANAR, _PREDICTOR, _FORMAT = 277, 279, 284, 317, 339
_PILLOW_READS = 4  # samples of a pixel


def read_npy(file: BinaryIO) -> npt.NDArray[np.uint8]:
    """Return the array of a NumPy file as pixels [H, W, C].

    Raises:
        DecodeError: It is not uint8 or uint16 of two or three axes, or is too large.
    """
    try:
        version = np.lib.format.read_magic(file)
        read: Any = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
        shape, _, dtype = read(file)
    except (ValueError, AttributeError) as error:
        raise DecodeError(f"a damaged .npy file: {error}") from None
    _require_bytes(int(np.prod(shape, dtype=np.float64)) * dtype.itemsize)
    if len(shape) not in (2, 3) or not all(shape):
        raise DecodeError(f"an image is [H, W] or [H, W, C], not {[*shape]}")
    file.seek(0)
    array = eight_bit(np.load(file, allow_pickle=False))
    return array[..., None] if array.ndim == 2 else array


def read_tiff(file: BinaryIO) -> npt.NDArray[np.uint8] | None:
    """Return the pixels [H, W, C] of a TIFF file with more than four samples a pixel.

    Samples may be interleaved or apart, in strips without compression or with Deflate.

    Returns:
        None for any other file: Pillow reads it.

    Raises:
        DecodeError: It is such a file, but stored in another way, or damaged.
    """
    file.seek(0)
    header = file.read(8)
    if header[:4] not in (b"II*\0", b"MM\0*"):
        return None
    tags = ImageFileDirectory_v2(header)
    file.seek(tags.next)
    tags.load(file)
    samples = tags.get(_SAMPLES, 1)
    if samples <= _PILLOW_READS:
        return None
    width, height, bits = tags[_WIDTH], tags[_HEIGHT], {*tags[_BITS]}
    _require_bytes(width * height * samples * max(bits) // 8)
    squeezed = tags.get(_COMPRESSION, 1) in (8, 32946)
    if (
        bits not in ({8}, {16})
        or {*tags.get(_FORMAT, (1,))} != {1}
        or not (squeezed or tags.get(_COMPRESSION, 1) == 1)
        or _OFFSETS not in tags
    ):
        raise DecodeError(
            f"a TIFF of {samples} channels is read in strips of 8 or 16 bits, "
            "uncompressed or with Deflate; save this one so, or as .npy"
        )
    strips: list[bytes] = []
    for offset, count in zip(tags[_OFFSETS], tags[_COUNTS], strict=True):
        file.seek(offset)
        data = file.read(count)
        strips.append(zlib.decompress(data) if squeezed else data)
    dtype = np.dtype(f"{'<' if header[:2] == b'II' else '>'}u{max(bits) // 8}")
    apart = tags.get(_PLANAR, 1) == 2
    shape = (samples, height, width, 1) if apart else (1, height, width, samples)
    pixels = np.frombuffer(b"".join(strips), dtype).reshape(shape)
    if tags.get(_PREDICTOR, 1) == 2:
        pixels = np.cumsum(pixels, axis=2, dtype=dtype.newbyteorder("="))
    return eight_bit(np.concatenate([*pixels], axis=2))


def read_pages(image: Image.Image, channels: int) -> npt.NDArray[np.uint8] | None:
    """Return [H, W, C] of a file of C grey pages; None for another file."""
    if getattr(image, "n_frames", 1) != channels or not image.mode.startswith(
        ("L", "I;16")
    ):
        return None
    _require_bytes(image.width * image.height * channels)
    pages = [eight_bit(np.asarray(page)) for page in ImageSequence.Iterator(image)]
    if len({page.shape for page in pages}) > 1 or pages[0].ndim != 2:
        raise DecodeError("its pages differ in size, or are not grey")
    return np.stack(pages, axis=2)


def eight_bit(array: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return an array as uint8; of 16 bits, scaled by 1/257 and rounded."""
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:
        return ((array.astype(np.int32) + 128) // 257).astype(np.uint8)
    raise DecodeError(
        f"{array.dtype} pixels have no agreed range; save as uint8 or uint16"
    )


def _require_bytes(count: int) -> None:
    if count > MOST_BYTES:
        raise DecodeError(f"declares {count:,} bytes of pixels; at most {MOST_BYTES:,}")
