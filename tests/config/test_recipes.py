"""The recipes and the README: the commands in them work."""

import json
import re
import shlex
from pathlib import Path

import pytest

from jft.config import TrainConfig, from_dict, to_dict
from jft.console.cli import load_recipe
from jft.errors import InputError
from jft.train.__main__ import read
from jft.train.resolve import resolve

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "configs").glob("*.py"))
COMMAND = re.compile(r"^\s*(?:\$ )?python -m jft\.train((?:.*\\\n)*.*)$", re.MULTILINE)


def commands(text: str) -> list[list[str]]:
    """Return the arguments of every `python -m jft.train` in a text."""
    lines = [match.replace("\\\n", " ") for match in COMMAND.findall(text)]
    return [shlex.split(line, comments=True) for line in lines]


def text_of(page: str) -> str:
    return (ROOT / page).read_text()


def parsed(args: list[str], monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    """Return the configuration that a command asks for, from the checkout's folder."""
    monkeypatch.chdir(ROOT)
    return read(args)[1]


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


@pytest.mark.parametrize(
    ("page", "count"),
    [("README.md", 5), ("docs/freezing.md", 1), ("docs/training.md", 5)],
)
def test_the_commands_of_a_page_are_understood(
    page: str, count: int, monkeypatch: pytest.MonkeyPatch
):
    configs = [parsed(args, monkeypatch) for args in commands(text_of(page))]
    assert len(configs) == count
    for config in configs:
        # Others are of images that only the reader has.
        if config.data == "digits":
            resolve(config)


def test_the_readme_is_short_and_names_one_time_for_the_first_run():
    readme, results = text_of("README.md"), text_of("docs/results.md")
    assert len(readme.splitlines()) <= 150
    rows = json.loads(text_of("benchmarks/results/first_run.json"))["rows"]
    seconds = round(rows["python -m jft.train"]["median_seconds"])
    assert f"takes {seconds} s" in readme
    assert f"{seconds} s from start to end" in results
    assert f"Time: {seconds} s" in text_of("configs/digits.py")


def test_the_table_of_freezing_rules_is_understood():
    table = (
        text_of("docs/freezing.md").partition("| `--freeze` |")[2].partition("\n\n")[0]
    )
    rules = re.findall(r"^\| `'?([^`']*)'?` \|", table, re.MULTILINE)
    assert len(rules) == 9
    for rule in rules:
        resolve(TrainConfig(freeze=rule))


def test_links_between_pages_lead_somewhere():
    pages = [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *(ROOT / "docs").glob("*.md"),
    ]
    for page in pages:
        for link in re.findall(r"\]\((?!https?:)([^)]*)\)", page.read_text()):
            file, _, anchor = link.partition("#")
            target = (page.parent / file).resolve() if file else page
            assert target.exists(), f"{page.name}: {link}"
            if anchor:
                assert anchor in anchors(target.read_text()), f"{page.name}: {link}"


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}


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
