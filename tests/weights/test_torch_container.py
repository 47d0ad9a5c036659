import argparse
import io
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from refusals import read, refusal

from jft.errors import InputError
from jft.weights.files import read_tensors

MAGIC = 0x1950A86A20F9469CFC6C
DTYPES = {
    "HalfStorage": np.float16,
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "CharStorage": np.int8,
    "ShortStorage": np.int16,
    "IntStorage": np.int32,
    "LongStorage": np.int64,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


@dataclass(frozen=True, eq=False)
class Storage:
    key: str
    elements: np.ndarray
    view: tuple[str, int, int] | None = None


@dataclass(frozen=True, eq=False)
class Tensor:
    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Parameter:
    data: Tensor


class Writer(pickle.Pickler):
    """Writes the globals and persistent ids that torch.save does."""

    def __init__(self, protocol: int, legacy: bool) -> None:
        self.stream = io.BytesIO()
        super().__init__(self.stream, protocol)
        self.legacy = legacy
        self.storages: dict[str, np.ndarray] = {}

    def persistent_id(self, obj: Any) -> Any:
        if not isinstance(obj, Storage):
            return None
        self.storages[obj.key] = obj.elements
        name = {np.dtype(kind): name for name, kind in DTYPES.items()}
        kind = getattr(sys.modules["torch"], name[obj.elements.dtype])
        identity = ("storage", kind, obj.key, "cuda:0", obj.elements.size)
        return (*identity, obj.view) if self.legacy else identity

    def reducer_override(self, obj: Any) -> Any:
        rebuild: Any = sys.modules["torch._utils"]
        if isinstance(obj, Tensor):
            arguments = (obj.storage, obj.offset, obj.size, obj.stride)
            return rebuild._rebuild_tensor_v2, (*arguments, False, OrderedDict())
        if isinstance(obj, Parameter):
            return rebuild._rebuild_parameter, (obj.data, True, OrderedDict())
        return NotImplemented


@pytest.fixture(autouse=True)
def _fake_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    torch: Any = types.ModuleType("torch")
    utils: Any = types.ModuleType("torch._utils")
    for name in DTYPES:
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    for name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
        function = types.FunctionType((lambda: None).__code__, {}, name)
        function.__module__, function.__qualname__ = "torch._utils", name
        setattr(utils, name, function)
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)


def tensor(array: np.ndarray, key: str = "0") -> Tensor:
    strides = tuple(step // array.itemsize for step in array.strides)
    return Tensor(Storage(key, array.ravel()), 0, array.shape, strides)


def zip_bytes(value: Any, protocol: int = 2, byteorder: bytes = b"little") -> bytes:
    writer = Writer(protocol, legacy=False)
    writer.dump(value)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("resnet/data.pkl", writer.stream.getvalue())
        archive.writestr("resnet/byteorder", byteorder)
        for key, elements in writer.storages.items():
            archive.writestr(f"resnet/data/{key}", elements.tobytes())
    return stream.getvalue()


def legacy_bytes(value: Any, protocol: int = 2, little_endian: bool = True) -> bytes:
    writer = Writer(protocol, legacy=True)
    writer.dump(value)
    keys = sorted(writer.storages)
    system = {"protocol_version": 1001, "little_endian": little_endian}
    head = b"".join(pickle.dumps(part, protocol) for part in (MAGIC, 1001, system))
    raw = [struct.pack("<q", writer.storages[k].size) for k in keys]
    data = [writer.storages[k].tobytes() for k in keys]
    body = writer.stream.getvalue() + pickle.dumps(keys, protocol)
    return head + body + b"".join(map(b"".join, zip(raw, data, strict=True)))


CONTAINERS = pytest.mark.parametrize(
    "to_bytes", [zip_bytes, legacy_bytes], ids=["zip", "legacy"]
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.pth"


@CONTAINERS
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("kind", DTYPES.values(), ids=list(DTYPES))
def test_each_dtype_keeps_its_bits(path: Path, to_bytes: Any, kind: Any, protocol: int):
    array = (np.arange(-6, 6).reshape(3, 4) / 3).astype(kind)
    found = read(path, to_bytes({"w": tensor(array)}, protocol))["w"]
    assert found.dtype == np.dtype(kind)
    np.testing.assert_array_equal(found, array)


@CONTAINERS
def test_views_of_one_storage_have_their_offsets_and_strides(path: Path, to_bytes: Any):
    flat = np.arange(24, dtype=np.float32)
    storage = Storage("7", flat)
    found = read(
        path,
        to_bytes(
            {
                "offset": Tensor(storage, 5, (2, 3), (3, 1)),
                "transposed": Tensor(storage, 0, (6, 4), (1, 6)),
                "channels_last": Tensor(storage, 0, (1, 4, 2, 3), (24, 1, 12, 4)),
                "scalar": Tensor(storage, 23, (), ()),
                "empty": Tensor(storage, 24, (0, 3), (3, 1)),
                "parameter": Parameter(Tensor(storage, 0, (24,), (1,))),
            }
        ),
    )
    np.testing.assert_array_equal(found["offset"], flat[5:11].reshape(2, 3))
    np.testing.assert_array_equal(found["transposed"], flat.reshape(4, 6).T)
    channels_last = flat.reshape(1, 2, 3, 4).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(found["channels_last"], channels_last)
    assert found["scalar"].shape == ()
    assert found["scalar"] == 23
    assert found["empty"].shape == (0, 3)
    np.testing.assert_array_equal(found["parameter"], flat)
    assert np.shares_memory(found["offset"], found["parameter"])


def test_a_legacy_storage_view_starts_at_its_own_offset(path: Path):
    storage = Storage("1", np.arange(10, dtype=np.int32), view=("2", 4, 5))
    data = legacy_bytes({"w": Tensor(storage, 1, (4,), (1,))})
    np.testing.assert_array_equal(read(path, data)["w"], [5, 6, 7, 8])
    outside = Storage("1", np.arange(10, dtype=np.int32), view=("2", 4, 7))
    message = refusal(path, legacy_bytes({"w": Tensor(outside, 0, (4,), (1,))}))
    assert "a view outside its 10 elements" in message


WEIGHT = np.arange(6, dtype=np.float32).reshape(2, 3)
OPTIMIZER = {"state": {0: {"momentum": tensor(WEIGHT, "9")}}, "param_groups": [{}]}


@CONTAINERS
@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: {"state_dict": model, "epoch": 3, "best_prec1": 91.5},
        lambda model: {"model": model, "optimizer": OPTIMIZER, "ema": model},
        lambda model: {"model_state_dict": model, "args": argparse.Namespace(lr=0.1)},
        lambda model: {"net": model, "best": tensor(WEIGHT, "8"), "rng": {1, 2}},
        lambda model: {"params": model, "acc": np.float64(0.5), (1, (2,)): 1},
        lambda model: OrderedDict(model, **{"note": "not a tensor"}),
    ],
)
def test_a_state_dict_is_found_inside_a_checkpoint(
    path: Path, to_bytes: Any, wrap: Any
):
    model = {"a.weight": tensor(WEIGHT), "a.bias": tensor(WEIGHT[0], "1")}
    found = read(path, to_bytes(wrap(model)))
    assert list(found) == ["a.weight", "a.bias"]
    np.testing.assert_array_equal(found["a.weight"], WEIGHT)


AVERAGE = {"a.weight": tensor(WEIGHT + 1, "2"), "a.bias": tensor(WEIGHT[0] + 1, "3")}


@pytest.mark.parametrize(
    ("wrap", "entry"),
    [
        (lambda raw, ema: {"state_dict": raw, "state_dict_ema": ema}, "state_dict_ema"),
        (lambda raw, ema: {"model": raw, "model_ema": ema, "epoch": 3}, "model_ema"),
        (lambda raw, ema: {"weights": raw, "weights_ema": ema}, "weights_ema"),
        (lambda raw, ema: {"params": raw, "params_ema": ema}, "params_ema"),
        (lambda raw, ema: {"model": raw, "ema": {"module": ema, "n": 1}}, "ema.module"),
        (lambda raw, ema: {"student": raw, "teacher": ema}, "teacher"),
        (lambda raw, ema: {"checkpoint": {"state_dict": ema}}, "checkpoint.state_dict"),
        (lambda raw, ema: {"model": {"net": {"backbone": ema}}}, "model.net.backbone"),
        (lambda raw, ema: {"state_dict_ema": None, "state_dict": ema}, "state_dict"),
    ],
)
def test_averages_go_before_raw_weights_as_in_timm(path: Path, wrap: Any, entry: str):
    raw = {"a.weight": tensor(WEIGHT), "a.bias": tensor(WEIGHT[0], "1")}
    path.write_bytes(zip_bytes(wrap(raw, AVERAGE)))
    contents = read_tensors(path)
    assert contents.entry == entry
    np.testing.assert_array_equal(contents.tensors["a.weight"], WEIGHT + 1)
    # By its whole name, and by the last part of it.
    for key in (entry, entry.rpartition(".")[2]):
        chosen = read_tensors(path, key)
        assert chosen.entry == entry


def test_any_entry_can_be_chosen_by_its_key(path: Path):
    raw = {"a.weight": tensor(WEIGHT), "a.bias": tensor(WEIGHT[0], "1")}
    path.write_bytes(zip_bytes({"model": raw, "model_ema": AVERAGE}))
    contents = read_tensors(path, "model")
    assert contents.entries == ("model", "model_ema")
    np.testing.assert_array_equal(contents.tensors["a.weight"], WEIGHT)
    with pytest.raises(InputError, match=r"no entry 'mdel'; did you mean 'model'"):
        read_tensors(path, "mdel")


def test_a_memo_of_many_dicts_is_walked_once(path: Path):
    value: Any = {"w": tensor(WEIGHT)}
    for _ in range(40):
        value = {"a": value, "b": value}
    with pytest.raises(InputError, match="contains no dict of tensors"):
        read(path, zip_bytes(value))


def test_values_of_known_kinds_beside_the_tensors_are_passed_over(path: Path):
    model = {"a.weight": tensor(WEIGHT)}
    notes = defaultdict(list, loss=[1.0])
    value = {"state_dict": model, "paths": [Path("a/b")], "log": notes, "type": int}
    assert list(read(path, zip_bytes(value))) == ["a.weight"]


def test_metadata_on_the_ordered_dict_is_passed_over(path: Path):
    model: Any = OrderedDict(weight=tensor(WEIGHT))
    model._metadata = OrderedDict({"": {"version": 1}})
    assert list(read(path, zip_bytes(model))) == ["weight"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["module.a", "module.b"], ["a", "b"]),
        (["_orig_mod.a", "_orig_mod.b"], ["a", "b"]),
        (["module._orig_mod.a", "module._orig_mod.b"], ["a", "b"]),
        (["_orig_mod.module.a"], ["a"]),
        (["module.a", "b"], ["module.a", "b"]),
    ],
)
def test_a_prefix_goes_only_if_every_name_has_it(
    path: Path, names: list[str], expected: list[str]
):
    found = read(path, zip_bytes({name: tensor(WEIGHT) for name in names}))
    assert list(found) == expected


@CONTAINERS
@pytest.mark.parametrize(
    ("value", "culprit"),
    [
        (tensor(WEIGHT), "contains a tensor"),
        ([tensor(WEIGHT)], "contains a list"),
        ({"epoch": 3, "optimizer": OPTIMIZER}, "it has 'epoch', 'optimizer'"),
        ({}, "it has nothing"),
        (
            {"net": {"w": tensor(WEIGHT)}, "old": {"w": tensor(WEIGHT)}},
            "several state dicts ('net', 'old'); choose one with FILE?key=net",
        ),
    ],
)
def test_what_is_not_one_state_dict_is_refused(
    path: Path, to_bytes: Any, value: Any, culprit: str
):
    assert culprit in refusal(path, to_bytes(value))


@CONTAINERS
def test_a_whole_model_is_refused_by_its_class(path: Path, to_bytes: Any):
    class ResNet:
        def __init__(self) -> None:
            self._parameters, self._modules = {}, {}

    ResNet.__module__, ResNet.__qualname__ = "torch", "ResNet"
    sys.modules["torch"].ResNet = ResNet  # type: ignore[attr-defined]
    message = refusal(path, to_bytes({"model": ResNet()}))
    assert "torch.ResNet: the file contains a whole model" in message
    assert "save model.state_dict() instead" in message


@CONTAINERS
def test_a_file_cut_anywhere_is_refused(path: Path, to_bytes: Any):
    data = to_bytes({"a.weight": tensor(WEIGHT), "b.weight": tensor(WEIGHT, "1")})
    for end in np.linspace(1, len(data) - 1, 60).astype(int):
        refusal(path, data[:end])
    if to_bytes is legacy_bytes:
        assert "is cut short in the data of 'b.weight'" in refusal(path, data[:-1])


def test_a_damaged_or_missing_member_is_named_with_its_tensor(path: Path):
    good = zip_bytes({"w": tensor(WEIGHT)})
    message = refusal(path, good.replace(WEIGHT.tobytes(), bytes(24)))
    assert "'resnet/data/0', the data of 'w', is cut short or damaged" in message
    message = refusal(path, good.replace(b"resnet/data/0", b"resnet/data/1"))
    assert "'resnet/data/0', the data of 'w', is missing" in message


def test_big_endian_files_are_refused(path: Path):
    value = {"w": tensor(WEIGHT)}
    assert "big-endian" in refusal(path, zip_bytes(value, byteorder=b"big"))
    assert "big-endian" in refusal(path, legacy_bytes(value, little_endian=False))
