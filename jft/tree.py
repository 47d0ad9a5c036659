"""Parameter trees as flat tables: '/'-joined names, glob patterns, counts, digests."""

import fnmatch
import hashlib
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
        array = np.ascontiguousarray(leaf)
        sha.update(f"{name}:{array.dtype.name}:{np.shape(leaf)}\n".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()
