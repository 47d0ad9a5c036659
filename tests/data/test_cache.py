import errno
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jft.data import cache as caches
from jft.data import images
from jft.data.cache import Cache, Stored, name_of
from jft.data.coco.read import Outlines
from jft.data.coco.shapes import read_shape
from jft.data.decode import DecodeError
from jft.data.geometry import Square
from jft.data.images import Source, read_all
from jft.data.listing import Dataset, Listing, Paths, stamp
from jft.data.masks.files import CodedMasks, Coding
from jft.data.sources import open_splits
from jft.data.split import part
from jft.data.squares import Mapped
from jft.errors import InputError
from jft.preprocess import Preprocess

N = 9
SQUARE = Square(Preprocess(size=8, crop_fraction=0.8))
WHOLE = Square(SQUARE.preprocess.with_crop("letterbox"))


@dataclass(frozen=True, eq=False)
class Maps:
    """Masks in memory; those at some places cannot be read."""

    arrays: tuple[np.ndarray, ...]
    bad: tuple[int, ...] = ()
    stamps: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, index: int) -> np.ndarray:
        if index in self.bad:
            raise DecodeError("the mask is not an image")
        return self.arrays[index]


class StampedMaps(Maps):
    def stamp(self, index: int) -> str:
        return self.stamps[index]


@pytest.fixture
def listing(tmp_path: Path) -> Listing:
    """Photographs of noise, of which number 4 is damaged."""
    root = tmp_path / "photographs"
    root.mkdir()
    rng = np.random.default_rng(0)
    names = tuple(f"{i}.png" for i in range(N))
    for i, name in enumerate(names):
        pixels = rng.integers(0, 256, (20 + i, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / name)
    (root / "4.png").write_bytes(b"<html>")
    return Listing(names, Paths(root, names), np.arange(N, dtype=np.int32))


@pytest.fixture
def masked(listing: Listing) -> Listing:
    rng = np.random.default_rng(1)
    shapes = [(20 + i, 30) for i in range(N)]
    maps = tuple(rng.integers(0, 3, shape, dtype=np.uint8) for shape in shapes)
    return replace(listing, labels=Maps(maps, bad=(7,)))


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def read(listing: Listing, cache: Cache | None, square: Square = SQUARE) -> Source:
    return read_all(listing, square, keep=True, workers=3, cache=cache)


def assert_same(left: Source, right: Source) -> None:
    assert left.bad == right.bad
    assert len(left.images) == len(right.images) == len(left.weights)
    np.testing.assert_array_equal(left.weights, right.weights)
    for i in range(len(left.images)):
        np.testing.assert_array_equal(left.images[i], right.images[i])
        np.testing.assert_array_equal(left.labels[i], right.labels[i])


def forbid_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("something is decoded")

    monkeypatch.setattr(images, "decode", refuse)


def only(folder: Path, pattern: str = "*") -> Path:
    """Return the one folder of a split that the cache has."""
    (found,) = (path for path in folder.glob(pattern) if path.is_dir())
    return found


@pytest.mark.parametrize("whole", [False, True])
def test_a_cache_gives_the_bytes_that_memory_gives(
    listing: Listing, masked: Listing, cache: Cache, whole: bool
):
    some = masked if whole else listing
    square = WHOLE if whole else SQUARE
    kept = read(some, None, square)
    assert set(kept.bad) == ({4, 7} if whole else {4})
    for _ in range(2):  # as it is built, and as it is found
        assert_same(read(some, cache, square), kept)


def test_a_warm_cache_decodes_nothing(
    masked: Listing, cache: Cache, monkeypatch: pytest.MonkeyPatch
):
    square = WHOLE
    stamped = StampedMaps(masked.labels.arrays, bad=(7,), stamps=tuple("abcdefghi"))
    masked = replace(masked, labels=stamped)
    kept = read(masked, cache, square)
    forbid_decoding(monkeypatch)
    monkeypatch.setattr(StampedMaps, "__getitem__", None)
    again = read(masked, cache, square)
    assert_same(again, kept)
    assert again.bad[4].startswith("not a JPEG")
    assert again.bad[7] == "the mask is not an image"


def test_numpy_can_read_the_files(listing: Listing, cache: Cache):
    kept = read(listing, cache)
    array = np.load(only(cache.folder) / "images.npy", mmap_mode="r")
    good = [i for i in range(N) if i != 4]
    np.testing.assert_array_equal(array[good], list(kept.images))


def test_an_empty_split_can_be_kept(cache: Cache):
    nothing = Listing((), Paths(Path(), ()), np.zeros(0, np.int32))
    for _ in range(2):
        assert len(read(nothing, cache).images) == 0


def touched(listing: Listing) -> Listing:
    path = listing.images[2]
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    return listing


def longer(listing: Listing) -> Listing:
    path = listing.images[2]
    status = path.stat()
    path.write_bytes(path.read_bytes() + b"\0")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    return listing


def gone(listing: Listing) -> Listing:
    listing.images[2].unlink()
    return listing


def rewritten(listing: Listing) -> Listing:
    """Change a few bytes, as a file of equal size and time put in its place has."""
    path = listing.images[2]
    status, content = path.stat(), bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4] = b"this"
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    return listing


def renamed(listing: Listing) -> Listing:
    return replace(listing, keys=("x", *listing.keys[1:]))


@pytest.mark.parametrize("change", [touched, longer, gone, rewritten, renamed])
def test_another_file_is_another_cache(
    listing: Listing, change: Callable[[Listing], Listing]
):
    before = name_of(listing, SQUARE)
    assert name_of(listing, SQUARE) == before
    assert name_of(change(listing), SQUARE) != before


def test_what_squares_depend_on_names_the_cache(
    listing: Listing, monkeypatch: pytest.MonkeyPatch
):
    way = SQUARE.preprocess
    ways = [
        SQUARE,
        replace(SQUARE, fast=True),
        WHOLE,
        Square(replace(WHOLE.preprocess, mean=(0.1, 0.2, 0.3))),  # the margins
        Square(way.with_crop("squash")),
        Square(replace(way, size=9)),
        Square(replace(way, crop_fraction=0.9)),
        Square(replace(way, interpolation="bicubic")),
    ]
    names = [name_of(listing, square) for square in ways]
    monkeypatch.setattr(caches, "version", lambda package: "0")
    names.append(name_of(listing, SQUARE))
    assert len(set(names)) == len(names)


def test_normalisation_does_not_name_the_cache(listing: Listing):
    way = replace(SQUARE.preprocess, mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0))
    assert name_of(listing, Square(way)) == name_of(listing, SQUARE)


def test_where_the_data_lies_does_not_name_the_cache(listing: Listing, tmp_path: Path):
    before = name_of(listing, SQUARE)
    (tmp_path / "photographs").rename(tmp_path / "elsewhere")
    moved = Paths(tmp_path / "elsewhere", listing.keys)
    assert name_of(replace(listing, images=moved), SQUARE) == before


def test_labels_and_weights_do_not_name_the_cache(listing: Listing):
    other = replace(
        listing,
        labels=np.ones((N, 2), np.float32),
        weights=np.arange(N, dtype=np.float32),
    )
    assert name_of(other, SQUARE) == name_of(listing, SQUARE)


def test_what_mask_values_mean_names_the_cache(listing: Listing):
    names = {
        name_of(replace(listing, labels=CodedMasks(listing.images, coding)), SQUARE)
        for coding in (Coding((0, 1)), Coding((1, 0)), Coding((0, 1), void=(2,)))
    }
    assert len(names) == 3


def test_outlines_name_the_cache(listing: Listing):
    square = [[1, 1, 5, 1, 5, 4, 1, 4]]
    runs = {"size": [6, 8], "counts": [40, 8]}
    names = set()
    for shapes in (
        [read_shape(square, 1)],
        [read_shape(square, 2)],
        [read_shape([[2, *square[0][1:]]], 1)],
        [read_shape(square, 1), read_shape(square, 1)],
        [read_shape(runs, 1)],
        [read_shape({**runs, "counts": [41, 7]}, 1)],
        [],
    ):
        outlines = Outlines(((6, 8),) * N, (tuple(shapes),) * N)
        names.add(name_of(replace(listing, labels=outlines), SQUARE))
        again = Outlines(((6, 8),) * N, (tuple(shapes),) * N)
        assert name_of(replace(listing, labels=again), SQUARE) in names
    assert len(names) == 7


def test_held_out_examples_are_stamped_as_the_whole(listing: Listing):
    @dataclass(frozen=True)
    class Stamped(Paths):
        def stamp(self, index: int) -> str:
            return f"stamp {index}"

    whole = replace(listing, images=Stamped(listing.images.root, listing.keys))
    some = part(whole, np.array([5, 2]))
    assert [stamp(some.images, i) for i in range(2)] == ["stamp 5", "stamp 2"]


@pytest.mark.parametrize(
    ("name", "said"),
    [("a\0b", "null byte"), ("gone", "No such file"), ("pipe", "0 ")],
)
def test_what_is_no_file_has_a_stamp_too(tmp_path: Path, name: str, said: str):
    os.mkfifo(tmp_path / "pipe")
    found = stamp(Paths(tmp_path, (name,)), 0)
    assert found.split("\n")[0].startswith(said) or said in found
    assert str(tmp_path) not in found


def test_contents_are_compared_where_there_are_no_files(masked: Listing):
    arrays = masked.labels.arrays
    content = [array.tobytes() for array in arrays]
    names = set()
    for change in range(4):
        maps, some = list(arrays), list(content)
        if change == 1:
            maps[3] = maps[3] + 1
        if change == 2:
            some[3] = some[3][:-1] + b"\7"
        if change == 3:
            maps[3] = maps[3].T
        one = replace(masked, images=some, labels=Maps(tuple(maps)))
        names.add(name_of(one, SQUARE))
        assert name_of(one, SQUARE) in names
    assert len(names) == 4


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: cut(folder / "images.npy"),
        lambda folder: flip(folder / "images.npy", 0),
        lambda folder: flip(folder / "images.npy", 20),  # in the header
        lambda folder: (folder / "images.npy").unlink(),
        lambda folder: (folder / "index.npz").unlink(),
        lambda folder: cut(folder / "index.npz"),
        lambda folder: flip(folder / "index.npz", 100),
        lambda folder: (folder / "index.npz").write_bytes(b""),
        lambda folder: np.save(folder / "images.npy", np.zeros((N, 9, 9, 3), "u1")),
    ],
    ids=[
        "cut",
        "magic",
        "header",
        "missing",
        "no index",
        "index cut",
        "flip",
        "empty",
        "of 9",
    ],
)
def test_a_damaged_cache_is_built_anew(
    listing: Listing, cache: Cache, damage: Callable[[Path], None]
):
    kept = read(listing, None)
    read(listing, cache)
    damage(only(cache.folder))
    assert_same(read(listing, cache), kept)
    assert only(cache.folder)


def test_every_flipped_bit_of_the_index_is_noticed_or_harmless(
    listing: Listing, cache: Cache
):
    kept = read(listing, None)
    read(listing, cache)
    index = only(cache.folder) / "index.npz"
    content = index.read_bytes()
    for at in range(0, len(content), 19):
        index.write_bytes(content)
        flip(index, at)
        assert_same(read(listing, cache), kept)


def test_a_flipped_pixel_is_noticed_when_it_is_read(listing: Listing, cache: Cache):
    kept = read(listing, None)
    found = read(listing, cache)
    flip(only(cache.folder) / "images.npy", -1)  # in the last image
    again = read(listing, cache)
    np.testing.assert_array_equal(again.images[0], kept.images[0])
    for examples in (again, found):
        with pytest.raises(InputError, match="is damaged; run again"):
            examples.images[len(kept.images) - 1]
    assert_same(read(listing, cache), kept)


def test_what_a_killed_process_left_is_no_cache(listing: Listing, cache: Cache):
    part = cache.folder / f"{name_of(listing, SQUARE)}.part"
    part.mkdir(parents=True)
    (part / "images.npy").write_bytes(b"half of it")
    assert_same(read(listing, cache), read(listing, None))
    assert not part.exists()


def left_over(cache: Cache) -> list[str]:
    return [p.name for p in cache.folder.iterdir() if not p.name.endswith(".lock")]


@pytest.mark.parametrize("after", [0, 3])
def test_a_full_disk_is_told_and_leaves_nothing(
    listing: Listing, cache: Cache, monkeypatch: pytest.MonkeyPatch, after: int
):
    real, count = os.pwrite, 0

    def pwrite(file: int, content: bytes, at: int) -> int:
        nonlocal count
        count += 1
        if count > after:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(file, content, at)

    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(InputError, match=r"cannot write the cache .*no space left"):
        read(listing, cache)
    assert left_over(cache) == []


def test_a_write_in_pieces_is_completed(
    listing: Listing, cache: Cache, monkeypatch: pytest.MonkeyPatch
):
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda f, content, at: real(f, content[:50], at))
    assert_same(read(listing, cache), read(listing, None))


def test_too_little_space_is_told_before_anything_is_decoded(
    listing: Listing, cache: Cache, monkeypatch: pytest.MonkeyPatch
):
    usage = shutil.disk_usage("/")._replace(free=N * 8 * 8 * 3 - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    forbid_decoding(monkeypatch)
    with pytest.raises(InputError, match=r"needs 0\.0 GB in .*cache', and 0\.0 GB are"):
        read(listing, cache)
    assert left_over(cache) == []


def test_without_a_cache_of_ones_own_the_workers_are_named(
    listing: Listing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    usage = shutil.disk_usage("/")._replace(free=9)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    monkeypatch.setattr(tempfile, "mkdtemp", lambda prefix: str(tmp_path / "temporary"))
    both = {"train": listing, "test": listing}
    whole = Dataset("x", "classification", ("a", "b"), both, "f")
    with pytest.raises(InputError, match=r"worker processes need .* --workers 0$"):
        open_splits(whole, SQUARE.preprocess, processes=2)


def test_a_folder_that_cannot_be_made_is_told(listing: Listing, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write the cache .*not a directory"):
        read(listing, Cache(tmp_path / "file" / "cache"))


def test_an_interruption_leaves_nothing(listing: Listing, cache: Cache):
    def fill(put: caches.Put) -> dict[int, str]:
        put(0, np.zeros((8, 8, 3), np.uint8), None)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.stored(listing, SQUARE, fill)
    assert left_over(cache) == []


def test_one_builds_while_the_others_wait_and_see_no_half(
    listing: Listing, cache: Cache
):
    builds: list[int] = []

    def fill(put: caches.Put) -> dict[int, str]:
        builds.append(0)
        for i in range(N):
            put(i, np.full((8, 8, 3), i, np.uint8), None)
            assert not [name for name in left_over(cache) if "." not in name]
        return {}

    def stored(_: int) -> Stored:
        return cache.stored(listing, SQUARE, fill)

    with ThreadPoolExecutor(4) as pool:  # each opens the lock for itself
        for found in pool.map(stored, range(4)):
            assert [int(image[0, 0, 0]) for image in found.images] == list(range(N))
    assert len(builds) == 1


def test_other_processes_get_the_path_and_not_the_pixels(
    listing: Listing, cache: Cache
):
    found = read(listing, cache, Square(Preprocess(size=64)))
    assert isinstance(found.images, Mapped)
    assert len(found.images[0]) == 64  # opens the file
    content = pickle.dumps(found)
    assert len(content) < N * 64 * 64 * 3 / 50
    assert_same(pickle.loads(content), found)


PROGRAM = """
from jft.data.cache import temporary
folder = temporary()
(folder / "file").write_text("pixels")
print(folder)
"""


@pytest.mark.process
def test_a_temporary_cache_goes_with_its_process():
    command = [sys.executable, "-c", PROGRAM]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert output.strip()
    assert not Path(output.strip()).exists()
