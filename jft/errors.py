"""The one error a user's mistake raises, and the hint it carries."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Something the user gave cannot be used: the message says what, and what would.

    The command line prints it without a traceback; in Python it is a `ValueError`.
    """


def nearest(name: str, valid: Iterable[str], *, count: int = 3) -> str:
    """Return a hint such as `; did you mean 'stage2'?`, or `''` without a near name.

    Args:
        name: What was given.
        valid: What would have been accepted.
        count: At most this many names are suggested.

    >>> nearest("resnet5O", ["resnet18", "resnet50", "vgg16"], count=1)
    "; did you mean 'resnet50'?"
    """
    near = difflib.get_close_matches(name, list(valid), n=count, cutoff=0.6)
    if not near:
        return ""
    return f"; did you mean {' or '.join(map(repr, near))}?"
