"""The recipes and the README: what they tell a person to type must work."""

import re
import shlex
from pathlib import Path

import pytest
import tyro

from jft.config import TrainConfig, from_dict, to_dict
from jft.console.cli import load_recipe
from jft.errors import InputError
from jft.train import preflight
from jft.train.__main__ import split_action

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "configs").glob("*.py"))
COMMAND = re.compile(r"^\s*(?:\$ )?python -m jft\.train((?:.*\\\n)*.*)$", re.MULTILINE)


def commands(text: str) -> list[list[str]]:
    """Return the arguments of every `python -m jft.train` in a text."""
    lines = [match.replace("\\\n", " ") for match in COMMAND.findall(text)]
    return [shlex.split(line, comments=True) for line in lines]


def parsed(args: list[str], monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    """Return the configuration that a command asks for, from the checkout's folder."""
    monkeypatch.chdir(ROOT)
    action, rest = split_action(args)
    default = load_recipe(action.recipe) if action.recipe else TrainConfig()
    return tyro.cli(TrainConfig, default=default, args=rest)


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_a_recipe_is_sound_and_says_what_to_expect(
    path: Path, monkeypatch: pytest.MonkeyPatch
):
    text = path.read_text()
    for word in ("Command", "Expected", "Hardware", "Time"):
        assert word in text
    config = load_recipe(str(path))
    assert from_dict(to_dict(config)) == config
    written = commands(text)
    assert written
    for args in written:
        assert isinstance(parsed(args, monkeypatch), TrainConfig)


def test_the_commands_of_the_readme_are_understood(monkeypatch: pytest.MonkeyPatch):
    text = (ROOT / "README.md").read_text()
    configs = [parsed(args, monkeypatch) for args in commands(text)]
    named = "folder:PATH_WITH_ONE_FOLDER_A_CLASS"
    data = [config.data for config in configs]
    flowers, cracks = "folder:flowers", "masks:cracks"
    assert data[:4] == [named, flowers, cracks, flowers]
    assert data[4:10] == ["digits"] * 6
    assert set(data[10:]) == {flowers}
    for config in configs:
        if config.data == "digits":
            preflight.check(config)
    table = text.partition("| `--freeze` |")[2].partition("\n\n")[0]
    rules = re.findall(r"^\| `'?([^`']*)'?` \|", table, re.MULTILINE)
    assert len(rules) == 9
    for rule in rules:
        preflight.check(TrainConfig(freeze=rule))


def test_the_default_recipe_is_the_default():
    assert load_recipe(str(ROOT / "configs" / "digits.py")) == TrainConfig()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x = 1", "does not set config"),
        ("config = 1", "does not set config"),
        ("config = ", "invalid syntax"),
        ("from jft.config import TrainConfig\nconfig = TrainConfig(epoch=1)", "epoch"),
        ("import no_such_module", "no_such_module"),
    ],
)
def test_a_recipe_that_is_none_is_an_error(tmp_path: Path, content: str, message: str):
    path = tmp_path / "recipe.py"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        load_recipe(str(path))
