"""Files that break loaders, made in code, each with what must become of it."""

import io
import os
import socket
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, PngImagePlugin

Array = npt.NDArray[np.uint8]
Outcome = Literal["decoded", "converted", "rejected"]


@dataclass(frozen=True)
class Nasty:
    """A file that a data set may hold.

    Attributes:
        name: Of the file; unique.
        content: Its bytes, or what makes something else than a file at a path.
        outcome: decoded: the pixels are kept; converted: they become 8-bit RGB by
            rules that `jft.data.decode` states; rejected: with a reason.
        says: Words of the reason.
        pixels: What must come out [H, W, 3]; None where only the shape is known.
        shape: Height and width of what comes out.
        within: Levels by which the pixels may differ: 0 but for lossy formats.
    """

    name: str
    content: bytes | Callable[[Path], None]
    outcome: Outcome
    says: str = ""
    pixels: Array | None = None
    shape: tuple[int, int] | None = None
    within: int = 0

    def write(self, folder: Path) -> Path:
        """Put it into a folder."""
        path = folder / self.name
        if isinstance(self.content, bytes):
            path.write_bytes(self.content)
        else:
            self.content(path)
        return path


def picture(height: int = 40, width: int = 60) -> Array:
    """A smooth colour picture without any symmetry: JPEG keeps it within 8 levels."""
    y, x = np.mgrid[0:height, 0:width]
    up, right = y / height, x / width
    channels = [255 * up, 255 * right, 127 * (right + up**2)]
    return np.stack(channels, axis=-1).astype(np.uint8)


PICTURE = picture()
GREY = np.asarray(Image.fromarray(PICTURE).convert("L"))
GREY_RGB = GREY[..., None].repeat(3, -1)
DEEP = GREY.astype(np.uint16) * 257


def encode(image: Image.Image | npt.NDArray[Any], kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    crc = struct.pack(">I", zlib.crc32(kind + body))
    return struct.pack(">I", len(body)) + kind + body + crc


def png(width: int, height: int, depth: int, colour: int, *chunks: bytes) -> bytes:
    """Put a PNG together that Pillow cannot write."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = b"".join(chunks)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body + chunk(b"IEND", b"")


def all_files() -> list[Nasty]:
    """Return every one of them."""
    groups = (
        cut,
        no_images,
        modes,
        depths,
        tiffs,
        animations,
        oriented,
        damaged_metadata,
    )
    groups += (sizes, bombs, special, names, jpegs, variants)
    return [nasty for group in groups for nasty in group()]


LOSSLESS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "BMP": {},
    "TIFF": {},
    "PPM": {},
    "JPEG2000": {},
    "WEBP": {"lossless": True},
}


def cut() -> Iterator[Nasty]:
    """Every format, cut off at several places."""
    for kind in ("JPEG", "GIF", *LOSSLESS):
        whole = encode(PICTURE, kind, **LOSSLESS.get(kind, {}))
        for percent in (2, 20, 50, 80, 97):
            part = whole[: max(3, len(whole) * percent // 100)]
            name = f"cut{percent}.{kind.lower()}.jpg"
            if name == "cut97.png.jpg":  # only check sums are gone
                yield Nasty(name, part, "decoded", pixels=PICTURE)
            else:
                yield Nasty(name, part, "rejected")


def no_images() -> Iterator[Nasty]:
    """Other things under an image's name."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("a.jpg", encode(PICTURE, "JPEG"))
    page = "looks like a web page"
    none = "not a JPEG, PNG"
    for name, content, says in (
        ("empty", b"", "empty"),
        ("one_byte", b"\xff", none),
        ("magic_jpeg", b"\xff\xd8\xff", none),
        ("magic_png", b"\x89PNG\r\n\x1a\n", none),
        ("html", b"<!doctype html><title>404</title>", page),
        ("svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", page),
        ("xml", b"  \n<?xml version='1.0'?><Error/>", page),
        ("text", b"not found\n", none),
        ("json", b'{"error": 403}', none),
        ("pdf", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", none),
        ("eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", none),
        ("zip", packed.getvalue(), none),
        ("gzip", b"\x1f\x8b\x08" + b"\0" * 40, none),
        ("zeros", b"\0" * 65536, none),
        ("noise", np.random.default_rng(0).bytes(65536), none),
        ("lfs", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", none),
        ("swapped_png", b"\x89GNP\r\n\x1a\n" + encode(PICTURE, "PNG")[8:], none),
        ("pickle", b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00N.", none),
        ("npy", b"\x93NUMPY\x01\x00v\x00{'descr': '|u1'}", "a damaged .npy file"),
        ("avif", b"\0\0\0\x1cftypavif\0\0\0\0", none),
        ("ico", b"\0\0\1\0\1\0\x10\x10\0\0\1\0\x20\0" + b"\0" * 60, none),
        ("psd", b"8BPS\0\1" + b"\0" * 60, none),
    ):
        yield Nasty(f"{name}.jpg", content, "rejected", says)


def modes() -> Iterator[Nasty]:
    """Every colour space that some format can hold."""
    colour = Image.fromarray(PICTURE)
    cmyk = colour.convert("CMYK")
    yield Nasty(
        "cmyk.jpg",
        encode(cmyk, "JPEG", quality=98),
        "converted",
        pixels=PICTURE,
        within=14,
    )
    yield Nasty("cmyk.tif", encode(cmyk, "TIFF"), "converted", pixels=PICTURE, within=1)
    ycck = encode(cmyk, "JPEG", quality=98)
    # APP14's last byte names the colour space: 2 is YCCK; the picture's colours change.
    place = ycck.index(b"Adobe") + 11
    ycck = ycck[:place] + b"\2" + ycck[place + 1 :]
    yield Nasty("ycck.jpg", ycck, "converted", shape=(40, 60))
    lab = Image.merge("LAB", [Image.new("L", (4, 4), v) for v in (255, 128, 128)])
    white = np.full((4, 4, 3), 255, np.uint8)
    yield Nasty("lab.tif", encode(lab, "TIFF"), "converted", pixels=white, within=5)
    ycbcr = encode(colour.convert("YCbCr"), "TIFF")
    yield Nasty("ycbcr.tif", ycbcr, "converted", pixels=PICTURE, within=3)
    yield Nasty(
        "grey.jpg",
        encode(GREY, "JPEG", quality=98),
        "converted",
        pixels=GREY_RGB,
        within=4,
    )
    for kind, options in LOSSLESS.items():
        if kind != "WEBP":
            file = encode(GREY, kind, **options)
            yield Nasty(f"grey.{kind.lower()}", file, "converted", pixels=GREY_RGB)
    one = np.asarray(colour.convert("1").convert("L"))[..., None].repeat(3, -1)
    for kind in ("PNG", "TIFF", "BMP", "PPM"):
        file = encode(colour.convert("1"), kind)
        yield Nasty(f"one_bit.{kind.lower()}", file, "converted", pixels=one)
    alpha = Image.new("L", colour.size, 255)
    alpha.paste(0, (0, 0, 60, 20))
    over_white = PICTURE.copy()
    over_white[:20] = 255
    grey_over_white = GREY_RGB.copy()
    grey_over_white[:20] = 255
    colour.putalpha(alpha)
    for kind in ("PNG", "TIFF", "WEBP", "JPEG2000"):
        file = encode(colour, kind, **LOSSLESS[kind])
        yield Nasty(f"rgba.{kind.lower()}", file, "converted", pixels=over_white)
    grey = Image.fromarray(GREY)
    grey.putalpha(alpha)
    for kind in ("PNG", "TIFF"):
        yield Nasty(
            f"la.{kind.lower()}",
            encode(grey, kind),
            "converted",
            pixels=grey_over_white,
        )
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putdata([0, 1])
    kept = np.array([[[10, 20, 30], [40, 50, 60]]], np.uint8)
    half = np.array([[[255, 255, 255], [40, 50, 60]]], np.uint8)
    for kind in ("PNG", "GIF", "BMP", "TIFF"):
        yield Nasty(
            f"palette.{kind.lower()}", encode(palette, kind), "converted", pixels=kept
        )
    for name, transparency in (("index", 0), ("alpha", bytes([0, 255]))):
        file = encode(palette, "PNG", transparency=transparency)
        yield Nasty(f"palette_{name}.png", file, "converted", pixels=half)
    file = encode(palette, "GIF", transparency=0)
    yield Nasty("palette_index.gif", file, "converted", pixels=half)


def depths() -> Iterator[Nasty]:
    """Other depths than 8 bits."""
    for kind in ("PNG", "TIFF", "PPM", "JPEG2000"):
        file = encode(DEEP, kind)
        yield Nasty(f"grey16.{kind.lower()}", file, "converted", pixels=GREY_RGB)
    big = Image.frombytes("I;16B", (60, 40), DEEP.astype(">u2").tobytes())
    yield Nasty("grey16_big.tif", encode(big, "TIFF"), "converted", pixels=GREY_RGB)
    rows = b"".join(b"\0" + r.tobytes() for r in (PICTURE.astype(">u2") * 257))
    idat = chunk(b"IDAT", zlib.compress(rows))
    yield Nasty("rgb48.png", png(60, 40, 16, 2, idat), "converted", pixels=PICTURE)
    for depth in (2, 4):
        levels = GREY >> (8 - depth)
        bits = np.unpackbits(levels[..., None], -1)[..., -depth:].reshape(40, -1)
        rows = b"".join(b"\0" + r.tobytes() for r in np.packbits(bits, -1))
        file = png(60, 40, depth, 0, chunk(b"IDAT", zlib.compress(rows)))
        shown = (levels * (255 // (2**depth - 1)))[..., None].repeat(3, -1)
        yield Nasty(f"grey{depth}.png", file, "converted", pixels=shown)
    for name, array in (("float", np.float32), ("int32", np.int32)):
        file = encode(GREY.astype(array), "TIFF")
        yield Nasty(f"{name}.tif", file, "rejected", "no agreed range")


def tiffs() -> Iterator[Nasty]:
    """What a TIFF can be."""
    for name in ("raw", "tiff_lzw", "tiff_deflate", "packbits", "zstd", "lzma"):
        file = encode(PICTURE, "TIFF", compression=name)
        yield Nasty(f"{name}.tif", file, "decoded", pixels=PICTURE)
    file = encode(PICTURE, "TIFF", compression="jpeg", quality=95)
    yield Nasty("jpeg_in.tif", file, "decoded", pixels=PICTURE, within=14)
    yield Nasty(
        "big.tif", encode(PICTURE, "TIFF", big_tiff=True), "decoded", pixels=PICTURE
    )
    yield Nasty(
        "tiled.tif",
        tiled_tiff(),
        "converted",
        pixels=np.full((32, 16, 3), 200, np.uint8),
    )
    loop = bytearray(encode(PICTURE, "TIFF"))
    start = struct.unpack("<I", loop[4:8])[0]
    entries = struct.unpack("<H", loop[start : start + 2])[0]
    end = start + 2 + 12 * entries
    loop[end : end + 4] = struct.pack("<I", start)
    yield Nasty("pages_in_a_loop.tif", bytes(loop), "decoded", pixels=PICTURE)


def tiled_tiff() -> bytes:
    """Return a big-endian TIFF of two tiles of 16 x 16 grey pixels."""
    tags = [
        (256, 4, 1, 16),
        (257, 4, 1, 32),
        (258, 3, 1, 8 << 16),
        (259, 3, 1, 1 << 16),
    ]
    tags += [(262, 3, 1, 1 << 16), (322, 4, 1, 16), (323, 4, 1, 16)]
    after = 8 + 2 + 12 * (len(tags) + 2) + 4
    tags += [(324, 4, 2, after), (325, 4, 2, after + 8)]
    body = b"MM\0*" + struct.pack(">I", 8) + struct.pack(">H", len(tags))
    body += b"".join(struct.pack(">HHII", *tag) for tag in tags) + b"\0\0\0\0"
    body += struct.pack(">IIII", after + 16, after + 16 + 256, 256, 256)
    return body + b"\xc8" * 512


def animations() -> Iterator[Nasty]:
    """Of several frames or pages the first is taken."""
    colours = ("red", "lime", "blue")
    frames = [Image.new("RGB", (8, 6), colour) for colour in colours]
    red = np.full((6, 8, 3), (255, 0, 0), np.uint8)
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        options = dict(LOSSLESS.get(kind, {}), save_all=True, append_images=frames[1:])
        file = encode(frames[0], kind, **options)
        yield Nasty(f"frames.{kind.lower()}", file, "converted", pixels=red)
    photo = Image.fromarray(PICTURE)
    file = encode(photo, "MPO", save_all=True, append_images=frames, quality=95)
    yield Nasty("frames.mpo.jpg", file, "decoded", pixels=PICTURE, within=14)


def oriented() -> Iterator[Nasty]:
    """Stored turned, shown upright; and orientations that mean nothing."""
    turned = np.swapaxes(PICTURE, 0, 1)
    stored = [PICTURE, PICTURE[:, ::-1], PICTURE[::-1, ::-1], PICTURE[::-1], turned]
    stored += [np.rot90(PICTURE), turned[::-1, ::-1], np.rot90(PICTURE, -1)]
    lossy: dict[str, Any] = {"quality": 98, "subsampling": 0}
    for value in range(10):
        exif = Image.Exif()
        exif[0x0112] = value
        pixels = np.ascontiguousarray(stored[value - 1] if 1 <= value <= 8 else PICTURE)
        for kind in ("JPEG", "PNG"):
            file = encode(pixels, kind, exif=exif, **(lossy if kind == "JPEG" else {}))
            name, within = f"turned{value}.{kind.lower()}", 6 if kind == "JPEG" else 0
            outcome: Outcome = "converted" if 2 <= value <= 8 else "decoded"
            yield Nasty(name, file, outcome, pixels=PICTURE, within=within)


def damaged_metadata() -> Iterator[Nasty]:
    """What stands beside the pixels, damaged: the pixels are still good."""
    short = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06"
    text = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x026\0\0\0\0\0\0\0"
    loop = b"Exif\0\0MM\0*\0\0\0\x08\0\x00\0\0\0\x08"
    far = b"Exif\0\0II*\0\xff\xff\xff\xff"
    for name, exif in (("short", short), ("text", text), ("loop", loop), ("far", far)):
        file = encode(PICTURE, "JPEG", exif=exif, quality=98, subsampling=0)
        yield Nasty(
            f"exif_{name}.jpg",
            file,
            "decoded",
            shape=(40, 60),
            pixels=PICTURE,
            within=6,
        )
    for kind in ("JPEG", "PNG", "TIFF"):
        options: dict[str, Any] = {"quality": 98} if kind == "JPEG" else {}
        file = encode(PICTURE, kind, icc_profile=b"no profile" * 30, **options)
        yield Nasty(
            f"icc.{kind.lower()}",
            file,
            "decoded",
            pixels=PICTURE,
            within=12 if options else 0,
        )
    rows = zlib.compress(b"\0\xc8\xc8\xc8")
    grey = np.full((1, 3, 3), 200, np.uint8)
    idat = chunk(b"IDAT", rows)
    many = b"".join(chunk(b"teXt", b"a\0b") for _ in range(20_000))
    yield Nasty(
        "many_chunks.png", png(3, 1, 8, 0, many, idat), "converted", pixels=grey
    )
    parts = b"".join(chunk(b"IDAT", bytes([byte])) for byte in rows)
    yield Nasty("idat_by_byte.png", png(3, 1, 8, 0, parts), "converted", pixels=grey)
    broken = bytearray(png(3, 1, 8, 0, idat))
    broken[-20] ^= 255  # within IDAT's check sum
    yield Nasty("wrong_crc.png", bytes(broken), "rejected", "broken")
    yield Nasty("no_idat.png", png(3, 1, 8, 0), "rejected")
    behind = encode(PICTURE, "PNG") + b"\0" * 1000
    yield Nasty("bytes_behind.png", behind, "decoded", pixels=PICTURE)
    behind = encode(PICTURE, "JPEG", quality=98, subsampling=0) + b"PK\3\4" * 100
    yield Nasty("bytes_behind.jpg", behind, "decoded", pixels=PICTURE, within=6)


def sizes() -> Iterator[Nasty]:
    """The smallest, and strips."""
    for kind in ("JPEG", "GIF", *LOSSLESS):
        file = encode(np.full((1, 1, 3), 255, np.uint8), kind, **LOSSLESS.get(kind, {}))
        white = np.full((1, 1, 3), 255, np.uint8)
        yield Nasty(f"1x1.{kind.lower()}", file, "decoded", pixels=white)
    for height, width in ((1, 20_000), (20_000, 1)):
        strip = np.full((height, width, 3), 7, np.uint8)
        for kind in ("PNG", "JPEG"):
            file = encode(strip, kind)
            yield Nasty(
                f"{width}x{height}.{kind.lower()}", file, "decoded", pixels=strip
            )
    yield Nasty("0x0.png", png(0, 0, 8, 0, chunk(b"IDAT", b"")), "rejected")
    yield Nasty("0x5.ppm", b"P6\n0 5\n255\n", "rejected")


def bombs() -> Iterator[Nasty]:
    """Small files that declare much, or unpack to much."""
    for side in (12_000, 20_000, 2**31 - 1):
        yield Nasty(f"{side}.png", png(side, side, 1, 0), "rejected", "pixels")
    bmp = bytearray(encode(PICTURE, "BMP"))
    bmp[18:26] = struct.pack("<ii", 60_000, 60_000)
    yield Nasty("huge.bmp", bytes(bmp), "rejected", "pixels")
    gif = bytearray(encode(PICTURE, "GIF"))
    gif[6:10] = b"\xff\xff\xff\xff"
    yield Nasty("huge.gif", bytes(gif), "rejected", "pixels")
    tiff = tiled_tiff().replace(
        struct.pack(">HHII", 256, 4, 1, 16), struct.pack(">HHII", 256, 4, 1, 2**24)
    )
    yield Nasty("huge.tif", tiff, "rejected", "pixels")
    yield Nasty("huge.ppm", b"P6\n60000 60000\n255\n\0", "rejected", "pixels")
    yield Nasty("digits.ppm", b"P6\n" + b"9" * 5000 + b" 1\n255\n\0", "rejected")
    jp2 = bytearray(encode(PICTURE, "JPEG2000"))
    place = jp2.index(b"ihdr") + 4
    jp2[place : place + 8] = struct.pack(">II", 40_000, 40_000)
    yield Nasty("huge.jp2", bytes(jp2), "rejected", "pixels")
    jpeg = bytearray(encode(PICTURE, "JPEG"))
    place = jpeg.index(b"\xff\xc0") + 5
    jpeg[place : place + 4] = b"\xff\xff\xff\xff"
    yield Nasty("huge.jpg", bytes(jpeg), "rejected", "pixels")
    webp = bytearray(encode(PICTURE, "WEBP", lossless=True))
    place = webp.index(b"VP8L") + 9
    webp[place : place + 4] = b"\xff\xff\xff\x0f"
    yield Nasty("huge.webp", bytes(webp), "rejected")
    rows = chunk(b"IDAT", zlib.compress(b"\0\xc8\xc8\xc8"))
    unpacks = zlib.compress(b"a" * 50_000_000)
    text = chunk(b"zTXt", b"a\0\0" + unpacks)
    yield Nasty("ztxt.png", png(3, 1, 8, 0, text, rows), "rejected", "too large")
    text = chunk(b"iTXt", b"a\0\1\0\0\0" + unpacks)
    yield Nasty("itxt.png", png(3, 1, 8, 0, text, rows), "rejected", "too large")
    icc = chunk(b"iCCP", b"a\0\0" + unpacks)
    yield Nasty("iccp.png", png(3, 1, 8, 0, icc, rows), "rejected", "too large")
    much = chunk(b"IDAT", zlib.compress(bytes(50_000_000)))
    black = np.zeros((1, 3, 3), np.uint8)
    yield Nasty("idat.png", png(3, 1, 8, 0, much), "converted", pixels=black)
    yield Nasty("scans.jpg", many_scans(), "rejected", "scans")


def many_scans() -> bytes:
    """Return a progressive JPEG whose last scan is repeated two thousand times."""
    file = encode(picture(400, 400), "JPEG", progressive=True)
    last = file.rindex(b"\xff\xda")
    return file[:last] + file[last:-2] * 2000 + file[-2:]


def special() -> Iterator[Nasty]:
    """What is no regular file; reading some of them would never end."""

    def link(to: str) -> Callable[[Path], None]:
        return lambda path: path.symlink_to(to)

    def bind(path: Path) -> None:
        # The name of a socket has at most 108 bytes: bind it where we are.
        home = os.getcwd()
        os.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
        os.chdir(home)

    regular = "is not a regular file"
    yield Nasty("fifo.jpg", os.mkfifo, "rejected", regular)
    yield Nasty("socket.jpg", bind, "rejected", regular)
    yield Nasty("zero.jpg", link("/dev/zero"), "rejected", regular)
    yield Nasty("loop.jpg", link("loop.jpg"), "rejected", "symbolic links")
    yield Nasty("dangling.jpg", link("nowhere.jpg"), "rejected", "no such file")
    yield Nasty("itself.jpg", link("."), "rejected", "is a folder")
    yield Nasty("folder.jpg", Path.mkdir, "rejected", "is a folder")


def names() -> Iterator[Nasty]:
    """Good pictures under names that scripts stumble over."""
    file = encode(PICTURE, "PNG")
    undecodable = os.fsdecode(b"not_utf8_\xff\xfe.png")
    for name in (
        *("new\nline.png", "tab\t.png", "-rf.png", "$HOME.png", "glob[1]*.png"),
        *("back\\slash.png", " space .png", "空.png", undecodable, "quote'\".png"),
        *("%s%d.png", "x" * 250 + ".png", "jpeg.really.png.jpg", "NUL.png"),
    ):
        yield Nasty(name, file, "decoded", pixels=PICTURE)


def jpegs() -> Iterator[Nasty]:
    """What a JPEG can be."""
    good: dict[str, Any] = {"quality": 98, "subsampling": 0}
    kinds: dict[str, dict[str, Any]] = {
        "progressive": {"progressive": True},
        "optimised": {"optimize": True},
        "420": {"subsampling": 2},
        "422": {"subsampling": 1},
        "rgb": {"keep_rgb": True},
        "restarts": {"restart_marker_blocks": 1},
        "comment": {"comment": b"a" * 60_000},
    }
    for name, options in kinds.items():
        file = encode(PICTURE, "JPEG", **(good | options))
        yield Nasty(f"{name}.jpg", file, "decoded", pixels=PICTURE, within=14)
    start = encode(PICTURE, "JPEG", **good)
    frame = start.index(b"\xff\xc0")
    twelve = start[: frame + 4] + b"\x0c" + start[frame + 5 :]
    yield Nasty("12_bit.jpg", twelve, "rejected")
    for name, marker in (
        ("lossless", 0xC3),
        ("hierarchical", 0xC5),
        ("arithmetic", 0xC9),
    ):
        other = start[: frame + 1] + bytes([marker]) + start[frame + 2 :]
        outcome: Outcome = "decoded" if name == "arithmetic" else "rejected"
        yield Nasty(f"{name}.jpg", other, outcome, shape=(40, 60))
    table = start.index(b"\xff\xc4")
    huge = start[: table + 2] + b"\xff\xff" + start[table + 4 :]
    yield Nasty("huge_dht.jpg", huge, "rejected")
    wrong = start[: table + 5] + b"\xff" * 16 + start[table + 21 :]
    yield Nasty("wrong_dht.jpg", wrong, "rejected")
    yield Nasty("no_dqt.jpg", start.replace(b"\xff\xdb", b"\xff\xfe"), "rejected")
    marks = bytearray(encode(PICTURE, "JPEG", restart_marker_blocks=1, **good))
    for i in range(len(marks) - 1):
        if marks[i] == 0xFF and 0xD0 <= marks[i + 1] <= 0xD7:
            marks[i + 1] = 0xD0
    yield Nasty("wrong_restarts.jpg", bytes(marks), "decoded", shape=(40, 60))
    no_end = start[:-2]
    yield Nasty("no_end.jpg", no_end, "rejected", "truncated")
    # Zeros are codes like any others: nobody can tell, and every viewer shows it.
    half = start[: len(start) // 2] + b"\0" * 5000
    yield Nasty("zeros_behind.jpg", half, "decoded", shape=(40, 60))


def variants() -> Iterator[Nasty]:
    """What BMP, WebP, JPEG 2000 and GIF can be."""
    flat = Image.fromarray(PICTURE)
    for name, options in (
        ("lossy", {"quality": 95}),
        ("exact", {"lossless": True, "exact": True}),
    ):
        within = 16 if name == "lossy" else 0
        file = encode(PICTURE, "WEBP", **options)
        yield Nasty(f"{name}.webp", file, "decoded", pixels=PICTURE, within=within)
    file = encode(PICTURE, "JPEG2000", no_jp2=True)
    yield Nasty("codestream.j2k", file, "decoded", pixels=PICTURE)
    file = encode(PICTURE, "JPEG2000", tile_size=(16, 16))
    yield Nasty("tiles.jp2", file, "decoded", pixels=PICTURE)
    file = encode(flat.quantize(16), "GIF", interlace=1)
    few = np.asarray(flat.quantize(16).convert("RGB"))
    yield Nasty("interlaced.gif", file, "converted", pixels=few)
    top_down = bmp(2, -2, 24, b"\x1e\x14\x0a\x3c\x32\x28\0\0" + b"\xff" * 6 + b"\0\0")
    expected = np.array([[[10, 20, 30], [40, 50, 60]], [[255] * 3] * 2], np.uint8)
    yield Nasty("top_down.bmp", top_down, "decoded", pixels=expected)
    bits16 = bmp(2, 1, 16, struct.pack("<HH", 0x7C00, 0x001F))
    expected = np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8)
    yield Nasty("16_bit.bmp", bits16, "decoded", pixels=expected)
    bits32 = bmp(2, 1, 32, b"\0\0\xff\0\xff\0\0\0")
    yield Nasty("32_bit.bmp", bits32, "decoded", pixels=expected)
    table = b"\x1e\x14\x0a\0\x3c\x32\x28\0" + b"\0" * 4 * 254
    rle = bmp(4, 1, 8, b"\x03\x00\x01\x01\x00\x00\x00\x01", 1, table)
    expected = np.array([[[10, 20, 30]] * 3 + [[40, 50, 60]]], np.uint8)
    yield Nasty("rle8.bmp", rle, "converted", pixels=expected)
    plain = "P3\n2 1\n255\n255 0 0 0 0 255\n"
    expected = np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8)
    yield Nasty("plain.ppm", plain.encode(), "decoded", pixels=expected)
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "x" * 10_000, zip=True)
    yield Nasty(
        "text.png", encode(PICTURE, "PNG", pnginfo=text), "decoded", pixels=PICTURE
    )


def bmp(
    width: int,
    height: int,
    bits: int,
    pixels: bytes,
    compression: int = 0,
    table: bytes = b"",
) -> bytes:
    """Put a BMP together that Pillow cannot write."""
    start = 54 + len(table)
    head = struct.pack("<2sIHHI", b"BM", start + len(pixels), 0, 0, start)
    info = struct.pack(
        "<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(pixels), 0, 0, 0, 0
    )
    return head + info + table + pixels
