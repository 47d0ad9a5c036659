"""Hostile pickles, assembled opcode by opcode."""

import contextlib
import io
import os
import resource
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from refusals import refusal
from torch_opcodes import (
    FLOATS,
    ORDERED_DICT,
    REBUILD,
    call,
    container,
    ints,
    legacy,
    name,
    number,
    one,
    storage,
    tensor,
    text,
    tuple_of,
)

from jft.errors import InputError
from jft.weights.files import read_tensors


def short(value: object) -> str:
    return value[:40] if isinstance(value, str) else "pickle"


@pytest.mark.parametrize("wrap", [container, legacy])
def test_the_assembler_writes_what_is_read(tmp_path: Path, wrap):
    path = tmp_path / "good.pth"
    path.write_bytes(wrap(one(tensor())))
    expected = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(read_tensors(path).tensors["w"], expected)


TOUCH = text("touch SENTINEL")
GETATTR = name("builtins", "getattr")


@pytest.mark.parametrize("wrap", [container, legacy])
@pytest.mark.parametrize(
    ("body", "culprit"),
    [
        (call(name("os", "system"), TOUCH), "to load os.system"),
        (call(name("posix", "system"), TOUCH), "to load posix.system"),
        (call(name("nt", "system"), TOUCH), "to load nt.system"),
        (
            call(name("builtins", "eval"), text("open('SENTINEL', 'w')")),
            "to load builtins.eval",
        ),
        (
            call(name("__builtin__", "exec"), text("open('SENTINEL', 'w')")),
            "to load __builtin__.exec",
        ),
        (
            call(name("subprocess", "run"), b"]" + text("touch SENTINEL") + b"a"),
            "to load subprocess.run",
        ),
        (
            call(call(GETATTR, name("os", "path"), text("join")), TOUCH),
            "to load builtins.getattr",
        ),
        (
            text("torch._utils")
            + text("_rebuild_tensor_v2.__globals__")
            + b"\x93"
            + b"0}",
            "to load torch._utils._rebuild_tensor_v2.__globals__",
        ),
        (name("torch._utils", "__dict__"), "to load torch._utils.__dict__"),
        (
            name("torch.storage", "_load_from_bytes"),
            "to load torch.storage._load_from_bytes",
        ),
        (name("numpy", "load"), "to load numpy.load"),
        (name("torch", "load"), "to load torch.load"),
        (
            name("jft.weights.torch.names", "GLOBALS"),
            "to load jft.weights.torch.names.GLOBALS",
        ),
        (name("os", "system" * 1000), "to load os.systemsystem"),
        (b"(S'touch SENTINEL'\nios\nsystem\n", "the pickle opcode INST"),
        (b"(" + name("os", "system") + TOUCH + b"o", "to load os.system"),
        (b"\x82\x01", "the pickle opcode EXT1"),
        (b"P0\n", "the pickle opcode PERSID"),
    ],
    ids=short,
)
def test_code_is_named_and_not_run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    wrap,
    body: bytes,
    culprit: str,
):
    monkeypatch.chdir(tmp_path)
    assert f"refuses {culprit}" in refusal(tmp_path / "x.pth", wrap(body))
    assert os.listdir(tmp_path) == ["x.pth"]


@pytest.mark.parametrize("wrap", [container, legacy])
@pytest.mark.parametrize(
    ("body", "culprit"),
    [
        (tensor(offset=number(1)), "needs 7 elements, and its storage has 6"),
        (tensor(offset=number(-1)), "not a whole number"),
        (tensor(offset=number(1 << 62)), "its storage has 6"),
        (tensor(offset=number(1 << 9000)), "not a whole number"),
        (tensor(offset=b"\x88"), "not a whole number"),
        (tensor(offset=text("0")), "not a whole number"),
        (tensor(size=ints(2, -3)), "not a whole number"),
        (tensor(size=ints(1 << 40, 1 << 40)), "its storage has 6"),
        (tensor(size=ints(1 << 40), stride=ints(0)), "repeats the 6 elements"),
        (tensor(size=ints(0, 1 << 62, 1 << 62), stride=ints(1, 1, 1)), "unusable"),
        (tensor(stride=ints(4, 1)), "needs 7 elements"),
        (tensor(stride=ints(3, -1)), "not a whole number"),
        (tensor(stride=ints(3)), "2 sizes and 1 strides"),
        (tensor(size=ints(*[1] * 99), stride=ints(*[1] * 99)), "99 dimensions"),
        (tensor(size=text("ab")), "a list was expected where it has a str"),
        (tensor(of=storage(numel=1 << 40)), "'w'"),
        (tensor(of=storage(numel=-6)), "not a whole number"),
        (tensor(of=storage(kind=name("torch", "DoubleStorage"))), "'w'"),
        (tensor(of=text("0")), "damaged"),
        (tensor(of=storage(kind=REBUILD)), "damaged"),
        (tensor(of=storage(key=number(0))), "damaged"),
        (call(REBUILD, tensor()), "damaged"),
        (call(REBUILD), "damaged"),
        (call(FLOATS, number(1)), "damaged"),
        (call(name("torch", "float32"), number(1 << 40)), "damaged"),
        (call(name("torch._utils", "_rebuild_parameter"), text("x")), "damaged"),
        (b"}" + tuple_of() + b"R", "damaged"),
        (REBUILD + b"}" + text("__defaults__") + tuple_of() + b"sb", "opcode BUILD"),
        (ORDERED_DICT + b"}" + text("__call__") + b"Nsb", "opcode BUILD"),
        (tensor() + b"}" + text("offset") + number(9) + b"sb", "opcode BUILD"),
        (b"]" + b"N}" + text("append") + b"Ns\x86b", "opcode BUILD"),
        (tensor() + text("x") + b"a", "damaged"),
        (tensor() + text("x") + b"Ns", "damaged"),
    ],
    ids=short,
)
def test_bad_arguments_are_refused(tmp_path: Path, wrap, body: bytes, culprit: str):
    assert culprit in refusal(tmp_path / "x.pth", wrap(one(body)))


def test_attributes_of_a_dict_cannot_replace_its_methods(tmp_path: Path):
    state = b"}" + text("items") + b"N" + b"s" + b"}" + text("__class__") + b"Ns\x86"
    path = tmp_path / "odd.pth"
    path.write_bytes(container(call(ORDERED_DICT) + state + b"b" + one(tensor())[1:]))
    assert read_tensors(path).tensors["w"].shape == (2, 3)


NESTED = 120_000


@pytest.mark.parametrize(
    ("body", "culprit"),
    [
        (b"r\xff\xff\xff\xff0", "damaged"),
        (b"h\x07", "damaged"),
        (b"\x8b\xff\xff\xff\x7f", "damaged"),
        (b"\x8b\xff\xff\xff\xff", "damaged"),
        (b"X\xff\xff\xff\xff", "damaged"),
        (b"\x8e" + struct.pack("<Q", 1 << 62), "damaged"),
        (b"\x96" + struct.pack("<Q", 1 << 40), "damaged"),
        (b"\x95" + struct.pack("<Q", 1 << 62) + b"0", "damaged"),
        (b"I" + b"9" * 10_000 + b"\n", "damaged"),
        (b"cos\\s\nsystem\n", "damaged"),
        (b"R", "damaged"),
        (b"t", "damaged"),
        (b"\xff", "damaged"),
        (b"}(" + text("w") + b"u", "damaged"),
        (b"]" * NESTED + b"a" * (NESTED - 1), "contains a list"),
        (b")" + b"\x85" * NESTED, "contains a tuple"),
        (b"})" + b"\x85" * NESTED + b"Ns", "it has nothing"),
        (b"(" * NESTED, "damaged"),
        (b"]q\x00h\x00a", "contains a list"),
        (b"}q\x00" + text("model") + b"h\x00s", "it has 'model'"),
        (b"]q\x00" + b"(h\x00h\x00l2q\x00" * 60, "contains a list"),
        (one(tensor(size=b"]q\x09h\x09a")), "not a whole number"),
    ],
    ids=short,
)
def test_depth_and_size_do_no_harm(tmp_path: Path, body: bytes, culprit: str):
    assert culprit in refusal(tmp_path / "x.pth", container(body))


def test_refusing_takes_no_memory(tmp_path: Path):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for size in (ints(1 << 33), ints(1 << 20, 1 << 20)):
        refusal(tmp_path / "x.pth", container(one(tensor(size=size, stride=size))))
    refusal(tmp_path / "x.pth", container(b"r\xff\xff\xff\xff"))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 64 << 10  # KiB


def test_a_compressed_member_is_refused(tmp_path: Path):
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/data.pkl", bytes(10_000_000))
    assert "'m/data.pkl' is compressed" in refusal(tmp_path / "x.pth", bomb.getvalue())
    data = container(one(tensor()), zipfile.ZIP_DEFLATED)
    assert "the data of 'w', is compressed" in refusal(tmp_path / "x.pth", data)


def test_member_sizes_and_places_outside_the_file_are_refused(tmp_path: Path):
    data = container(one(tensor()))
    entry = data.rindex(b"PK\x01\x02")
    for field, value in ((24, 1 << 31), (42, 1 << 31), (42, 3)):  # size, offset, offset
        changed = bytearray(data)
        changed[entry + field : entry + field + 4] = struct.pack("<I", value)
        refusal(tmp_path / "x.pth", bytes(changed))


@pytest.mark.parametrize("key", ["../../etc/passwd", "/etc/passwd", "..", "\x00", ""])
def test_a_storage_key_is_never_a_path(tmp_path: Path, key: str):
    message = refusal(
        tmp_path / "x.pth", container(one(tensor(of=storage(key=text(key)))))
    )
    assert "the data of 'w', is missing" in message


def test_two_members_of_one_name_are_refused(tmp_path: Path):
    data = container(one(tensor()), inside="m/data.pkk").replace(b".pkk", b".pkl")
    assert "two members named" in refusal(tmp_path / "x.pth", data)


@pytest.mark.parametrize(
    ("keys", "culprit"),
    [
        (number(3), "a list was expected"),
        (b"](" + number(0) + b"e", "lists a storage that nothing uses"),
        (b"](" + text("9") + b"e", "lists a storage that nothing uses"),
        (b"]", "has no data for tensor 'w'"),
        (b"](" + text("0") + text("0") + b"e", "cut short in the data of 'w'"),
    ],
)
def test_wrong_legacy_keys_are_refused(tmp_path: Path, keys: bytes, culprit: str):
    assert culprit in refusal(tmp_path / "x.pth", legacy(one(tensor()), keys))


def test_one_storage_described_in_two_ways_is_refused(tmp_path: Path):
    other = tensor(of=storage(kind=name("torch", "IntStorage")))
    body = b"}" + text("a") + tensor() + b"s" + text("b") + other + b"s"
    assert "storage '0' in two ways" in refusal(tmp_path / "x.pth", legacy(body))


@pytest.mark.parametrize("wrap", [container, legacy])
def test_random_damage_gives_an_array_or_an_input_error(tmp_path: Path, wrap):
    good = wrap(one(tensor()))
    path = tmp_path / "noise.pth"
    rng = np.random.default_rng(0)
    for _ in range(300):
        changed = bytearray(good)
        for _ in range(rng.integers(1, 4)):
            changed[rng.integers(len(good))] = rng.integers(256)
        path.write_bytes(changed)
        with contextlib.suppress(InputError):
            tensors = read_tensors(path).tensors
            assert all(array.size <= 6 for array in tensors.values())


def test_an_untyped_storage_is_read_as_the_tensor_s_dtype(tmp_path: Path):
    untyped = storage(name("torch.storage", "UntypedStorage"), numel=24)
    layout = (number(1), ints(2), ints(2), b"\x89", b"}")
    body = call(
        name("torch._utils", "_rebuild_tensor_v3"),
        *(untyped, *layout, name("torch", "uint32")),
    )
    path = tmp_path / "untyped.pth"
    path.write_bytes(container(one(body)))
    elements = np.arange(6, dtype="<f4").view("<u4")
    found = read_tensors(path).tensors["w"]
    np.testing.assert_array_equal(found, elements[1:5:2])
    assert found.dtype == np.uint32
