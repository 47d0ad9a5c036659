"""Print the text of every error and of every --help on one page, to be read aloud.

Run it as `python tests/messages.py > page.txt`.
"""

import ast
import contextlib
from collections.abc import Iterator
from pathlib import Path

from jft.__main__ import COMMANDS, main

ROOT = Path(__file__).parents[1]


def errors(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of each `InputError` that a file makes; {} is a value."""
    for node in ast.walk(ast.parse(path.read_text())):
        called = node.func if isinstance(node, ast.Call) else None
        if isinstance(called, ast.Name) and called.id in ("InputError", "DecodeError"):
            assert isinstance(node, ast.Call)
            yield node.lineno, " ".join(text(argument) for argument in node.args)


def text(node: ast.expr) -> str:
    """Return an expression as a reader sees it, with {...} for what is filled in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(text(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return "{" + ast.unparse(node.value) + "}"
    if isinstance(node, ast.BinOp):
        return text(node.left) + text(node.right)
    if isinstance(node, ast.IfExp):
        return f"[{text(node.body)} | {text(node.orelse)}]"
    return "{" + ast.unparse(node) + "}"


def page() -> Iterator[str]:
    """Yield the lines of the page of errors."""
    for path in sorted((ROOT / "jft").rglob("*.py")):
        found = list(errors(path))
        if found:
            yield f"\n{path.relative_to(ROOT)}"
        yield from (f"  {line}: {message}" for line, message in found)


if __name__ == "__main__":
    print("\n".join(page()))
    for name in COMMANDS:
        print(f"\n\n{name}\n")
        with contextlib.suppress(SystemExit):
            main([name, "--help-all" if name == "train" else "--help"])
