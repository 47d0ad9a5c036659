"""Features in files: whole or absent, noticed if damaged, bounded, one at a time."""

import multiprocessing
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from jft.errors import InputError
from jft.features import store

ROWS = np.arange(40, dtype=np.float32).reshape(10, 4)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JFT_CACHE", str(tmp_path))
    return tmp_path / "features"


def blocks() -> Iterator[store.Array]:
    yield ROWS[:6]
    yield ROWS[6:]


def never() -> Iterator[store.Array]:
    raise AssertionError("computed again")


def test_an_entry_is_computed_once():
    first = store.stored("a", ROWS.shape, blocks)
    again = store.stored("a", ROWS.shape, never)
    assert (first.hit, again.hit) == (False, True)
    for entry in (first, again):
        np.testing.assert_array_equal(entry.array, ROWS)
        assert not entry.array.flags.writeable
    np.testing.assert_array_equal(store.held(ROWS.shape, blocks).array, ROWS)


@pytest.mark.parametrize("name", ["features.npy", "record.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_entry_is_computed_again(cache: Path, name: str, damage: str):
    store.stored("a", ROWS.shape, blocks)
    path = cache / "a" / name
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[-9] ^= 1
        path.write_bytes(content)
    elif damage == "cut":
        path.write_bytes(content[:-9])
    else:
        path.unlink()
    entry = store.stored("a", ROWS.shape, blocks)
    assert not entry.hit
    np.testing.assert_array_equal(entry.array, ROWS)
    assert store.stored("a", ROWS.shape, never).hit


def test_an_entry_of_another_shape_is_computed_again():
    store.stored("a", ROWS.shape, blocks)
    assert not store.stored("a", (20, 2), lambda: iter([ROWS.reshape(20, 2)])).hit


def test_an_interrupted_computation_leaves_nothing(cache: Path):
    def broken() -> Iterator[store.Array]:
        yield ROWS[:6]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.stored("a", ROWS.shape, broken)
    assert [path.name for path in cache.iterdir()] == ["a.lock"]
    assert not store.stored("a", ROWS.shape, blocks).hit


def killed() -> None:
    def some() -> Iterator[store.Array]:
        yield ROWS[:6]
        os._exit(9)

    store.stored("a", ROWS.shape, some)


def compute(folder: Path) -> None:
    def slow() -> Iterator[store.Array]:
        (folder / f"computed-{os.getpid()}").touch()
        time.sleep(0.5)
        yield ROWS

    entry = store.stored("a", ROWS.shape, slow)
    assert np.array_equal(entry.array, ROWS)


# JAX has threads, so these processes do not fork.
SPAWN = multiprocessing.get_context("spawn")


@pytest.mark.process
def test_what_a_killed_process_left_is_removed(cache: Path):
    process = SPAWN.Process(target=killed)
    process.start()
    process.join()
    assert len(list(cache.glob("a.*.part"))) == 1
    store.stored("b", ROWS.shape, blocks)
    assert not list(cache.glob("*.part"))


@pytest.mark.process
def test_of_two_processes_one_computes(tmp_path: Path):
    both = [SPAWN.Process(target=compute, args=(tmp_path,)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert len(list(tmp_path.glob("computed-*"))) == 1


def test_the_least_recently_used_entries_are_removed(
    cache: Path, monkeypatch: pytest.MonkeyPatch
):
    for age, key in enumerate("abc"):
        store.stored(key, ROWS.shape, blocks)
        os.utime(cache / key / "record.json", (age, age))
    size = sum(file.stat().st_size for file in (cache / "a").iterdir())
    store.stored("a", ROWS.shape, never)  # used now
    monkeypatch.setenv("JFT_FEATURES_GB", str(3.5 * size / 1e9))
    store.stored("d", ROWS.shape, blocks)
    assert {path.name for path in cache.iterdir() if path.is_dir()} == {"a", "c", "d"}
    monkeypatch.setenv("JFT_FEATURES_GB", "0")
    store.stored("e", ROWS.shape, blocks)
    assert {path.name for path in cache.iterdir()} == {"e", "e.lock"}


@pytest.mark.parametrize("text", ["many", "-1", "nan", "inf"])
def test_the_limit_must_be_a_number(text: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JFT_FEATURES_GB", text)
    with pytest.raises(InputError, match="JFT_FEATURES_GB"):
        store.limit()


def test_a_folder_that_cannot_be_written_has_no_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert store.space() > 0
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert store.space() == 0
