"""Assembles torch files opcode by opcode, the good ones and the hostile ones."""

import io
import pickle
import struct
import zipfile

import numpy as np


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    return pickle.dumps(value, 2)[2:-1]


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def tuple_of(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + tuple_of(*arguments) + b"R"


def ints(*values: int) -> bytes:
    return tuple_of(*map(number, values))


FLOATS = name("torch", "FloatStorage")
REBUILD = name("torch._utils", "_rebuild_tensor_v2")
ORDERED_DICT = name("collections", "OrderedDict")


def storage(kind: bytes = FLOATS, key: bytes = text("0"), numel: int = 6) -> bytes:
    return tuple_of(text("storage"), kind, key, text("cpu"), number(numel)) + b"Q"


def tensor(
    offset: bytes = number(0),
    size: bytes = ints(2, 3),
    stride: bytes = ints(3, 1),
    of: bytes = storage(),
) -> bytes:
    return call(REBUILD, of, offset, size, stride, b"\x89", call(ORDERED_DICT))


def one(value: bytes) -> bytes:
    return b"}" + text("w") + value + b"s"


def container(body: bytes, compress: int = 0, inside: str = "m/data/0") -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compress) as archive:
        archive.writestr("m/data.pkl", b"\x80\x02" + body + b".", zipfile.ZIP_STORED)
        archive.writestr(inside, np.arange(6, dtype="<f4").tobytes())
    return stream.getvalue()


def legacy(body: bytes, keys: bytes = b"](" + text("0") + b"e") -> bytes:
    head = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    pickles = b"".join(pickle.dumps(part, 2) for part in head)
    elements = struct.pack("<Q", 6) + np.arange(6, dtype="<f4").tobytes()
    return pickles + b"\x80\x02" + body + b".\x80\x02" + keys + b"." + elements
