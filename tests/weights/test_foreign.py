"""Checkpoints as other people's training scripts leave them: the network in them."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from networks import SMALL, numbered

from jft import models, tree
from jft.errors import InputError
from jft.models import ModelSpec
from jft.weights.export import find_layout, to_layout
from jft.weights.pretrained import Pretrained, load_pretrained

Tensors = dict[str, np.ndarray]
Load = Callable[..., Pretrained]


@pytest.fixture
def spec(monkeypatch: pytest.MonkeyPatch) -> ModelSpec:
    spec = SMALL["basic"]
    monkeypatch.setitem(models.MODELS, spec.name, spec)
    return spec


@pytest.fixture
def own(spec: ModelSpec) -> Tensors:
    """Return the network's tensors as torchvision names them, five classes."""
    return to_layout(numbered(spec), find_layout("torchvision", spec), spec)


@pytest.fixture
def load(spec: ModelSpec, tmp_path: Path) -> Load:
    """Return a function that loads tensors out of a file."""

    def load(
        tensors: Tensors, classes: int | None = None, key: str = "", **notes: str
    ) -> Pretrained:
        path = tmp_path / "net.safetensors"
        safetensors.numpy.save_file(tensors, path, notes or None)
        return load_pretrained(spec.name, f"{path}{key}", classes)

    return load


def renamed(tensors: Tensors, prefix: str) -> Tensors:
    return {f"{prefix}{name}": array for name, array in tensors.items()}


def without_head(tensors: Tensors) -> Tensors:
    return {n: array for n, array in tensors.items() if not n.startswith("fc.")}


def same(built: Pretrained, spec: ModelSpec, *, head: bool = True) -> None:
    """Check that each variable is the one that was written."""
    flat = tree.flatten(built.variables)
    for name, array in numbered(spec).items():
        if head or "/head/" not in name:
            np.testing.assert_array_equal(flat[name], array, err_msg=name)


@pytest.mark.parametrize(
    "prefix",
    [
        *("model.", "net.", "backbone.", "module.", "_orig_mod.", "encoder."),
        *("module.encoder_q.", "model.module._orig_mod."),
    ],
)
def test_a_common_prefix_is_stripped(
    spec: ModelSpec, own: Tensors, load: Load, prefix: str
):
    built = load(renamed(own, prefix))
    same(built, spec)
    assert built.report.reinitialised == ()


def test_wrappers_inside_of_names_are_dropped(
    spec: ModelSpec, own: Tensors, load: Load
):
    inside = {
        f"_fsdp_wrapped_module.{n.replace('layer1.', 'layer1._orig_mod.')}": a
        for n, a in own.items()
    }
    same(load(inside), spec)


@pytest.mark.parametrize(
    ("prefix", "others"),
    [
        # Lightning: the loss and the metric beside the model.
        ("model.", {"criterion.weight": (5,), "acc.total": ()}),
        # torch's AveragedModel.
        ("module.", {"n_averaged": ()}),
        # mmpretrain: another name of the head.
        ("backbone.", {"head.fc.bias": (5,), "head.fc.weight": (5, 9)}),
    ],
)
def test_what_lies_beside_the_network_is_told(
    spec: ModelSpec,
    own: Tensors,
    load: Load,
    prefix: str,
    others: dict[str, tuple[int, ...]],
):
    beside = {name: np.zeros(shape, np.float32) for name, shape in others.items()}
    built = load(renamed(own, prefix) | beside, 5 if "head" in min(others) else None)
    report = built.report
    assert report.prefix == prefix
    assert set(others) <= set(report.ignored)
    assert str(report).endswith(
        f"prefix {prefix!r}; not used: {', '.join(sorted(others))}"
    )


@pytest.mark.parametrize(
    "head",
    [
        {"fc.1.weight": (3, 7), "fc.1.bias": (3,)},
        {"fc.0.weight": (4, 7), "fc.0.bias": (4,), "fc.2.weight": (3, 4)},
        {"dense.kernel": (7, 3)},
        {"projection_head.0.weight": (3, 3), "prototypes.weight": (3, 3)},
    ],
)
def test_of_another_head_only_the_backbone_is_taken_and_told(
    spec: ModelSpec, own: Tensors, load: Load, head: dict[str, tuple[int, ...]]
):
    other = {name: np.ones(shape, np.float32) for name, shape in head.items()}
    tensors = without_head(own) | other
    built = load(tensors, 3)
    same(built, spec, head=False)
    assert built.report.reinitialised == ("params/head/bias", "params/head/kernel")
    assert f"not used: {min(head)}" in str(built.report)
    with pytest.raises(InputError, match=r"has no head for \w+: give num_classes"):
        load(tensors)


def test_a_deeper_network_is_no_other_head(own: Tensors, load: Load):
    deeper = {"layer5.0.conv1.weight": np.zeros((1, 1, 1, 1), np.float32)}
    with pytest.raises(InputError, match=r"layer5\.0\.conv1\.weight: in the check"):
        load(without_head(own) | deeper, 3)


def test_of_two_copies_the_trained_or_averaged_one_is_taken(
    spec: ModelSpec, own: Tensors, load: Load
):
    other = {n: a + 1 if a.dtype == np.float32 else a for n, a in own.items()}
    for first, second in (
        ("module.encoder_q.", "module.encoder_k."),
        ("ema_model.", "model."),
        ("teacher.backbone.", "student.backbone."),
        ("online_network.", "target_network."),
    ):
        built = load(renamed(other, second) | renamed(own, first))
        same(built, spec)
        assert built.report.prefix == first.removeprefix("module.")
    both = renamed(own, "a.") | renamed(other, "b.")
    with pytest.raises(InputError, match=r"several times, under 'a\.', 'b\.'"):
        load(both)
    same(load(both, key="?key=a"), spec)
    assert not np.array_equal(
        load(both, key="?key=b").variables["params"]["head"]["bias"],
        numbered(spec)["params/head/bias"],
    )
    with pytest.raises(InputError, match=r"no entry 'c' \(entries: 'a', 'b'\)"):
        load(both, key="?key=c")


@pytest.mark.parametrize("prefix", ["0.", "backbone.", ""])
def test_children_that_are_counted_are_those_of_torchvision(
    spec: ModelSpec, own: Tensors, load: Load, prefix: str
):
    # conv1, bn1, relu, maxpool, layer1, ...: Sequential(*resnet.children()).
    counted = {"conv1": "0", "bn1": "1"} | {
        f"layer{i}": str(i + 3) for i in range(1, 5)
    }
    body = {
        prefix + counted[child] + dot + rest: array
        for name, array in without_head(own).items()
        for child, dot, rest in [name.partition(".")]
    }
    fastai = {"1.8.weight": np.zeros((3, 4), np.float32)} if prefix == "0." else {}
    built = load(body | fastai, 3)
    same(built, spec, head=False)


def test_foreign_notes_are_not_ours(spec: ModelSpec, own: Tensors, load: Load):
    foreign = {
        "model": "my-resnet-v3",
        "class_names": "cat, dog",
        "preprocess": "imagenet",
        "width": "32",
        "task": "birds",
        "decoder": "mine",
        "format": "pt",
    }
    built = load(own, **foreign)
    same(built, spec)
    assert built.preprocess == spec.preprocess
    assert built.class_names == ()
    names = json.dumps(list("abcde"))
    assert load(own, jft="0.1.0", class_names=names).class_names == tuple("abcde")
