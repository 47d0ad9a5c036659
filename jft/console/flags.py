"""Command-line options from the fields of dataclasses: reading, errors and help."""

import argparse
import dataclasses
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NamedTuple,
    NoReturn,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from jft.console.names import SHORT, unknown_option
from jft.errors import not_among

WIDTH = 80  # columns of the help text
METAVARS = {int: "N", float: "X", str: "TEXT"}
KINDS = {int: "a whole number", float: "a number", str: "text"}
# What argparse writes of a mistake, and what is printed instead.
PHRASES = (
    (r"^argument (?:\S*/)?(\S+): (?=must)", r"\1 "),
    (r"^argument (?:\S*/)?(\S+): expected .*", r"\1 needs a value"),
    (r"^unrecognized arguments:", "unexpected argument:"),
    (r"^the following arguments are required:", "missing argument:"),
)
Flags = TypeVar("Flags")


class Positional(NamedTuple):
    """Marks a field, by `Annotated`, as an argument without an option name."""

    metavar: str


class Setting(NamedTuple):
    """A field as a command-line argument.

    Attributes:
        name: Dotted name, as in `optim.learning_rate`.
        kinds: What it may be: str, int, float, bool, a Literal, NoneType.
        several: Whether it takes any number of values.
        help: Its sentences in the docstring of the dataclass.
        default: Its value where it is not given; `dataclasses.MISSING` if it must be.
        positional: How the usage line shows it; None for an option.
    """

    name: str
    kinds: tuple[Any, ...]
    several: bool
    help: str
    default: Any
    positional: str | None

    @property
    def options(self) -> list[str]:
        """The names on the command line, without those that turn a switch off."""
        dashed = self.name.replace("_", "-")
        return [*SHORT.get(dashed, ()), f"--{dashed}"]

    @property
    def metavar(self) -> str:
        """The placeholder for the value in the help text."""
        if self.positional:
            return self.positional
        kind = self.kinds[0]
        if get_origin(kind) is Literal:
            return "{" + ",".join(get_args(kind)) + "}"
        return METAVARS[kind]

    def read(self, text: str) -> Any:
        """Return the value that a text on the command line means.

        Raises:
            argparse.ArgumentTypeError: The text is none of the values.
        """
        if NoneType in self.kinds and text == "None":
            return None
        kind = self.kinds[0]
        if get_origin(kind) is Literal:
            if text in get_args(kind):
                return text
            raise argparse.ArgumentTypeError(not_among(text, get_args(kind)))
        try:
            return kind(text)
        except ValueError:
            message = f"must be {KINDS[kind]}, got {text!r}"
            raise argparse.ArgumentTypeError(message) from None


def settings(kind: type[Any], prefix: str = "") -> list[Setting]:
    """Return the fields of a dataclass, with those of dataclasses inside it."""
    hints, texts = get_type_hints(kind, include_extras=True), _field_texts(kind)
    found: list[Setting] = []
    for field in dataclasses.fields(kind):
        hint, positional = hints[field.name], None
        if dataclasses.is_dataclass(hint):
            found += settings(cast(type, hint), f"{prefix}{field.name}.")
            continue
        if get_origin(hint) is Annotated:
            hint, positional = get_args(hint)
        several = get_origin(hint) is tuple
        if several:
            hint = get_args(hint)[0]
        kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        found.append(
            Setting(
                prefix + field.name,
                kinds,
                several,
                texts[field.name],
                field.default,
                positional.metavar if positional else None,
            )
        )
    return found


def _field_texts(kind: type[Any]) -> dict[str, str]:
    """Return what the section `Attributes:` of a docstring has on each field."""
    name, texts = "", dict[str, str]()
    section = inspect.cleandoc(kind.__doc__ or "").partition("Attributes:\n")[2]
    for line in section.splitlines():
        if line.startswith(" " * 8):
            texts[name] += " " + line.strip()
        elif line.strip():
            name, _, texts[name] = line.strip().partition(": ")
    return texts


def parse(kind: type[Flags], command: str, args: Sequence[str] | None) -> Flags:
    """Read the options of a command; a mistake ends the process with status 2.

    Args:
        kind: Dataclass of the options; its docstring is the description.
        command: Name of the command.
        args: Command-line arguments; None takes the process's.
    """
    known = settings(kind)
    text = inspect.cleandoc(kind.__doc__ or "").partition("\n\nAttributes:")[0]
    paragraphs = (
        textwrap.fill(part, WIDTH, break_on_hyphens=False)
        for part in text.split("\n\n")
    )
    parser = Parser(command, "\n\n".join(paragraphs))
    parser.add_settings("options", known)
    return kind(**parser.read(args))


class Parser(argparse.ArgumentParser):
    """Reads settings; reports a mistake in one line."""

    def __init__(self, command: str, description: str, epilog: str = "") -> None:
        super().__init__(
            prog=f"python -m jft.{command}",
            description=description,
            epilog=epilog,
            formatter_class=_Help,
            argument_default=argparse.SUPPRESS,
            allow_abbrev=False,
            add_help=False,
        )
        self.usage = f"{self.prog} [OPTION ...]"
        self._names: list[str] = []
        self._help = self.add_argument_group("help")
        self.add_switch("-h", "--help", help="Show this help.")

    def add_switch(self, *names: str, help: str) -> None:
        """Add an option that prints the help text and ends the process."""
        self._names += names
        self._help.add_argument(*names, action="help", help=help)

    def add_settings(
        self,
        title: str,
        chosen: Iterable[Setting],
        shown: Callable[[str], bool] | None = None,
    ) -> None:
        """Add a group of settings; the help has those whose name is `shown`, or all."""
        group = self.add_argument_group(title)
        for setting in chosen:
            visible = shown is None or shown(setting.name)
            text = _described(setting) if visible else argparse.SUPPRESS
            self._add(group, setting, text)

    def _add(self, group: Any, setting: Setting, text: str) -> None:
        options, dest = setting.options, setting.name
        if bool in setting.kinds:
            head, dot, leaf = options[-1][2:].rpartition(".")
            off = [f"--{head}{dot}no-{leaf}"]
            for names, value, shown in (
                (options, True, text),
                (off, False, argparse.SUPPRESS),
            ):
                self._names += names
                group.add_argument(
                    *names, dest=dest, action="store_const", const=value, help=shown
                )
            return
        nargs = "*" if setting.several else None
        value = {"metavar": setting.metavar, "type": setting.read, "help": text}
        if setting.positional:
            self.usage = f"{self.usage} {setting.metavar}"
            optional = setting.default is not dataclasses.MISSING
            nargs = nargs or ("?" if optional else None)
            group.add_argument(dest, nargs=nargs, **value)
        else:
            self._names += options
            group.add_argument(*options, dest=dest, nargs=nargs, **value)

    def read(self, args: Sequence[str] | None) -> dict[str, Any]:
        """Return the values of the settings that are given, by dotted name."""
        words = list(sys.argv[1:] if args is None else args)
        end = words.index("--") if "--" in words else len(words)
        words = [*map(self._known, words[:end]), *words[end:]]
        found = vars(self.parse_intermixed_args(words))
        several = (name for name, value in found.items() if isinstance(value, list))
        return found | {name: tuple(found[name]) for name in several}

    def _known(self, word: str) -> str:
        """Return an argument with the name of its option as it is declared."""
        name, equals, value = word.partition("=")
        if not name.startswith("-") or not name.strip("-")[:1].isalpha():
            return word
        for spelled in (name, name.replace("_", "-")):
            if spelled in self._names:
                return spelled + equals + value
        self.error(unknown_option(name, self._names))

    def error(self, message: str) -> NoReturn:
        """Print a mistake in one line; end the process with status 2."""
        text = message
        for pattern, words in PHRASES:
            text = re.sub(pattern, words, text)
        hint = "" if "; " in text else "; --help lists the options"
        print(f"error: {text}{hint}", file=sys.stderr)
        raise SystemExit(2)


class _Help(argparse.RawDescriptionHelpFormatter):
    """Lists each option on a line of its own, with its sentences below."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=6, width=WIDTH)

    def _split_lines(self, text: str, width: int) -> list[str]:
        # Names such as --batch-size stay whole.
        return textwrap.wrap(text, width, break_on_hyphens=False)


def _described(setting: Setting) -> str:
    text, default = setting.help, setting.default
    if not (setting.positional or bool in setting.kinds or default in (None, "", ())):
        text += f" (default: {default})"
    return text.replace("%", "%%")


def filled(default: Flags, values: Mapping[str, Any], prefix: str = "") -> Flags:
    """Return `default` with values by dotted name, which begin with `prefix`.

    Names of other dataclasses are ignored.
    """
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(cast(Any, default)):
        old, name = getattr(default, field.name), prefix + field.name
        if dataclasses.is_dataclass(old):
            changes[field.name] = filled(cast(Any, old), values, f"{name}.")
        elif name in values:
            changes[field.name] = values[name]
    return dataclasses.replace(cast(Any, default), **changes)
