"""Two results of a benchmark, row by row."""

import json
from pathlib import Path
from typing import Any

from jft.errors import InputError

KEY = ("model", "batch_size", "freeze", "dtype", "devices", "image_size")
# Of the manifest: what makes numbers of two files incomparable, or explains them.
DECISIVE = ("device", "cpu_model", "cpu_count", "xla_flags", "versions")


def load(path: str) -> tuple[dict[str, Any], dict[tuple[Any, ...], dict[str, Any]]]:
    """Return the manifest and the rows, by what they measured, of a file.

    Raises:
        InputError: It cannot be read, or is not from `jft.bench --output`.
    """
    try:
        lines = [json.loads(line) for line in Path(path).read_text().splitlines()]
        manifest = lines[0]["manifest"]
        rows = {tuple(row[name] for name in KEY): row for row in lines[1:]}
    except OSError as error:
        raise InputError(f"{path!r} cannot be read: {error.strerror}") from None
    except (ValueError, LookupError, TypeError):
        raise InputError(f"{path!r} is not a file of jft.bench --output") from None
    return manifest, rows


def compare(a: str, b: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Return a row for each case that both files measured, and what else differs.

    `ratio` is the speed of `b` relative to `a`; `noise` is how far the control within
    each file (the ratio of every other step to those between them) is from 1.

    Raises:
        InputError: A file cannot be read, or they have no case in common.
    """
    (manifest_a, rows_a), (manifest_b, rows_b) = load(a), load(b)
    both = [key for key in rows_a if key in rows_b]
    measured = [
        k for k in both if not {"error"} & (rows_a[k].keys() | rows_b[k].keys())
    ]
    if not measured:
        raise InputError(f"{a} and {b} have no measured case in common")
    found: list[dict[str, Any]] = []
    for key in measured:
        first, second = rows_a[key], rows_b[key]
        rates = [row["images_per_second"] for row in (first, second)]
        noise = max(abs(row["a_a"] - 1) for row in (first, second))
        ratio = rates[1] / rates[0]
        found.append(
            dict(zip(KEY, key, strict=True))
            | {"a": rates[0], "b": rates[1], "ratio": ratio, "noise": noise}
        )
    changes = [
        f"{name}: {manifest_a.get(name)} -> {manifest_b.get(name)}"
        for name in DECISIVE
        if manifest_a.get(name) != manifest_b.get(name)
    ]
    return found, changes
