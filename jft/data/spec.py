"""The grammar of `--data`: SCHEME, or SCHEME:PATH, or SCHEME:PATH?KEY=VALUE&..."""

import importlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from jft.data.listing import Dataset, TaskName
from jft.errors import InputError, content, nearest


@dataclass(frozen=True)
class Format:
    """One form that data comes in.

    Attributes:
        module: What reads it; has `check(path, options)`, which is cheap, and
            `load(path, options) -> Dataset`.
        usage: How a user writes it.
        options: The keys that may follow the question mark.
        task: What there is to learn, where the form itself decides it.
    """

    module: str
    usage: str
    options: tuple[str, ...] = ()
    task: TaskName | None = None


FORMATS: dict[str, Format] = {
    "digits": Format("jft.data.digits", "digits", task="classification"),
    "folder": Format(
        "jft.data.folder", "folder:PATH", ("train", "test"), "classification"
    ),
    "csv": Format(
        "jft.data.csv.read",
        "csv:FILE",
        (
            *("path", "label", "split", "train", "test", "weight"),
            *("root", "suffix", "task", "separator", "encoding", "decimal"),
        ),
    ),
    "masks": Format(
        "jft.data.masks.read",
        "masks:PATH",
        (
            *("images", "masks", "train", "test", "unpaired"),
            *("suffix", "prefix", "several", "transparent"),
            *("classes", "values", "void", "nearest"),
        ),
        "segmentation",
    ),
    "coco": Format(
        "jft.data.coco.read", "coco:FILE", ("images", "test", "crowd"), "segmentation"
    ),
    "hf-parquet": Format(
        "jft.data.parquet.read",
        "hf-parquet:PATH",
        (
            *("train", "test", "image", "label", "mask", "task"),
            *("classes", "values", "void", "nearest"),
        ),
    ),
    "tfds": Format(
        "jft.data.tfds.read",
        "tfds:NAME[:CONFIG]",
        (
            *("dir", "train", "test", "image", "label"),
            *("classes", "values", "void", "nearest"),
        ),
    ),
    "webdataset": Format(
        "jft.data.webdataset.read",
        "webdataset:PATH",
        (
            *("train", "test", "image", "label", "task"),
            *("classes", "values", "void", "nearest"),
        ),
    ),
}
_OPTIONS = re.compile(r"[a-z_]+=[^&]*(&[a-z_]+=[^&]*)*")
_MISTYPED = re.compile(r"\?([\w -]+=.*|[^?]*&.*)", re.DOTALL)


@dataclass(frozen=True)
class DataSpec:
    """The parsed value of `--data`.

    Attributes:
        scheme: One of `FORMATS`.
        path: A path or a name; empty for `digits`.
        options: What follows the question mark, percent-decoded.
    """

    scheme: str
    path: str
    options: Mapping[str, str]

    @property
    def task(self) -> TaskName | None:
        """What there is to learn; None if only the data shows it."""
        return FORMATS[self.scheme].task

    def check(self) -> None:
        """Check what can be checked at once, without reading the data."""
        self._module().check(self.path, self.options)

    def load(self) -> Dataset:
        """List the data.

        Raises:
            DataError: It is not laid out as its form asks.
        """
        self.check()
        with content():
            return self._module().load(self.path, self.options)

    def _module(self) -> Any:
        return importlib.import_module(FORMATS[self.scheme].module)


def parse_spec(text: str) -> DataSpec:
    """Read the value of `--data`.

    >>> parse_spec("csv:leaves.csv?label=kind&task=classification").options["label"]
    'kind'
    """
    scheme, _, rest = text.partition(":")
    path, options = _divide(rest)
    path = os.path.expanduser(path)
    form = FORMATS.get(scheme)
    if form is None or (form.usage == scheme) != (not path):
        raise InputError(_unknown(text, scheme))
    if not options:
        _require_no_options(text, path, form)
    pairs = [pair.split("=", 1) for pair in options.split("&") if pair]
    found = {name: unquote(value) for name, value in pairs}
    if "\0" in "".join([path, *found.values()]):
        raise InputError(f"data {text!r}: no name holds the character NUL")
    if len(found) < len(pairs):
        raise InputError(f"data {text!r}: an option occurs twice")
    for name in found:
        if name not in form.options:
            valid = ", ".join(form.options) or "none"
            near = nearest(name, form.options)
            raise InputError(
                f"data {text!r}: {scheme} has no option {name!r}; valid: {valid}{near}"
            )
    return DataSpec(scheme, path, found)


def _divide(rest: str) -> tuple[str, str]:
    """Return the path and the options: what matches after the last `?` that has any.

    A question mark may be part of either.
    """
    for found in reversed([*re.finditer(r"\?", rest)]):
        if _OPTIONS.fullmatch(rest, found.end()):
            return rest[: found.start()], rest[found.end() :]
    return rest, ""


def _require_no_options(text: str, path: str, form: Format) -> None:
    """Raise `InputError` where the end of a path was meant as options."""
    found = _MISTYPED.search(path)
    if found and not os.path.lexists(path):
        key = found[1].partition("=")[0].strip().lower()
        mistyped = not found[1].startswith((*form.options, "&"))
        near = nearest(key, form.options) if mistyped else ""
        raise InputError(
            f"data {text!r}: {found[1]!r} are not options; these are KEY=VALUE with & "
            f"between them; valid keys are {', '.join(form.options) or 'none'}{near}"
        )


def _unknown(text: str, scheme: str) -> str:
    hint = nearest(scheme, list(FORMATS))
    if Path(text).expanduser().is_dir():
        hint = f"; did you mean 'folder:{text}'?"
    elif text.endswith((".csv", ".tsv")):
        hint = f"; did you mean 'csv:{text}'?"
    valid = ", ".join(form.usage for form in FORMATS.values())
    return f"unknown data {text!r}; valid are {valid}{hint}"
