"""The layout keeps its shape: floors, file sizes, documented and annotated names."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import jft

ROOT = Path(jft.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
# What each room owns, from the ground up: a room imports from lower floors only.
FLOORS: tuple[dict[str, str], ...] = (
    {
        "errors": "InputError, which a user's mistake raises, and the nearest name",
        "types": "the types of parameters, batches and metrics; the axis letters",
        "tree": "'/'-joined parameter names, patterns, counts, digests",
        "preprocess": "how pixels become the input of a network",
    },
    {
        "config": "the rules of a run, as data",
        "console": "the command line and the terminal: what all commands share",
    },
    {
        "devices": "a step under jit or pmap, and compiled programs kept for later",
        "models": "the networks by name: ResNet, VGG, decoders, normalisation",
        "tasks": "the loss per example and the metrics of what is learned",
        "optim": "the optimizer chain and learning-rate schedules",
        "data": "images and labels in",
    },
    {
        "freeze": "which parameters train: rules, normalisation modes, phases",
        "augment": "random changes of images and masks, on the device",
        "costs": "FLOPs and memory of a compiled step",
        "runs": "the directory of a run, and the models saved in it",
    },
    {
        "weights": "weights in and out, and load_pretrained",
        "verify": "the files of a run against their digests; python -m jft.verify",
    },
    {"step": "TrainState, train_step, eval_step, predict_step: pure functions"},
    {
        "features": "features of the frozen part, computed once per image and kept",
        "predict": "Predictor, and python -m jft.predict",
    },
    {"evaluate": "metrics over a data source, and python -m jft.evaluate"},
    {"train": "fit: from rules to a run, and python -m jft.train"},
    {
        "bench": "how fast training steps are, and python -m jft.bench",
        "export": "a model as another library's file",
        "convert": "weights of one library as another's",
        "reproduce": "a run again, to the bit, and python -m jft.reproduce",
    },
    {
        "run": "jft.Run: a run by its folder",
        "__init__": "the public names",
        "__main__": "python -m jft: all commands",
    },
)
# Within a floor these may import each other, in this direction.
SIDEWAYS = {
    ("preprocess", "errors"),
    ("tree", "errors"),
    ("console", "config"),
    ("convert", "export"),
    ("__init__", "run"),
}


def room(path: Path) -> str:
    """Return the first part of a module's name below `jft`."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def floor(name: str) -> int:
    return next(i for i, rooms in enumerate(FLOORS) if name in rooms)


def imported(path: Path) -> Iterator[str]:
    """Yield the full names of the modules of jft that a file imports from."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jft"):
            module = str(node.module)
            for alias in node.names:
                inner = f"{module}.{alias.name}"
                yield inner if module_file(inner) else module
        elif isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.startswith("jft."))


def module_file(module: str) -> Path | None:
    """Return the file of a module of jft; None if there is no such module."""
    base = ROOT.joinpath(*module.split(".")[1:])
    files = (base.with_suffix(".py"), base / "__init__.py")
    return next((file for file in files if file.is_file()), None)


def rooms_imported(path: Path) -> set[str]:
    """Return the rooms that a file imports from."""
    parts = [module.split(".")[1:] for module in imported(path)]
    return {names[0] if names else "__init__" for names in parts}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_modules_import_from_lower_floors(path: Path):
    here = room(path)
    for there in rooms_imported(path) - {here}:
        sideways = (here, there) in SIDEWAYS
        assert floor(there) < floor(here) or sideways, f"{here} imports {there}"


def arrows() -> set[tuple[str, str]]:
    """Return every pair of rooms of which the first imports from the second."""
    made = {(room(path), there) for path in FILES for there in rooms_imported(path)}
    return {(here, there) for here, there in made if here != there}


def test_every_sideways_import_is_made_and_there_are_few():
    assert arrows() >= SIDEWAYS
    assert len(SIDEWAYS) <= 10
    assert len(FLOORS) <= 11


def test_the_documentation_shows_the_same_floors():
    text = (ROOT.parent / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \| (.*) \|$", text, re.MULTILINE)
    floors = enumerate(FLOORS, start=1)
    assert rows == [(str(i), *row) for i, rooms in floors for row in rooms.items()]
    most = re.search(r"at most (\d+) pairs of rooms", text)
    assert most
    assert len(arrows()) <= int(most[1])


def test_every_room_is_on_a_floor():
    assert {room(path) for path in FILES} == {r for rooms in FLOORS for r in rooms}


def test_files_form_no_circle():
    arrows = {
        path: {module_file(module) for module in imported(path)} - {None, path}
        for path in FILES
        if path != ROOT / "__init__.py"
    }
    # Files that nothing left imports are taken away, until only circles remain.
    while free := set(arrows) - {there for inner in arrows.values() for there in inner}:
        arrows = {path: inner for path, inner in arrows.items() if path not in free}
    assert sorted(str(path.relative_to(ROOT)) for path in arrows) == []


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_are_short(path: Path):
    assert len(path.read_text().splitlines()) <= 300


def definitions(path: Path) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    """Yield public functions, classes and methods."""
    nodes: list[ast.AST] = [ast.parse(path.read_text())]
    while nodes:
        for node in ast.iter_child_nodes(nodes.pop()):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                if node.name.startswith("_"):
                    continue
                yield node
                if isinstance(node, ast.ClassDef):
                    nodes.append(node)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_everything_public_is_documented_and_annotated(path: Path):
    assert ast.get_docstring(ast.parse(path.read_text()))
    for node in definitions(path):
        assert ast.get_docstring(node), f"{node.name} has no docstring"
        if isinstance(node, ast.FunctionDef):
            assert node.returns, f"{node.name} does not say what it returns"
            args = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            bare = [a.arg for a in args if not a.annotation]
            assert set(bare) <= {"self", "cls"}, f"{node.name}: {bare}"


def python(code: str) -> str:
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return run.stdout


def test_importing_jft_imports_no_jax():
    assert python("import sys, jft; print('jax' in sys.modules)") == "False\n"


def test_importing_every_public_name_starts_no_backend():
    code = (
        "import jft\n"
        "for name in jft.__all__: getattr(jft, name)\n"
        "from jax._src import xla_bridge\n"
        "print(xla_bridge.backends_are_initialized())"
    )
    assert python(code) == "False\n"


def test_public_names_are_those_that_exist():
    for name in jft.__all__:
        assert getattr(jft, name).__name__ == name
    with pytest.raises(AttributeError, match="nothing"):
        _ = jft.nothing
