"""Writes the hostile files: each is refused, and none may run, hang, crash or swell."""

import gzip
import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
from torch_opcodes import (
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
)

TOUCH = "touch SENTINEL"
OPEN = "open('SENTINEL', 'w')"
WEIGHT = np.arange(6, dtype=np.float32).reshape(2, 3)


class Reduced:
    def __reduce__(self):
        return os.system, (TOUCH,)


def pickles() -> Iterator[tuple[str, bytes]]:
    getattr_ = name("builtins", "getattr")
    bodies = {
        "os_system": call(name("os", "system"), text(TOUCH)),
        "posix_system": call(name("posix", "system"), text(TOUCH)),
        "eval": call(name("builtins", "eval"), text(OPEN)),
        "exec": call(name("__builtin__", "exec"), text(OPEN)),
        "import": call(name("builtins", "__import__"), text("antigravity")),
        "popen": call(name("subprocess", "Popen"), text(TOUCH)),
        "runpy": call(name("runpy", "run_path"), text("evil.py")),
        "getattr_chain": call(call(getattr_, name("os", "path"), text("os")), text("")),
        "dotted_name": text("torch._utils")
        + text("_rebuild_tensor_v2.__globals__")
        + b"\x93",
        "torch_load": call(name("torch", "load"), text("x")),
        "numpy_load": call(name("numpy", "load"), text("x")),
        "codecs": call(name("_codecs", "decode"), text("x")),
        "inst": b"(S'" + TOUCH.encode() + b"'\nios\nsystem\n",
        "obj": b"(" + name("os", "system") + text(TOUCH) + b"o",
        "extension": b"\x82\x01",
        "persistent_name": b"P0\n",
        "build_on_function": REBUILD + b"}" + text("__code__") + b"Nsb",
        "build_on_tensor": one(tensor() + b"}" + text("offset") + number(9) + b"sb"),
        "storage_in_storage": one(tensor(of=storage(key=storage()))),
        "tensor_in_tensor": one(tensor(of=tensor())),
        "memo_far_away": b"r\xff\xff\xff\xff0",
        "memo_unknown": b"h\x07",
        "memo_cycle": b"]q\x00h\x00a",
        "memo_doubling": b"]q\x00" + b"(h\x00h\x00l2q\x00" * 60,
        "nested_lists": b"]" * 20_000 + b"a" * 19_999,
        "nested_tuples": b")" + b"\x85" * 20_000,
        "nested_key": b"})" + b"\x85" * 240_000 + b"Ns",
        "marks": b"(" * 1_000_000,
        "empty_dicts": b"}" * 1_000_000,
        "long_emoji": b"}" + text("😀" + "a" * 4_000_000) + b"Ns",
        "one_dict_many_names": many_names(),
        "pairs_again_and_again": pairs_again(),
        "arguments_again_and_again": arguments_again(),
        "text_length": b"X\xff\xff\xff\x7f",
        "bytes_length": b"\x8e" + struct.pack("<Q", 1 << 62),
        "array_length": b"\x96" + struct.pack("<Q", 1 << 40),
        "frame_length": b"\x95" + struct.pack("<Q", 1 << 62) + b"0",
        "digits": b"I" + b"9" * 1_000_000 + b"\n",
        "vast_tensor": one(tensor(size=ints(1 << 40, 1 << 40))),
        "vast_expanded": one(tensor(size=ints(1 << 40), stride=ints(0))),
        "vast_empty": one(tensor(size=ints(0, 1 << 62, 1 << 62), stride=ints(1, 1, 1))),
        "vast_storage": one(tensor(of=storage(numel=1 << 40))),
        "negative_offset": one(tensor(offset=number(-1))),
        "storage_traversal": one(tensor(of=storage(key=text("../../../etc/passwd")))),
    }
    for title, body in bodies.items():
        yield f"zip_{title}.pth", container(body)
    for title in ("os_system", "eval", "vast_storage", "one_dict_many_names"):
        yield f"legacy_{title}.pth", legacy(bodies[title])
    yield "plain_reduce.pkl", pickle.dumps({"w": Reduced()})
    yield "plain_reduce_0.pkl", pickle.dumps({"w": Reduced()}, 0)


def many_names() -> bytes:
    """One dict of 20 000 tensors, under 20 000 names."""
    tensors = b"".join(text(f"{i}") + b"h\x01" for i in range(20_000))
    names = b"".join(text(f"{i}") + b"h\x02" for i in range(20_000))
    inner = b"}q\x02(" + tensors + b"u"
    return tensor() + b"q\x010" + inner + b"0}(" + names + b"u"


def pairs_again() -> bytes:
    """An OrderedDict of the same 20 000 pairs, 20 000 times."""
    pairs = b"".join(text(f"{i}") + b"N\x86" for i in range(20_000))
    return (
        b"]("
        + pairs
        + b"e\x85q\x000]("
        + ORDERED_DICT
        + b"q\x01h\x00R"
        + (b"h\x01h\x00R" * 20_000 + b"e")
    )


def arguments_again() -> bytes:
    """A function that is called with 100 000 arguments, 40 000 times."""
    function = name("collections", "Counter") + b"q\x01"
    again = function + b"h\x00R" + b"h\x01h\x00R" * 40_000
    return b"(" + b"N" * 100_000 + b"tq\x000](" + again + b"e"


def npy(header: str, body: bytes = bytes(24), version: int = 1) -> bytes:
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + length + header.encode() + body


def npy_header(shape: str = "(2, 3)", descr: str = "'<f4'") -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n"


def archive(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as writer:
        for title, body in members:
            writer.writestr(title, body)
    return stream.getvalue()


def npz(header: str, **options: int) -> bytes:
    return archive(("w.npy", npy(header)), **options)


def patched(data: bytes, field: int, value: int, size: int = 4) -> bytes:
    """Change a field of the last entry in the directory of an archive."""
    offset = data.rindex(b"PK\1\2") + field
    return data[:offset] + value.to_bytes(size, "little") + data[offset + size :]


def arrays() -> Iterator[tuple[str, bytes]]:
    stream = io.BytesIO()
    np.savez(stream, w=np.array([Reduced()], dtype=object))
    yield "npz_objects.npz", stream.getvalue()
    headers = {
        "code": f"__import__('os').system({TOUCH!r})\n",
        "code_in_shape": npy_header(f"(__import__('os').system({TOUCH!r}),)"),
        "nested": npy_header("(" * 3000 + ")" * 3000),
        "minus_chain": npy_header("(" + "-" * 3000 + "1,)"),
        "vast_shape": npy_header(f"({1 << 40}, {1 << 20})"),
        "overflow": npy_header(f"({1 << 62}, 4, 6)"),
        "vast_empty": npy_header(f"(0, {1 << 62}, {1 << 62})"),
        "negative": npy_header("(-2, -3)"),
        "many_digits": npy_header(f"({'9' * 3900},)"),
        "structured": npy_header(descr="[('a', '<f4'), ('b', '|O')]"),
        "object": npy_header(descr="'|O'"),
        "text": npy_header(descr="'<U9999999'"),
        "sub_array": npy_header(descr="('<f4', (9999, 9999))"),
        "names": npy_header().replace("'shape'", "'sh\\x61pe'"),
    }
    for title, header in headers.items():
        yield f"npz_{title}.npz", npz(header)
    length = npy(npy_header())
    yield (
        "npz_header_length.npz",
        archive(("w.npy", length[:8] + b"\xff\xff" + length[10:])),
    )


def zips() -> Iterator[tuple[str, bytes]]:
    good = npz(npy_header())
    deflated = npz(npy_header(), method=zipfile.ZIP_DEFLATED)
    zeros = npy(npy_header(f"({16 << 20},)"), bytes(64 << 20))
    bomb = archive(("w.npy", zeros), method=zipfile.ZIP_DEFLATED)
    yield "zip_bomb.npz", bomb
    yield "zip_bomb.pth", archive(("m/data.pkl", zeros), method=zipfile.ZIP_DEFLATED)
    yield (
        "zip_bomb.keras",
        archive(("model.weights.h5", zeros), method=zipfile.ZIP_DEFLATED),
    )
    yield "zip_bomb_that_lies.npz", patched(bomb, 24, 152)
    yield "zip_declares_more.npz", patched(deflated, 24, 1 << 30)
    yield "zip_declares_a_bit_more.npz", patched(deflated, 24, 200)
    yield "zip_of_zip.npz", archive(("w.npy", bomb))
    yield "zip_stored_size.npz", patched(good, 24, 1 << 30)
    yield "zip_offset.npz", patched(good, 42, 1 << 31)
    yield "zip_offset_inside.npz", patched(good, 42, 3)
    yield "zip_wide_fields.npz", patched(good, 20, 2**64 - 1, 8)
    yield "zip_encrypted.npz", patched(good, 8, 1, 2)
    yield "zip_method.npz", patched(good, 10, 99, 2)
    for title in ("../w.npy", "/etc/w.npy", "a/../../w.npy", "..\\w.npy", "C:\\w.npy"):
        yield f"zip_name_{zlib.crc32(title.encode())}.npz", archive((title, b"x"))
    two = archive(("w.npy", npy(npy_header())), ("v.npy", npy(npy_header())))
    yield "zip_overlap.npz", patched(two, 42, 0)
    yield "zip_one_name_twice.npz", two.replace(b"v.npy", b"w.npy")
    yield "zip_many_members.npz", many_members()
    yield "zip_no_end.npz", good[:-22]
    yield "zip_directory_size.npz", good[:-10] + b"\xff\xff\xff\x7f" + good[-6:]
    wide = struct.pack(
        "<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, 1 << 62, 1 << 62
    )
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, len(good) - 22, 1)
    yield "zip_64.npz", good[:-22] + wide + locator + good[-22:]
    with io.BytesIO() as stream:
        with tarfile.open(fileobj=stream, mode="w") as tar:
            entry = tarfile.TarInfo("../w.npy")
            entry.size = len(good)
            tar.addfile(entry, io.BytesIO(good))
        yield "tar.pth", stream.getvalue()
    yield "gzip.safetensors", gzip.compress(bytes(1 << 20))


def many_members() -> bytes:
    """A hundred thousand members with the same local header."""
    local = archive(("w.npy", b""))[:35]
    entry = archive(("w.npy", b""))[35:-22]
    directory = b"".join(entry[:46] + f"{i:05}".encode() for i in range(100_000))
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 9, 9, len(directory), len(local), 0)
    return local + directory + end


def safetensors(header: str | bytes, body: bytes = bytes(24)) -> bytes:
    header = header.encode() if isinstance(header, str) else header
    return struct.pack("<Q", len(header)) + header + body


def entry(
    title: str = "w",
    shape: str = "[2, 3]",
    offset: str = "[0, 24]",
    dtype: str = '"F32"',
) -> str:
    return f'"{title}":{{"dtype":{dtype},"shape":{shape},"data_offsets":{offset}}}'


def headers() -> Iterator[tuple[str, bytes]]:
    entries = {
        "overlap": entry("v") + "," + entry(),
        "partial_overlap": entry("v", "[3]", "[0, 12]") + "," + entry(offset="[8, 32]"),
        "out_of_range": entry(offset="[24, 48]"),
        "gap": entry(shape="[2]", offset="[16, 24]"),
        "trailing": entry(shape="[2]", offset="[0, 8]"),
        "negative_offset": entry(offset="[-24, 0]"),
        "backwards": entry(offset="[24, 0]"),
        "vast_offset": entry(offset=f"[0, {1 << 70}]"),
        "vast_shape": entry(shape=f"[{1 << 60}]", offset=f"[0, {1 << 62}]"),
        "overflow": entry(shape=f"[{1 << 32}, {1 << 32}, 6]"),
        "vast_empty": entry(shape=f"[0, {1 << 62}, {1 << 62}]", offset="[0, 0]"),
        "negative_shape": entry(shape="[-2, -3]"),
        "float_shape": entry(shape="[2.0, 3.0]"),
        "true_shape": entry(shape="[true, 6]"),
        "text_shape": entry(shape='"23"'),
        "no_shape": '"w":{"dtype":"F32","data_offsets":[0,24]}',
        "many_dimensions": entry(shape=f"[{'1,' * 99}6]"),
        "nan": entry(shape="[NaN]"),
        "digits": entry(shape=f"[{'9' * 5000}]"),
        "dtype": entry(dtype='"F8_E4M3"'),
        "dtype_list": entry(dtype='["F32"]'),
        "twice": entry() + "," + entry(),
        "metadata": '"__metadata__":{"a":[1]},' + entry(),
        "metadata_list": '"__metadata__":[],' + entry(),
        "deep": f'"w":{"[" * 100_000}{"]" * 100_000}',
        "deep_objects": '"w":' + '{"a":' * 20_000 + "1" + "}" * 20_000,
        "many_lists": f'"w":[{"[]," * 300_000}[]]',
        "many_objects": f'"w":[{"{}," * 300_000}[]]',
        "emoji": f'"{"a" * 3_900_000}😀":1',
    }
    for title, inside in entries.items():
        yield f"st_{title}.safetensors", safetensors(f"{{{inside}}}")
    good = safetensors(f"{{{entry()}}}")
    yield "st_list.safetensors", safetensors("{}", b"")[:8] + b"[]"
    yield "st_bytes.safetensors", safetensors(b'{"\xff\xfe":1}')
    yield "st_nul.safetensors", safetensors(b"{" + bytes(99))
    yield "st_long_header.safetensors", safetensors("{" + " " * (5 << 20) + "}")
    for length in (1 << 63, 2**64 - 1, 1 << 40, 2**32 - 1, len(good), 1):
        yield f"st_{length}.safetensors", struct.pack("<Q", length) + good[8:]


def indexes() -> Iterator[tuple[str, bytes]]:
    yield "good.safetensors", safetensors(f"{{{entry()}}}")
    maps = {
        "traversal": {"w": "../good.safetensors"},
        "absolute": {"w": "/etc/passwd"},
        "backslash": {"w": "..\\good.safetensors"},
        "dots": {"w": ".."},
        "nul": {"w": "good\0.safetensors"},
        "empty_name": {"w": ""},
        "number": {"w": 3},
        "missing_file": {"w": "none.safetensors"},
        "missing_tensor": {"w": "good.safetensors", "v": "good.safetensors"},
        "other_tensor": {"v": "good.safetensors"},
        "itself": {"w": "itself.index.json"},
        "hostile": {"w": "zip_os_system.pth"},
        "many": {f"w{i}": f"{i}.safetensors" for i in range(10_000)},
    }
    for title, files_of in maps.items():
        yield f"{title}.index.json", json.dumps({"weight_map": files_of}).encode()
    twice = '{"weight_map":{"w":"none.safetensors","w":"good.safetensors"}}'
    yield "twice.index.json", twice.encode()
    yield "no_map.index.json", b'{"weight_map":[]}'
    yield "deep.index.json", b"[" * 100_000
    yield "vast.index.json", b'{"weight_map":{' + b" " * (5 << 20) + b"}}"


def write_hdf5(folder: Path) -> None:
    """Write what only the HDF5 library can: other links, storages and layouts."""

    def file(title: str, **options: str) -> h5py.File:
        return h5py.File(folder / f"h5_{title}.h5", "w", **options)

    with file("cycle") as f:
        f["a/w"] = WEIGHT
        f["a/again"] = f["a"]
    with file("cycle_of_two") as f:
        f["a/b/w"] = WEIGHT
        f["a/b/c"] = f["a"]
    with file("root_in_itself") as f:
        f["a"] = f["/"]
    with file("array_twice") as f:
        f["a"] = WEIGHT
        f["b"] = f["a"]
    with file("soft_link") as f:
        f["a"] = WEIGHT
        f["b"] = h5py.SoftLink("/a")
    with file("external_link") as f:
        f["a"] = h5py.ExternalLink("h5_good.h5", "/a")
    with file("external_storage") as f:
        f.create_dataset("a", (9,), "u1", external=[("/etc/passwd", 0, 9)])
    with file("virtual") as f:
        layout = h5py.VirtualLayout((9,), "u1")
        layout[:] = h5py.VirtualSource("/etc/passwd", "a", (9,))
        f.create_virtual_dataset("a", layout)
    with file("compressed") as f:
        f.create_dataset("a", data=np.zeros(8 << 20, "u1"), compression="gzip")
    with file("chunked") as f:
        f.create_dataset("a", data=WEIGHT, chunks=(1, 3))
    with file("vast") as f:
        f.create_dataset("a", (1 << 40, 1 << 10), "f4")
    with file("no_data") as f:
        f.create_dataset("a", (1 << 10,), "f4")
    with file("text") as f:
        f["a"] = "text"
    with file("compound") as f:
        f["a"] = np.zeros(3, [("x", "f4"), ("y", "i4")])
    with file("big_endian") as f:
        f["a"] = WEIGHT.astype(">f4")
    with file("newest", libver="latest") as f:
        f["a"] = WEIGHT
    with file("deep") as f:
        f["/".join("g" * 600)] = WEIGHT
    with file("good") as f:
        f["a/w"] = WEIGHT
        f["a"].attrs["name"] = "own"


def hdf5s(folder: Path) -> Iterator[tuple[str, bytes]]:
    write_hdf5(folder)
    good = (folder / "h5_good.h5").read_bytes()
    (folder / "h5_good.h5").unlink()
    tree, heap = good.index(b"TREE"), good.index(b"HEAP")
    leaf = good.index(b"SNOD")

    def changed(offset: int, value: int, size: int = 8) -> bytes:
        return good[:offset] + value.to_bytes(size, "little") + good[offset + size :]

    yield (
        "h5_tree_of_itself.h5",
        (
            changed(tree + 5, 1, 1)[: tree + 32]
            + struct.pack("<Q", tree)
            + good[tree + 40 :]
        ),
    )
    yield "h5_tree_count.h5", changed(tree + 6, 65535, 2)
    yield "h5_tree_child.h5", changed(tree + 32, 1 << 62)
    yield "h5_leaf_count.h5", changed(leaf + 6, 65535, 2)
    yield "h5_name_far_away.h5", changed(leaf + 8, 1 << 62)
    yield "h5_heap_size.h5", changed(heap + 8, 1 << 62)
    yield "h5_heap_place.h5", changed(heap + 24, 1 << 62)
    yield "h5_root_far_away.h5", changed(64, 1 << 62)
    yield "h5_offsets_of_4.h5", changed(13, 4, 1)
    yield "h5_longer.h5", changed(40, 1 << 40)
    yield "h5_cut.h5", good[:-5]
    yield "h5_signature_alone.h5", good[:8]
    yield "h5_header_size.h5", changed(96 + 8, 2**31, 4)
    yield "h5_header_of_itself.h5", changed(96 + 16, 0x10, 2)
    yield (
        "h5_deflated.keras",
        archive(("model.weights.h5", good), method=zipfile.ZIP_DEFLATED),
    )
    yield "h5_cut.keras", archive(("model.weights.h5", good[:-9]))
    config = b'{"config":{"layers":' + b"[" * 100_000 + b"}"
    plain = good.replace(b"name\0", b"nome\0")
    yield (
        "h5_config.keras",
        archive(("model.weights.h5", plain), ("config.json", config)),
    )


def write_all(folder: Path) -> list[Path]:
    """Write every hostile file; returns their paths, except the honest shard."""
    sources = (pickles(), arrays(), zips(), headers(), indexes(), hdf5s(folder))
    for source in sources:
        for title, data in source:
            (folder / title).write_bytes(data)
    return sorted(path for path in folder.iterdir() if path.name != "good.safetensors")
