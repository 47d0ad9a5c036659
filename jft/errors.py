"""What a user can mend: errors with exit statuses, and the hints they carry."""

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")
BUG = 70  # an exception that jft does not expect
IO = 74  # an `OSError`
INTERRUPTED = 75


class InputError(ValueError):
    """Something the user gave cannot be used: the message states what is valid.

    The command line prints it without a traceback; in Python it is a `ValueError`.

    Attributes:
        status: The exit status of a command, from sysexits.h where it has one.
    """

    status = 2


class DataError(InputError):
    """Data or weights were found, but what is in their files cannot be used."""

    status = 65


class StorageError(InputError):
    """A file cannot be written or downloaded: a full disk, a read-only folder."""

    status = IO


class DivergedError(InputError):
    """The loss, a gradient or a parameter is no longer finite."""

    status = 76


class DamageError(InputError):
    """A file that jft saved is not what it was when it was saved."""

    status = 77


@contextmanager
def content() -> Iterator[None]:
    """Make an `InputError` raised within a `DataError`, unless it has a status."""
    try:
        yield
    except InputError as error:
        if type(error) is InputError:
            raise DataError(str(error)) from None
        raise


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


def unknown(kind: str, given: object, valid: Iterable[str]) -> InputError:
    """Return the error for a name that is none of the valid ones, which it lists.

    >>> print(unknown("view", "flop", ["none", "flip", "d4"]))
    unknown view 'flop'; did you mean 'flip'?
    views: none, flip, d4
    """
    names = list(valid)
    what = f"{given!r:.80}{nearest(str(given), names)}"
    return InputError(f"unknown {kind} {what}\n{kind}s: {', '.join(names)}")


class Problems:
    """The refusals of several steps, to be raised together."""

    def __init__(self) -> None:
        """Begin without any."""
        self._errors: list[InputError] = []

    def attempt(self, step: Callable[..., T], *values: Any) -> T | None:
        """Return what a step returns; None, and note the problem, if it refuses."""
        try:
            return step(*values)
        except InputError as error:
            self._errors.append(error)
            return None

    def __bool__(self) -> bool:
        """Return whether there are any."""
        return bool(self._errors)

    def require_none(self) -> None:
        """Raise one error with every problem once, if there are any."""
        kinds = {type(error) for error in self._errors}
        if kinds:
            kind = kinds.pop() if len(kinds) == 1 else InputError
            raise kind("\n".join(dict.fromkeys(map(str, self._errors))))
