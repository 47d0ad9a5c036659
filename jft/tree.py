"""Parameter trees: '/'-joined names, patterns, `PATTERN=NUMBER` rules, digests."""

import fnmatch
import hashlib
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from jft.errors import InputError, nearest


def flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return the leaves of nested mappings under their '/'-joined names, in order.

    >>> flatten({"head": {"kernel": 1, "bias": 2}})
    {'head/kernel': 1, 'head/bias': 2}
    """
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}/{name}": leaf for name, leaf in flatten(value).items()}
        else:
            flat[key] = value
    return flat


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return the nested dictionaries of which `flatten` gives `flat`."""
    tree: dict[str, Any] = {}
    for name, leaf in flat.items():
        *parents, last = name.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = leaf
    return tree


def match(patterns: Iterable[str], names: Iterable[str]) -> set[str]:
    """Return the names that at least one glob pattern matches; `*` also spans '/'.

    Raises:
        InputError: Some pattern matches no name; the message has the nearest ones.
    """
    names = list(names)
    hits = {p: fnmatch.filter(names, p) for p in patterns}
    lost = sorted(p for p, found in hits.items() if not found)
    if lost:
        near = _modules(names)
        lines = [f"- {p!r}{nearest(p, near)}" for p in lost]
        raise InputError("no parameter matches\n" + "\n".join(lines))
    return {name for found in hits.values() for name in found}


def _modules(names: Iterable[str]) -> list[str]:
    """Return the names, and a `module/*` pattern for every module that holds them."""
    parts = [name.split("/") for name in names]
    modules = {"/".join(p[:depth]) + "/*" for p in parts for depth in range(1, len(p))}
    return sorted({"/".join(p) for p in parts} | modules)


Rules = tuple[tuple[str, float], ...]


def parse_rules(text: str, *, what: str, default: float | None = None) -> Rules:
    """Read rules without looking at any network.

    Args:
        text: `PATTERN=NUMBER` separated by commas; numbers are finite, at least 0.
        what: The setting that the text is of, for the message.
        default: What an entry without `=NUMBER` means. None: each must have one.

    Returns:
        Pairs of pattern and number, in order.

    Raises:
        InputError: Some entry is not of this form; the message has all of those.

    >>> parse_rules("head/*=1, stem/*", what="freeze", default=0.0)
    (('head/*', 1.0), ('stem/*', 0.0))
    """
    entries = [entry.strip() for entry in text.split(",")]
    rules = [_parse(entry, default) for entry in entries]
    wrong = [
        f"- {entry!r}"
        for entry, (pattern, number) in zip(entries, rules, strict=True)
        if not pattern or not 0 <= number < math.inf
    ]
    if wrong:
        form = "PATTERN=NUMBER" if default is None else "PATTERN or PATTERN=NUMBER"
        raise InputError(
            f"{what} must be {form} separated by commas, each number finite and at "
            "least 0\n" + "\n".join(wrong)
        )
    return tuple(rules)


def _parse(entry: str, default: float | None) -> tuple[str, float]:
    """Return pattern and number; the number is NaN where none can be read."""
    pattern, equals, number = entry.partition("=")
    if not equals:
        return pattern, math.nan if default is None else default
    try:
        return pattern.strip(), float(number)
    except ValueError:
        return pattern.strip(), math.nan


def first_match(rules: Rules, names: Iterable[str], *, what: str) -> dict[str, float]:
    """Return for each name the number of the first rule that matches it.

    Args:
        rules: Pairs of glob pattern and number; `*` also spans '/'.
        names: '/'-joined names of parameters.
        what: The setting that the rules are of, for the message.

    Returns:
        Numbers by name, in the order of `names`; a name that no rule matches is absent.

    Raises:
        InputError: A pattern matches no name, or none that an earlier one has left.

    >>> rules = (("head/*", 1.0), ("*/bias", 0.0))
    >>> first_match(rules, ["stem/kernel", "stem/bias", "head/bias"], what="freeze")
    {'stem/bias': 0.0, 'head/bias': 1.0}
    """
    names = list(names)
    try:
        match([pattern for pattern, _ in rules], names)
    except InputError as error:
        raise InputError(f"{what}: {error}") from None
    taken: dict[str, tuple[str, float]] = {}
    useless: list[str] = []
    for pattern, number in rules:
        hits = fnmatch.filter(names, pattern)
        if all(name in taken for name in hits):
            earlier = dict.fromkeys(taken[name][0] for name in hits)
            useless.append(f"- {pattern!r} after {' and '.join(map(repr, earlier))}")
        for name in hits:
            taken.setdefault(name, (pattern, number))
    if useless:
        raise InputError(
            f"{what}: the first pattern that matches a name applies, so these "
            "never do; put them first\n" + "\n".join(useless)
        )
    return {name: taken[name][1] for name in names if name in taken}


def count(tree: Mapping[str, Any]) -> int:
    """Return the number of elements of all leaves together."""
    return sum(int(np.prod(leaf.shape)) for leaf in flatten(tree).values())


def digest(tree: Mapping[str, Any]) -> str:
    """Return a hex sha256 over every leaf's name, dtype, shape and bytes.

    Equal digests mean that two trees are the same to the bit; the order in which the
    mappings hold their keys does not matter.
    """
    sha = hashlib.sha256()
    for name, leaf in sorted(flatten(tree).items()):
        for part in _bytes(name, leaf):
            sha.update(part)
    return sha.hexdigest()


def leaf_digests(tree: Mapping[str, Any]) -> dict[str, str]:
    """Return a hex sha256 over name, dtype, shape and bytes of each leaf, by name."""
    return {
        name: hashlib.sha256(b"".join(_bytes(name, leaf))).hexdigest()
        for name, leaf in sorted(flatten(tree).items())
    }


def _bytes(name: str, leaf: Any) -> tuple[bytes, bytes]:
    array = np.ascontiguousarray(leaf)
    head = f"{name}:{array.dtype.name}:{np.shape(leaf)}\n"
    return head.encode(), array.tobytes()
