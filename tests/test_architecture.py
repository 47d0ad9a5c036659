"""The house keeps its shape: floors, file sizes, documented and annotated names."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import jft

ROOT = Path(jft.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
# docs/architecture.md says what each floor is. A name stands for a module, or for a
# package with all its modules.
FLOORS = (
    ("errors", "preprocess", "types", "tree", "patterns", "config"),
    (
        *("models", "freeze", "norms", "phases", "schedules", "muon", "optim", "tasks"),
        *("metrics", "augment", "step", "costs", "interrupt", "progress"),
    ),
    ("weights", "data", "devices", "checkpoint", "runlog"),
    (
        *("preflight", "pretrained", "state", "crossing", "setup", "plan", "lr_find"),
        *("objective", "interpolate", "inference", "evaluation", "watch", "loop"),
        "exporting",
    ),
    (
        *("console", "tables", "cli", "train", "evaluate", "predict", "export"),
        *("convert", "__main__"),
    ),
)
# Within a floor these may import each other, in this direction.
SIDEWAYS = {
    ("types", "errors"),
    ("preprocess", "errors"),
    ("tree", "errors"),
    ("config", "errors"),
    ("patterns", "errors"),
    ("patterns", "tree"),
    ("freeze", "models"),
    ("norms", "models"),
    ("phases", "freeze"),
    ("phases", "models"),
    ("costs", "models"),
    ("optim", "muon"),
    ("step", "models"),
    ("step", "optim"),
    ("metrics", "tasks"),
    ("setup", "objective"),
    ("step", "augment"),
    ("step", "tasks"),
    ("weights", "checkpoint"),
    ("runlog", "data"),
    ("state", "pretrained"),
    ("crossing", "state"),
    ("setup", "crossing"),
    ("setup", "pretrained"),
    ("setup", "state"),
    ("plan", "crossing"),
    ("plan", "setup"),
    ("plan", "state"),
    ("lr_find", "setup"),
    ("lr_find", "state"),
    ("interpolate", "pretrained"),
    ("inference", "interpolate"),
    ("evaluation", "interpolate"),
    ("exporting", "inference"),
    ("exporting", "pretrained"),
    ("evaluation", "inference"),
    ("loop", "evaluation"),
    ("loop", "preflight"),
    ("loop", "crossing"),
    ("loop", "plan"),
    ("loop", "setup"),
    ("loop", "watch"),
    ("watch", "loop"),  # for the type checker alone, as the next
    ("watch", "plan"),
    ("console", "tables"),
    ("train", "cli"),
    ("train", "console"),
    ("evaluate", "cli"),
    ("evaluate", "tables"),
    ("__main__", "cli"),
    ("predict", "cli"),
    ("export", "cli"),
    ("convert", "cli"),
}


def room(path: Path) -> str:
    """Return the first part of a module's name below `jft`, but for doors in rooms."""
    if path.stem == "__main__":
        return "__main__"
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def floor(name: str) -> int:
    return next(i for i, names in enumerate(FLOORS) if name in names)


def imports(path: Path) -> Iterator[str]:
    """Yield the rooms that a module imports from, but for the public names."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jft"):
            parts = (node.module or "").split(".")
            yield from parts[1:2] or (alias.name for alias in node.names)
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            yield from (n[1] for n in names if n[0] == "jft" and len(n) > 1)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_modules_import_from_lower_floors(path: Path):
    here = room(path)
    if here == "__init__":
        return
    for there in set(imports(path)) - {here}:
        sideways = (here, there) in SIDEWAYS
        assert floor(there) < floor(here) or sideways, f"{here} imports {there}"


def test_every_sideways_import_is_made():
    made = {(room(path), there) for path in FILES for there in imports(path)}
    assert made >= SIDEWAYS - {("types", "errors")}


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
