"""Reads JSON from untrusted files: small, shallow, and with unique keys."""

import json
from collections import Counter
from typing import Any

from jft.errors import InputError

_LONGEST = 4 << 20
# Tokens that a value follows; a safetensors header has ten for each tensor.
_MOST_VALUES = 200_000


def parse_json(data: bytes, what: str) -> dict[str, Any]:
    """Return the JSON object that the bytes hold.

    Python's objects are up to twenty times the size of their JSON, so both its length
    and the number of its values are bounded.

    Raises:
        InputError: If it is not an object, is damaged, too large or too deep, or has a
            key twice.
    """
    check_length(len(data), what)
    if sum(map(data.count, (b",", b"[", b"{"))) > _MOST_VALUES:
        raise InputError(f"{what} has more than {_MOST_VALUES} values")
    try:
        value = json.loads(data.decode(), object_pairs_hook=_unique)
    except InputError as error:
        raise InputError(f"{what} {error}") from None
    except (ValueError, RecursionError):
        raise InputError(f"{what} is not valid JSON, or is nested too deep") from None
    if not isinstance(value, dict):
        raise InputError(f"{what} is not a JSON object")
    return value


def check_length(size: int, what: str) -> None:
    """Check that a JSON text is short enough to be read."""
    if size > _LONGEST:
        raise InputError(f"{what} has {size} bytes, more than {_LONGEST >> 20} MiB")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        ((twice, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise InputError(f"has the key {twice!r:.80} twice")
    return result
