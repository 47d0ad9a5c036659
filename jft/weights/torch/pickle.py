"""Reads a PyTorch pickle as data: it interprets the opcodes and never runs a pickle.

Python's `Unpickler` stays unsafe behind an allow-list of names: one opcode makes it
fill gigabytes of memo, a deeply nested key overflows the C stack, and BUILD sets
attributes on whatever a name maps to. Here `pickletools` decodes the opcodes and a
small machine applies them to a closed set of values: scalars, lists, tuples, dicts
with string keys, `Storage`, `Tensor`, and names of our own functions.
"""

import io
import pickletools
from collections.abc import Callable, Sized
from typing import Any, NamedTuple

import numpy as np

from jft.errors import InputError
from jft.weights.torch.names import (
    GLOBALS,
    UNREAD,
    Entries,
    Global,
    Storage,
    read_storage,
)

_LONGEST = 4 << 20
# Seven thousand tensors; a ResNet-152 with AdamW's state and an average has three. An
# empty dict takes 1 byte of a pickle and 120 of memory.
_MOST_STEPS = 250_000


class Pickled(NamedTuple):
    """What one pickle holds.

    Attributes:
        value: The object.
        storages: Every storage that it names, by key.
        end: The position after the pickle's last byte.
    """

    value: Any
    storages: dict[str, Storage]
    end: int


def unpickle(data: bytes, start: int = 0) -> Pickled:
    """Read the pickle that begins at `start` without running anything it names.

    Raises:
        InputError: If it names anything but tensors and plain values, or is damaged.
    """
    stream = io.BytesIO(data)
    stream.seek(start)
    machine = _Machine(data)
    position = start
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            if opcode.name not in _OPCODES:
                raise InputError(f"refuses the pickle opcode {opcode.name}")
            machine.spend(1)
            _OPCODES[opcode.name](machine, argument)
            position = stream.tell()
            if position - start > _LONGEST:
                raise InputError(f"its pickle is longer than {_LONGEST >> 20} MiB")
        return Pickled(machine.stack.pop(), machine.storages, position)
    except InputError:
        raise
    # A bad escape in a name is a DeprecationWarning, an error under strict filters.
    except (ValueError, TypeError, LookupError, AttributeError, DeprecationWarning):
        raise InputError(
            f"its pickle is cut short or damaged at byte {position}"
        ) from None


class _Machine:
    """The stack, the memo and the storages met while one pickle is read."""

    def __init__(self, source: bytes) -> None:
        self.source = source
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}
        self.steps = 0

    def spend(self, steps: int) -> None:
        self.steps += steps
        if self.steps > _MOST_STEPS:
            raise InputError(f"its pickle takes more than {_MOST_STEPS} steps to read")

    def mark(self) -> None:
        self.marked.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[Any]:
        items = self.stack
        self.stack = self.marked.pop()
        return items

    def top(self, count: int) -> tuple[Any, ...]:
        if len(self.stack) < count:
            raise IndexError
        items = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return tuple(items)

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def extend(self, items: list[Any]) -> None:
        self.stack[-1].extend(items)

    def store(self, items: list[Any]) -> None:
        self.stack[-1].store(items)

    def make_dict(self, items: list[Any]) -> None:
        self.push(Entries())
        self.store(items)

    def remember(self, index: int | None) -> None:
        self.memo[len(self.memo) if index is None else index] = self.stack[-1]

    def find(self, name: str) -> None:
        if name not in GLOBALS:
            raise InputError(_refusal(name, self.source))
        self.push(Global(name, GLOBALS[name]))

    def find_on_stack(self) -> None:
        self.find(".".join(self.top(2)))

    def call(self) -> None:
        function, arguments = self.top(2)
        if not isinstance(function, Global) or isinstance(function.value, np.dtype):
            raise TypeError
        # A memo lets a few opcodes pass a large object any number of times.
        self.spend(sum(map(_length, (arguments, *arguments))))
        self.push(function.value(*arguments))

    def build(self) -> None:
        (_,) = self.top(1)
        target = self.stack[-1]
        # An OrderedDict's attributes (`_metadata`) do not describe its tensors.
        if target is not UNREAD and not isinstance(target, Entries):
            raise InputError("refuses the pickle opcode BUILD: it sets attributes")

    def find_storage(self) -> None:
        (identity,) = self.top(1)
        storage = read_storage(*identity)
        known = self.storages.setdefault(storage.key, storage)
        if (known.dtype, known.numel) != (storage.dtype, storage.numel):
            raise InputError(f"describes storage {known.key!r:.80} in two ways")
        self.push(storage)


def _length(value: Any) -> int:
    return len(value) if isinstance(value, Sized) else 0


def _refusal(name: str, source: bytes) -> str:
    shown = ascii(name)[1:-1][:120]
    if b"_parameters" in source and b"_modules" in source:
        return (
            f"refuses to load {shown}: the file contains a whole model, "
            "torch.save(model), which only its own code can read; "
            "save model.state_dict() instead"
        )
    return (
        f"refuses to load {shown}: jft reads dicts of dense tensors and runs no code "
        "from a file; save model.state_dict() alone"
    )


_Operation = Callable[[_Machine, Any], object]


def _for_each(names: str, operation: _Operation) -> dict[str, _Operation]:
    return dict.fromkeys(names.split(), operation)


# INST, OBJ, EXT*, PERSID, NEXT_BUFFER are absent: torch.save writes none of them.
_OPCODES: dict[str, _Operation] = {
    **_for_each("PROTO FRAME STOP", lambda m, a: None),
    **_for_each(
        "INT LONG BININT BININT1 BININT2 LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING "
        "SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES "
        "SHORT_BINBYTES BINBYTES8 BYTEARRAY8",
        lambda m, a: m.push(a),
    ),
    "NONE": lambda m, a: m.push(None),
    "NEWTRUE": lambda m, a: m.push(True),
    "NEWFALSE": lambda m, a: m.push(False),
    "EMPTY_DICT": lambda m, a: m.push(Entries()),
    "EMPTY_LIST": lambda m, a: m.push([]),
    "EMPTY_TUPLE": lambda m, a: m.push(()),
    "EMPTY_SET": lambda m, a: m.push(UNREAD),
    "MARK": lambda m, a: m.mark(),
    "POP": lambda m, a: m.top(1),
    "POP_MARK": lambda m, a: m.since_mark(),
    "DUP": lambda m, a: m.push(m.stack[-1]),
    "TUPLE": lambda m, a: m.push(tuple(m.since_mark())),
    "TUPLE1": lambda m, a: m.push(m.top(1)),
    "TUPLE2": lambda m, a: m.push(m.top(2)),
    "TUPLE3": lambda m, a: m.push(m.top(3)),
    "LIST": lambda m, a: m.push(m.since_mark()),
    "DICT": lambda m, a: m.make_dict(m.since_mark()),
    "FROZENSET": lambda m, a: (m.since_mark(), m.push(UNREAD)),
    "APPEND": lambda m, a: m.extend(list(m.top(1))),
    "APPENDS": lambda m, a: m.extend(m.since_mark()),
    "ADDITEMS": lambda m, a: m.since_mark(),
    "SETITEM": lambda m, a: m.store(list(m.top(2))),
    "SETITEMS": lambda m, a: m.store(m.since_mark()),
    **_for_each("PUT BINPUT LONG_BINPUT MEMOIZE", lambda m, a: m.remember(a)),
    **_for_each("GET BINGET LONG_BINGET", lambda m, a: m.push(m.memo[a])),
    "GLOBAL": lambda m, a: m.find(a.replace(" ", ".", 1)),
    "STACK_GLOBAL": lambda m, a: m.find_on_stack(),
    **_for_each("REDUCE NEWOBJ", lambda m, a: m.call()),
    "BUILD": lambda m, a: m.build(),
    "BINPERSID": lambda m, a: m.find_storage(),
}
