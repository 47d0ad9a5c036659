"""Help, public docstrings and messages use the words of optax, timm and PyTorch."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import jft

ROOT = Path(jft.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
# The private or archaic words that CONTRIBUTING forbids, and what a reader knows.
FORBIDDEN = {
    r"(?<!in )places?": "index, position or path",
    r"shares? of|its share|shares": "fraction, weight or lr_mult",
    r"legs?|crossings?": "phase, phase transition",
    r"alive|uncounted": "has a backward pass",
    r"held(?![ -]out)": "frozen, stored",
    r"stands?(?! for)": "is",
    r"comes? to": "is",
    r"but for|of old": "except, legacy",
    r"(?<![Tt]here )is no (?:mode|name|run|image|file|folder|rule|stage)": "unknown",
    r"stays? as (?:it|they)|left as it is": "unchanged",
    r"says?|told|hears?": "is, states",
    r"nothing there counts|in its stead|be it an?": "a plain sentence",
    r"kept from|is kept out": "excluded",
}
PATTERN = re.compile("|".join(rf"\b(?:{words})\b" for words in FORBIDDEN), re.I)


def public_docstrings(tree: ast.Module) -> Iterator[str]:
    """Yield the docstrings of a file that the documentation of Python shows."""
    nodes: list[ast.AST] = [tree]
    while nodes:
        node = nodes.pop()
        assert isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        yield ast.get_docstring(node) or ""
        if not isinstance(node, ast.FunctionDef):
            inner = (
                n for n in node.body if isinstance(n, ast.ClassDef | ast.FunctionDef)
            )
            nodes += [n for n in inner if not n.name.startswith("_")]


def strings(tree: ast.Module) -> Iterator[str]:
    """Yield the texts of a file, without docstrings: messages among them."""
    documents = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if is_text and id(node) not in documents:
            yield str(node.value)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_words_are_those_of_the_field(path: Path):
    tree = ast.parse(path.read_text())
    texts = [*public_docstrings(tree), *strings(tree)]
    found = [
        f"{match[0]!r} in {' '.join(text.split())[:300]!r}"
        for text in texts
        for match in PATTERN.finditer(text)
    ]
    assert found == []
