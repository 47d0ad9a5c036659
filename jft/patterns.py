"""Ordered rules `PATTERN=NUMBER,...`, of which the first that matches a name counts."""

import fnmatch
import math
from collections.abc import Iterable

from jft import tree
from jft.errors import InputError

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
        tree.match([pattern for pattern, _ in rules], names)
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
            f"{what}: the first pattern that matches a name counts, so these never do; "
            "put them first\n" + "\n".join(useless)
        )
    return {name: taken[name][1] for name in names if name in taken}
