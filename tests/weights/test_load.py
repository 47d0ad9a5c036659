"""Loading: what a checkpoint fills, and every way in which it may not fit."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from conftest import TINY
from networks import SMALL, numbered

from jft import models, tree
from jft.errors import InputError
from jft.models import ModelSpec
from jft.preprocess import CAFFE
from jft.weights.export import find_layout, to_layout
from jft.weights.find import find_weights
from jft.weights.load import assign, head_classes, usual_preprocess
from jft.weights.opened import open_weights
from jft.weights.pretrained import Pretrained, build, load_pretrained

SHARED = Path(__file__).parents[3] / "shared" / "data"
WEIGHTS = SHARED / "weights"

Tensors = dict[str, np.ndarray]

# The tensors of the network "tiny" as torch would name them, with 10 classes.
NORM = ("weight", "bias", "running_mean", "running_var")
TORCH_SHAPES: dict[str, tuple[int, ...]] = {
    "conv1.weight": (4, 3, 3, 3),
    **{f"bn1.{leaf}": (4,) for leaf in NORM},
    "layer1.0.conv1.weight": (4, 4, 3, 3),
    **{f"layer1.0.bn1.{leaf}": (4,) for leaf in NORM},
    "layer1.0.conv2.weight": (4, 4, 3, 3),
    **{f"layer1.0.bn2.{leaf}": (4,) for leaf in NORM},
    "layer2.0.conv1.weight": (8, 4, 3, 3),
    **{f"layer2.0.bn1.{leaf}": (8,) for leaf in NORM},
    "layer2.0.conv2.weight": (8, 8, 3, 3),
    **{f"layer2.0.bn2.{leaf}": (8,) for leaf in NORM},
    "linear.weight": (10, 8),
    "linear.bias": (10,),
}


def torch_tensors(**changed: np.ndarray | None) -> Tensors:
    """Return all tensors, each element its own; `changed` replaces some or drops them.

    Names are written with `__` for the dots.
    """
    tensors, start = {}, 1
    for name, shape in TORCH_SHAPES.items():
        stop = start + int(np.prod(shape))
        tensors[name] = np.arange(start, stop, dtype=np.float32).reshape(shape) / 1024
        start = stop
    tensors |= {k.replace("__", "."): v for k, v in changed.items()}
    return {name: array for name, array in tensors.items() if array is not None}


Save = Callable[..., str]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Return a function that writes tensors to a file and returns its path."""

    def write(tensors: Tensors, **metadata: str) -> str:
        path = tmp_path / "weights.safetensors"
        contiguous = {name: np.ascontiguousarray(a) for name, a in tensors.items()}
        safetensors.numpy.save_file(contiguous, path, {"jft": "0", **metadata})
        return str(path)

    return write


@pytest.fixture
def shapes(tiny: ModelSpec) -> dict[str, Any]:
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    init = tiny.build(10).init
    return tree.flatten(jax.eval_shape(init, jax.random.key(0), image))


def flat(built: Pretrained) -> dict[str, np.ndarray]:
    return {n: np.asarray(a) for n, a in tree.flatten(built.variables).items()}


def test_torch_tensors_land_under_our_names_in_our_layout(shapes: dict[str, Any]):
    tensors = torch_tensors()
    placed, ignored = assign(shapes, tensors, "file", TINY)
    assert list(placed) == list(shapes)
    assert ignored == ()
    assert len(tensors) == len(placed)
    for ours, theirs in {
        "params/stem/conv/kernel": "conv1.weight",
        "params/stage1/block0/conv2/kernel": "layer1.0.conv2.weight",
        "params/stage2/block0/conv1/kernel": "layer2.0.conv1.weight",
    }.items():
        np.testing.assert_array_equal(
            placed[ours], np.einsum("oihw->hwio", tensors[theirs])
        )
    for ours, theirs in {
        "params/head/kernel": "linear.weight",
        "params/head/bias": "linear.bias",
        "params/stem/norm/scale": "bn1.weight",
        "params/stage2/block0/norm1/bias": "layer2.0.bn1.bias",
        "batch_stats/stage2/block0/norm2/mean": "layer2.0.bn2.running_mean",
        "batch_stats/stage1/block0/norm1/var": "layer1.0.bn1.running_var",
    }.items():
        np.testing.assert_array_equal(placed[ours], tensors[theirs].T)
    # Each element occurs once: no tensor was used twice or left out.
    elements = np.concatenate([array.ravel() for array in placed.values()])
    total = sum(int(np.prod(shape)) for shape in TORCH_SHAPES.values())
    np.testing.assert_array_equal(
        np.sort(elements) * 1024, np.arange(1, total + 1, dtype=np.float32)
    )


def test_variables_are_immutable_float32_and_reported(tiny: ModelSpec, save: Save):
    path = save(torch_tensors())
    built = load_pretrained("tiny", path)
    with pytest.raises(ValueError, match="immutable"):
        built.variables["params"] = {}
    with pytest.raises(ValueError, match="immutable"):
        built.variables["params"]["head"]["bias"] = jnp.zeros(10)
    with pytest.raises(TypeError, match="immutable"):
        built.variables["params"]["head"]["bias"][0] = 1.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        built.variables = {}
    names = list(tree.flatten(built.variables))
    assert {a.dtype for a in flat(built).values()} == {np.dtype(np.float32)}
    report = built.report
    assert report.source == path
    assert report.sha256 == hashlib.sha256(Path(path).read_bytes()).hexdigest()
    assert list(report.loaded) == sorted(names)
    assert report.reinitialised == ()
    assert report.ignored == ()
    assert built.preprocess == tiny.preprocess
    assert built.class_names == ()


def test_all_that_does_not_fit_is_in_one_sorted_message(shapes: dict[str, Any]):
    infinite = np.ones((4, 4, 3, 3), np.float32)
    infinite[0, 0, 0, :2] = np.inf, -np.inf
    tensors = torch_tensors(
        bn1__running_var=None,
        layer2__0__conv2__weight=np.zeros((8, 8, 1, 1), np.float32),
        layer1__0__conv1__weight=infinite,
        layer1__0__bn2__bias=np.full(4, np.nan, np.float32),
        layer3__0__conv1__weight=np.zeros((16, 8, 3, 3), np.float32),
        best_prec1=np.zeros(()),
    )
    with pytest.raises(InputError) as caught:
        assign(shapes, tensors, "net.pth", TINY)
    assert str(caught.value).splitlines() == [
        "net.pth: 6 tensors do not fit (23 of the model's 27 do)",
        "- best_prec1: in the checkpoint, not in the model",
        "- layer3.0.conv1.weight: in the checkpoint, not in the model",
        "- stage1/block0/conv1/kernel (layer1.0.conv1.weight): "
        "2 of 144 values are not finite",
        "- stage1/block0/norm2/bias (layer1.0.bn2.bias): 4 of 4 values are not finite",
        "- stage2/block0/conv2/kernel (layer2.0.conv2.weight): "
        "model (3, 3, 8, 8), checkpoint (1, 1, 8, 8)",
        "- stem/norm/var (bn1.running_var): not in the checkpoint",
    ]


def test_a_long_message_is_cut_and_counts_what_it_leaves_out(shapes: dict[str, Any]):
    tensors = {f"extra{i:02}": np.zeros(1) for i in range(20)}
    with pytest.raises(InputError) as caught:
        assign(shapes, tensors, "file", TINY)
    lines = str(caught.value).splitlines()
    assert lines[0] == "file: 45 tensors do not fit (0 of the model's 27 do)"
    assert lines[1] == "- extra00: in the checkpoint, not in the model"
    assert lines[-1] == "... and 15 more"
    assert len(lines) == 1 + 30 + 1


@pytest.mark.parametrize("missing", ["linear.weight", "linear.bias"])
def test_a_head_that_is_missing_is_an_error(missing: str, shapes: dict[str, Any]):
    tensors = torch_tensors()
    del tensors[missing]
    with pytest.raises(InputError, match="not in the checkpoint"):
        assign(shapes, tensors, "file", TINY)


def test_only_a_head_of_other_classes_is_left_out(tiny: ModelSpec, save: Save):
    path = save(torch_tensors())
    built = load_pretrained("tiny", path, num_classes=3)
    head = ("params/head/bias", "params/head/kernel")
    assert built.report.reinitialised == head
    assert not set(head) & set(built.report.loaded)
    assert built.variables["params"]["head"]["kernel"].shape == (8, 3)
    whole, fresh = flat(load_pretrained("tiny", path)), flat(built)
    for name in set(whole) - set(head):
        np.testing.assert_array_equal(fresh[name], whole[name])


def test_a_head_of_other_inputs_is_an_error(shapes: dict[str, Any]):
    tensors = torch_tensors(
        linear__weight=np.zeros((3, 9), np.float32), linear__bias=np.zeros(3)
    )
    with pytest.raises(InputError) as caught:
        assign(shapes, tensors, "file", TINY)
    assert "head/kernel (linear.weight): model (8, 10), checkpoint (9, 3)" in str(
        caught.value
    )


@pytest.mark.parametrize("name", ["stem/conv", "stage2/block0/norm1"])
def test_only_the_head_may_have_another_shape(name: str, shapes: dict[str, Any]):
    theirs = {"stem/conv": "conv1.weight", "stage2/block0/norm1": "layer2.0.bn1.bias"}
    tensors = torch_tensors()
    array = tensors[theirs[name]]
    tensors[theirs[name]] = np.concatenate([array, array])
    with pytest.raises(InputError, match=f"- {name}/"):
        assign(shapes, tensors, "file", TINY, new_head=True)


def test_a_fresh_head_can_be_asked_for(shapes: dict[str, Any]):
    placed, _ = assign(shapes, torch_tensors(), "file", TINY, new_head=True)
    assert set(shapes) - set(placed) == {"params/head/kernel", "params/head/bias"}


def test_class_names_that_differ_make_the_head_fresh(tiny: ModelSpec, save: Save):
    names = tuple(f"class{i}" for i in range(10))
    path = save(torch_tensors(), class_names=json.dumps(names))
    assert load_pretrained("tiny", path).class_names == names
    fresh = load_pretrained("tiny", path, num_classes=2)
    assert fresh.class_names == ()
    opened = open_weights(find_weights(path))
    same = build(opened, tiny, tiny.preprocess, 10, class_names=names)
    assert same.report.reinitialised == ()
    others = tuple(f"other{i}" for i in range(10))
    other = build(opened, tiny, tiny.preprocess, 10, class_names=others)
    assert other.report.reinitialised == ("params/head/bias", "params/head/kernel")
    assert other.class_names == others


@pytest.mark.parametrize(
    ("wanted", "kept"),
    [
        ([9, 8, 7, 6, 5, 4, 3, 2, 1, 0], "10 of 10"),
        ([7, 2], "2 of 2"),
        ([7, None, 2], "2 of 3"),
    ],
)
def test_outputs_of_the_head_are_kept_by_name(
    wanted: list[int | None], kept: str, tiny: ModelSpec, save: Save
):
    names = [f"class{i}" for i in range(10)]
    tensors = torch_tensors()
    opened = open_weights(find_weights(save(tensors, class_names=json.dumps(names))))
    ours = tuple("new" if i is None else names[i] for i in wanted)
    built = build(opened, tiny, tiny.preprocess, len(ours), class_names=ours)
    head = built.variables["params"]["head"]
    for output, index in enumerate(wanted):
        if index is None:
            assert head["bias"][output] == 0
            continue
        kernel = np.asarray(head["kernel"])[:, output]
        np.testing.assert_array_equal(kernel, tensors["linear.weight"][index])
        assert head["bias"][output] == tensors["linear.bias"][index]
    # What is new in part must not be frozen or averaged as if it were pretrained.
    new = ("params/head/bias", "params/head/kernel") if None in wanted else ()
    assert built.report.reinitialised == new
    assert not set(new) & set(built.report.loaded)
    assert f"{kept} outputs kept by name" in str(built.report)
    fresh = build(
        opened, tiny, tiny.preprocess, len(ours), class_names=ours, new_head=True
    )
    assert fresh.report.rows == ()
    assert len(fresh.report.reinitialised) == 2


@pytest.mark.parametrize("kind", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_floats_become_float32(kind: Any, shapes: dict[str, Any]):
    tensors = {n: a.astype(kind) for n, a in torch_tensors().items()}
    placed, _ = assign(shapes, tensors, "file", TINY)
    for array in placed.values():
        assert array.dtype == np.float32
    np.testing.assert_array_equal(
        placed["params/head/kernel"], tensors["linear.weight"].T.astype(np.float32)
    )


def test_a_float64_beyond_float32_is_not_finite(shapes: dict[str, Any]):
    tensors = torch_tensors(bn1__bias=np.array([1e39, -1e300, 1e38, 0]))
    with pytest.raises(InputError) as caught:
        assign(shapes, tensors, "file", TINY)
    assert "- stem/norm/bias (bn1.bias): 2 of 4 values are not finite" in str(
        caught.value
    )


def test_float64_is_rounded_to_the_nearest_float32(shapes: dict[str, Any]):
    third = np.full(4, 1 / 3)
    placed, _ = assign(shapes, torch_tensors(bn1__bias=third), "file", TINY)
    assert set(placed["params/stem/norm/bias"]) == {np.float32(1 / 3)}


def test_batches_tracked_are_ignored_and_reported(tiny: ModelSpec, save: Save):
    counts = ("bn1.num_batches_tracked", "layer1.0.bn1.num_batches_tracked")
    tensors = torch_tensors() | {n: np.array(7, np.int64) for n in counts}
    assert load_pretrained("tiny", save(tensors)).report.ignored == counts


def test_our_own_names_load_without_a_change(tiny: ModelSpec, save: Save):
    first = load_pretrained("tiny", save(torch_tensors()))
    again = load_pretrained("tiny", save(flat(first)))
    assert again.report.loaded == first.report.loaded
    assert tree.digest(again.variables) == tree.digest(first.variables)
    assert head_classes(flat(first), tiny) == 10


def test_our_own_names_are_checked_too(tiny: ModelSpec, save: Save):
    tensors = flat(load_pretrained("tiny", save(torch_tensors())))
    del tensors["batch_stats/stem/norm/mean"]
    tensors["params/stem/norm/scale"] = np.ones(5, np.float32)
    tensors["params/stage3/kernel"] = np.ones(5, np.float32)
    path = save(tensors)
    with pytest.raises(InputError) as caught:
        load_pretrained("tiny", path)
    assert str(caught.value).splitlines() == [
        f"{path}: 3 tensors do not fit (25 of the model's 27 do)",
        "- params/stage3/kernel: in the checkpoint, not in the model",
        "- stem/norm/mean (batch_stats/stem/norm/mean): not in the checkpoint",
        "- stem/norm/scale (params/stem/norm/scale): model (4,), checkpoint (5,)",
    ]


def test_weights_of_another_network_that_do_not_fit_are_refused_by_its_name(
    tiny: ModelSpec, save: Save
):
    path = save(torch_tensors(bn1__weight=None), model="resnet18")
    with pytest.raises(InputError) as caught:
        load_pretrained("tiny", path)
    assert str(caught.value).splitlines()[0] == (
        f"{path} has weights of resnet18, not of tiny: choose that network with "
        "--model.name, or other weights with --weights"
    )
    # Where they fit, what the user asks for wins.
    built = load_pretrained("tiny", save(torch_tensors(), model="resnet18"))
    assert built.spec == tiny
    assert built.report.reinitialised == ()


def test_preprocessing_travels_with_the_file(tiny: ModelSpec, save: Save):
    values = {"size": 24, "mean": [0.1, 0.2, 0.3], "std": [1, 1, 1]}
    path = save(torch_tensors(), preprocess=json.dumps(values))
    built = load_pretrained("tiny", path)
    assert built.preprocess.size == 24
    assert tuple(built.preprocess.mean) == (0.1, 0.2, 0.3)
    assert load_pretrained("tiny", path, image_size=48).preprocess.size == 48


@pytest.mark.parametrize(
    ("model", "weights", "expected"),
    [
        ("resnet15", "none", "unknown model 'resnet15'; did you mean 'resnet152' or"),
        ("tiny", "resnet20-cifar", "did you mean 'resnet20-cifar10'?"),
        ("tiny", "resnet20-cifar", "names: resnet20-cifar10, none"),
        ("tiny", "no/such.pth", "'no/such.pth': it is neither a file nor a name"),
    ],
)
def test_what_is_unknown_is_refused_with_the_nearest_name(
    model: str, weights: str, expected: str, tiny: ModelSpec
):
    with pytest.raises(InputError) as caught:
        load_pretrained(model, weights)
    assert expected in str(caught.value)


@pytest.mark.parametrize("classes", [3, 10])
def test_without_a_number_of_classes_the_checkpoint_decides(
    classes: int, tiny: ModelSpec, save: Save
):
    tensors = torch_tensors(
        linear__weight=np.ones((classes, 8), np.float32),
        linear__bias=np.ones(classes, np.float32),
    )
    built = load_pretrained("tiny", save(tensors))
    assert built.model.num_classes == classes
    assert built.report.reinitialised == ()
    images = np.zeros((2, 8, 8, 3), np.uint8)
    assert built(images).shape == (2, classes)


def test_fresh_values_are_those_of_their_seed(tiny: ModelSpec, save: Save):
    path = save(torch_tensors())
    head = "params/head/kernel"

    def fresh(seed: int) -> np.ndarray:
        return flat(load_pretrained("tiny", path, num_classes=3, seed=seed))[head]

    np.testing.assert_array_equal(fresh(1), fresh(1))
    assert np.all(fresh(1) != fresh(2))


def test_without_a_checkpoint_all_is_random_and_the_networks_own(
    tiny: ModelSpec, monkeypatch: pytest.MonkeyPatch
):
    # XLA takes a second to compile each random kernel, so only a stem and a head.
    spec = dataclasses.replace(tiny, stage_sizes=(), num_classes=12)
    monkeypatch.setitem(models.MODELS, "tiny", spec)
    one, again, other = (load_pretrained("tiny", "none", seed=s) for s in (1, 1, 2))
    assert tree.digest(one.variables) == tree.digest(again.variables)
    for name in ("params/stem/conv/kernel", "params/head/kernel"):
        assert np.all(flat(one)[name] != flat(other)[name])
    assert one.model.num_classes == 12
    assert one.preprocess == tiny.preprocess
    assert one.report.source == "none"
    assert one.report.sha256 == ""
    assert one.report.loaded == ()
    assert list(one.report.reinitialised) == sorted(flat(one))


def test_keras_vggs_see_the_pixels_that_keras_trained_them_on():
    spec = SMALL["vgg"]
    usual = {
        name: usual_preprocess(
            to_layout(numbered(spec), find_layout(name, spec), spec), spec
        )
        for name in ("keras", "torchvision", "timm", "safetensors")
    }
    assert usual.pop("keras") == CAFFE
    assert set(usual.values()) == {spec.preprocess}


def test_a_checkpoint_without_a_head_gets_a_new_one(tiny: ModelSpec, save: Save):
    path = save(torch_tensors(linear__weight=None, linear__bias=None))
    built = load_pretrained("tiny", path, num_classes=3)
    assert built.report.reinitialised == ("params/head/bias", "params/head/kernel")
    with pytest.raises(InputError, match="has no head for tiny: give num_classes"):
        load_pretrained("tiny", path)
    # Half a head is a mistake.
    path = save(torch_tensors(linear__bias=None))
    with pytest.raises(InputError, match=r"head/bias \(linear.bias\): not in the"):
        load_pretrained("tiny", path, num_classes=3)


def test_class_names_say_nothing_of_a_head_that_is_missing(tiny: ModelSpec, save: Save):
    tensors = torch_tensors(linear__weight=None, linear__bias=None)
    path = save(tensors, class_names='["a", "b", "c"]')
    built = load_pretrained("tiny", path, num_classes=3)
    assert built.report.reinitialised == ("params/head/bias", "params/head/kernel")


def test_the_device_takes_over_what_was_placed_without_a_copy(
    tiny: ModelSpec, shapes: dict[str, Any]
):
    tensors = {name: np.zeros(leaf.shape, leaf.dtype) for name, leaf in shapes.items()}
    placed, _ = assign(shapes, tensors, "a file", tiny)
    for name, array in placed.items():
        taken = jax.device_put(array, jax.devices("cpu")[0])
        assert taken.unsafe_buffer_pointer() == array.ctypes.data, name


def test_images_too_small_for_a_vgg_are_refused(monkeypatch: pytest.MonkeyPatch):
    spec = dataclasses.replace(SMALL["vgg"], name="tiny_vgg")
    monkeypatch.setitem(models.MODELS, "tiny_vgg", spec)
    message = r"--image-size must be at least \d+ for tiny_vgg, got 3"
    with pytest.raises(InputError, match=message):
        load_pretrained("tiny_vgg", "none", 2, image_size=3)


def reference_file(name: str) -> Path:
    path = WEIGHTS / name
    if not path.exists():
        pytest.skip(f"no {path}")
    return path


# Of logits of up to 31. Those from torch are float32, and differ from float64 by up to
# 2e-5 themselves; ours differ from them by up to 2e-5.
REAL_TOLERANCE = 1e-4


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "file"),
    [("resnet20", "resnet20-12fca82f.th"), ("resnet32", "resnet32-d509ac18.th")],
)
def test_published_cifar_weights_give_the_logits_of_torch(name: str, file: str):
    path = reference_file(file)
    built = load_pretrained(name, str(path))
    assert built.report.reinitialised == ()
    logits = built(np.load(WEIGHTS / "ref256_images_u8.npy"))
    exact = np.load(WEIGHTS / f"{name}_ref256_logits.npy")
    assert np.abs(np.asarray(logits) - exact).max() < REAL_TOLERANCE
    # Top-1 on the whole test set is 81 and 82.6 %.
    right = np.argmax(logits, axis=1) == np.load(WEIGHTS / "ref256_labels.npy")
    assert 0.75 < right.mean() < 0.9


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("file", "tolerance"),
    [
        ("resnet18_w16.pth", REAL_TOLERANCE),
        ("resnet18_w16.legacy.pth", REAL_TOLERANCE),
        ("resnet18_w16.channels_last.pth", REAL_TOLERANCE),
        ("resnet18_w16.sharedstorage.pth", REAL_TOLERANCE),
        # Half precision rounds weights at 2**-11 of their size, 5e-4, and moves logits
        # of up to 19 by 0.012, which is 6e-4 of them. What it rounds is checked to the
        # bit below.
        ("resnet18_w16.fp16.safetensors", 0.04),
        ("resnet50_w16.pth", REAL_TOLERANCE),
    ],
)
def test_torchvision_files_give_the_logits_of_torch(file: str, tolerance: float):
    path = reference_file(f"torchvision_layout/{file}")
    built = load_pretrained(file.partition("_")[0], str(path), width=16)
    keys = json.loads((path.parent / f"{file.split('.')[0]}.keys.json").read_text())
    assert len(built.report.loaded) + len(built.report.ignored) == len(keys)
    images = np.load(path.parent / "ref8_images_u8.npy")
    exact = np.load(path.parent / f"{file.split('.')[0]}_ref8_logits.npy")
    assert np.abs(np.asarray(built(images)) - exact).max() < tolerance


@pytest.mark.real_data
def test_a_half_precision_file_gives_the_rounded_weights():
    whole, half = (
        load_pretrained("resnet18", str(reference_file(name)), width=16)
        for name in (
            "torchvision_layout/resnet18_w16.pth",
            "torchvision_layout/resnet18_w16.fp16.safetensors",
        )
    )
    halves = flat(half)
    for name, array in flat(whole).items():
        rounded = array.astype(np.float16).astype(np.float32)
        np.testing.assert_array_equal(halves[name], rounded)
