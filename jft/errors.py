"""The one error a user's mistake raises, and the hints it carries."""

import difflib
from collections.abc import Iterable, Sequence


class InputError(ValueError):
    """Something the user gave cannot be used: the message says what, and what would.

    The command line prints it without a traceback; in Python it is a `ValueError`.
    """


def nearest(name: str, valid: Iterable[str], *, count: int = 3) -> str:
    """Return a hint such as `; did you mean 'stage2'?`, or `''` without a near name.

    Args:
        name: What was given, in upper or lower case, or how a valid name begins.
        valid: What would have been accepted.
        count: At most this many names are suggested.

    >>> nearest("ResNet5O", ["resnet18", "resnet50", "vgg16"], count=1)
    "; did you mean 'resnet50'?"
    """
    names = {known.lower(): known for known in valid}
    near = difflib.get_close_matches(name.lower(), names, n=count, cutoff=0.6)
    if name.lower() in names:
        near = [name.lower()]
    if not near and len(name) > 2:
        near = [known for known in names if known.startswith(name.lower())][:count]
    if not near:
        return ""
    return f"; did you mean {' or '.join(repr(names[one]) for one in near)}?"


def not_among(given: object, valid: Sequence[str]) -> str:
    """Return what is wrong with a value that is none of a few names.

    >>> not_among("adam", ["sgd", "lion", "adamw"])
    "must be sgd, lion or adamw, got 'adam'; did you mean 'adamw'?"
    """
    names = " or ".join(filter(None, [", ".join(valid[:-1]), valid[-1]]))
    return f"must be {names}, got {given!r}{nearest(str(given), valid, count=1)}"
