"""The rules of a run are resolved once: counted from the calls of one real run."""

import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from test_loop import images, rules

import jft
from jft import tree
from jft.config import (
    AugmentConfig,
    ModelConfig,
    OptimConfig,
    TaskConfig,
    TrainConfig,
)
from jft.data.spec import parse_spec
from jft.freeze import norms
from jft.freeze.phases import plan_phases
from jft.freeze.rules import FreezeSpec
from jft.optim.chain import decay_factors
from jft.train.loop import fit
from jft.train.resolve import Rules, resolve
from jft.weights.export import write_weights
from jft.weights.files import read_tensors
from jft.weights.find import find_weights
from jft.weights.opened import open_weights
from jft.weights.pretrained import load_pretrained
from jft.weights.ranges import FileRange

__all__ = ["images", "rules"]  # fixtures
ROOT = str(Path(jft.__file__).parent)
CONFIGS = (TrainConfig, ModelConfig, OptimConfig, AugmentConfig, TaskConfig, Rules)
ONCE: tuple[Any, ...] = (
    *(resolve, plan_phases, FreezeSpec.parse, norms.parse, parse_spec),
    decay_factors,
    *(find_weights, open_weights, read_tensors, FileRange.open),
)
MOST_RETURNS = 12


@contextmanager
def recorded() -> Iterator[tuple[Counter[Any], list[str]]]:
    """Record the calls of jft's functions, in every thread.

    Yields:
        How often each code object was called; and the rooms, in order, of the calls
        that were handed the configuration.
    """
    counts, rooms = Counter[Any](), list[str]()

    def note(frame: FrameType, event: str, argument: object) -> None:
        file = frame.f_code.co_filename
        if event != "call" or not file.startswith(ROOT):
            return
        counts[frame.f_code] += 1
        names = frame.f_code.co_varnames[: frame.f_code.co_argcount]
        names += frame.f_code.co_varnames[len(names) :][
            : frame.f_code.co_kwonlyargcount
        ]
        given = [frame.f_locals.get(name) for name in names]
        if any(isinstance(value, CONFIGS) for value in given):
            rooms.append(Path(file).relative_to(ROOT).parts[0].removesuffix(".py"))

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield counts, rooms
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # pyright: ignore[reportArgumentType]


def returns(rooms: list[str]) -> list[str]:
    """Return the rooms that are entered again after another, in order."""
    stays = [r for before, r in zip(["", *rooms], rooms, strict=False) if r != before]
    return [room for i, room in enumerate(stays) if room in stays[:i]]


def test_a_return_is_a_stay_in_a_room_that_was_left():
    assert returns(["a", "a", "b", "a", "a", "c", "b"]) == ["a", "b"]


@pytest.fixture
def walk(rules: TrainConfig, tmp_path: Path) -> tuple[Counter[Any], list[str]]:
    """Train from a weights file, and return what was called."""
    weights = tmp_path / "tiny.safetensors"
    variables = tree.flatten(load_pretrained("tiny", "none", 10).variables)
    write_weights(weights, {n: np.asarray(x) for n, x in variables.items()}, {})
    config = replace(rules, weights=str(weights), norm="batch", epochs=1)
    with recorded() as calls:
        fit(config)
    return calls


def test_a_run_parses_every_rule_once_and_hardly_walks_back(
    walk: tuple[Counter[Any], list[str]],
):
    """Count calls in one real run of `fit`.

    The walk of the configuration is the sequence of rooms (first part of a module's
    name below `jft`) in which a function is called that is handed the configuration, a
    part of it, or the resolved rules; repeats in a row are one stay. A return is a stay
    in a room that the walk has left before.
    """
    counts, rooms = walk
    codes = {function.__qualname__: function.__code__ for function in ONCE}
    assert {name: counts[code] for name, code in codes.items()} == dict.fromkeys(
        codes, 1
    )
    found = returns(rooms)
    assert len(found) <= MOST_RETURNS, found
