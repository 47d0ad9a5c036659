"""Options from dataclasses: their values, short names, and the rest as it was."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest

from jft.config import TrainConfig
from jft.console.flags import Positional, filled, parse, settings
from jft.console.names import ELSEWHERE, SHORT
from jft.train.__main__ import GROUPS, OFTEN, Action, read


@dataclass(frozen=True)
class Inner:
    """Settings in a group.

    Attributes:
        deep: A number.
    """

    deep: float = 0.5


@dataclass(frozen=True)
class Flags:
    """Options of every kind.

    Attributes:
        first: A text that must be given.
        rest: Any number
            of texts.
        whole: A whole number, or none.
        choice: One of two.
        on: A switch.
        some: Numbers.
        inner: A group.
    """

    first: Annotated[str, Positional("FIRST")]
    rest: Annotated[tuple[str, ...], Positional("REST")] = ()
    whole: int | None = None
    choice: Literal["a", "b"] = "a"
    on: bool = False
    some: tuple[float, ...] = ()
    inner: Inner = field(default_factory=Inner)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("x", Flags("x")),
        ("x y z", Flags("x", ("y", "z"))),
        ("x --on y z", Flags("x", ("y", "z"), on=True)),
        ("--on x y --choice b z", Flags("x", ("y", "z"), on=True, choice="b")),
        ("x --on --no-on", Flags("x")),
        ("x --whole 3", Flags("x", whole=3)),
        ("x --whole=3", Flags("x", whole=3)),
        ("x --whole 3 --whole None", Flags("x")),
        ("x --some 1 -0.5 1e-3", Flags("x", some=(1.0, -0.5, 1e-3))),
        ("x --some", Flags("x", some=())),
        ("x -- -y", Flags("x", ("-y",))),
        ("x=1 --choice=b", Flags("x=1", choice="b")),
    ],
)
def test_options_are_read_as_the_types_of_their_fields(line: str, expected: Flags):
    assert parse(Flags, "door", line.split()) == expected


def test_each_field_has_its_sentence_and_its_default():
    found = {setting.name: setting for setting in settings(Flags)}
    assert list(found) == [
        "first",
        "rest",
        "whole",
        "choice",
        "on",
        "some",
        "inner.deep",
    ]
    assert found["rest"].help == "Any number of texts."
    assert found["inner.deep"].default == 0.5


def test_what_is_given_replaces_what_a_recipe_has():
    recipe = TrainConfig(epochs=9, seed=3)
    changed = filled(recipe, {"epochs": 2, "optim.momentum": 0.5, "config": "x"})
    assert (changed.epochs, changed.seed, changed.optim.momentum) == (2, 3, 0.5)


@pytest.mark.parametrize(
    "line",
    [
        "--lr 0.1 --wd 0.2 -o here --epochs 3",
        "--optim.learning-rate=.1 --optim.weight_decay=.2 --output-dir=here --epochs=3",
        "--optim.learning_rate=0.1 --wd=0.2 --workdir=here --epochs=3",
    ],
)
def test_short_names_and_underscores_are_the_same_options(line: str):
    action, config = read(line.split())
    assert action == Action()
    assert (config.optim.learning_rate, config.optim.weight_decay) == (0.1, 0.2)
    assert (config.workdir, config.epochs) == ("here", 3)


def test_every_setting_has_a_sentence_and_every_table_names_settings():
    known = [*settings(Action), *settings(TrainConfig)]
    names = {setting.name for setting in known}
    assert all(setting.help.endswith(".") for setting in known)
    assert names >= set(OFTEN)
    dashed = {name.replace("_", "-") for name in names} | {"tta", "which", "to"}
    assert dashed >= {*SHORT, *ELSEWHERE}
    prefixes = tuple(name for names in GROUPS.values() for name in names if name)
    assert names >= {name for name in prefixes if not name.endswith(".")}
    # No name of another library means two settings, or is one of ours.
    words = [word for names in ELSEWHERE.values() for word in names.split()]
    assert len(words) == len(set(words))
