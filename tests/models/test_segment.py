"""Decoders: their shapes, names and positions, and each number against NumPy."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import SMALL, shapes_of, variables_of
from training_runs import images, keys, norms_of, train

from jft import tree
from jft.config import ModelConfig
from jft.errors import InputError
from jft.models import MODELS, ModelSpec, TrainMode, config_of, configured
from jft.models.network import Network
from jft.models.norm import BatchNorm
from jft.models.resnet import ResNet
from jft.models.segment import DECODERS, Pyramid, double, resize
from jft.models.training import BlockMode, TrainBatch
from jft.models.variants import Decoder

CLASSES = 3


def segments(name: str, decoder: Decoder, sizes: tuple[int, ...] = (1, 1)) -> ModelSpec:
    spec = dataclasses.replace(SMALL[name], stage_sizes=sizes)
    return spec.adapted(decoder=decoder)


BRANCHES = ("aspp1", "aspp2", "aspp3", "aspp4", "pooled", "project")
STORED = ("norm", "up1/norm1", "up1/norm2", *(f"{branch}/norm" for branch in BRANCHES))
UNET = segments("cifar", "unet")
NETWORKS = [
    pytest.param(segments(name, decoder), id=f"{name}-{decoder}")
    for name in SMALL
    if name != "grouped"
    for decoder in ("fcn", "deeplabv3", "unet")
]


def bilinear(x: np.ndarray, height: int, width: int) -> np.ndarray:
    """Enlarge [h, w, C] as torch's documentation describes align_corners=False."""

    def neighbours(here: int, there: int) -> tuple[Any, Any, Any]:
        at = np.clip((np.arange(there) + 0.5) * here / there - 0.5, 0, here - 1)
        low = np.floor(at).astype(int)
        return low, np.minimum(low + 1, here - 1), at - low

    top, bottom, down = neighbours(x.shape[0], height)
    left, right, across = neighbours(x.shape[1], width)
    across, down = across[None, :, None], down[:, None, None]
    upper = x[top][:, left] * (1 - across) + x[top][:, right] * across
    lower = x[bottom][:, left] * (1 - across) + x[bottom][:, right] * across
    return upper * (1 - down) + lower * down


@pytest.mark.parametrize("size", [(8, 6), (9, 20), (4, 3), (5, 3), (33, 1)])
def test_maps_are_enlarged_as_torch_does_up_to_the_border(size: tuple[int, int]):
    x = images(1, 4)[:, :, : min(3, size[1])]
    enlarged = resize(jnp.asarray(x), size)
    expected = bilinear(x[0].astype(np.float64), *size)
    # Two products in float32, of numbers below 4.
    np.testing.assert_allclose(enlarged[0], expected, atol=2e-6)


@pytest.mark.parametrize("size", [(6, 8), (5, 7), (7, 9)])
def test_features_are_doubled_to_the_size_that_was_halved(size: tuple[int, int]):
    x = np.arange(2 * 3 * 4, dtype=np.float32).reshape(1, 3, 4, 2)
    y = double(jnp.asarray(x), size)
    assert y.shape == (1, *size, 2)
    for row in range(size[0]):
        for column in range(size[1]):
            from_here = x[0, min(row // 2, 2), min(column // 2, 3)]
            np.testing.assert_array_equal(y[0, row, column], from_here)


@pytest.mark.parametrize("spec", NETWORKS)
def test_every_pixel_has_logits_whatever_the_size(spec: ModelSpec):
    model = spec.build(CLASSES)
    variables = tree.unflatten(shapes_of(model))
    for height, width in ((32, 32), (45, 37), (spec.smallest, spec.smallest)):
        x = jax.ShapeDtypeStruct((2, height, width, 3), jnp.float32)
        out = jax.eval_shape(model.apply, variables, x)
        assert out.shape == (2, height, width, CLASSES)
        assert out.dtype == jnp.float32


@pytest.mark.parametrize("spec", NETWORKS)
def test_the_decoder_is_the_head_and_its_classifier_alone_has_classes(spec: ModelSpec):
    few, many = (shapes_of(spec.build(classes)) for classes in (2, 9))
    differ = {name for name in few if few[name].shape != many[name].shape}
    assert differ == {"params/head/classifier/kernel", "params/head/classifier/bias"}
    without = dataclasses.replace(spec, decoder="none")
    body = {n for n in shapes_of(without.build(2)) if "/stage" in n or "/stem/" in n}
    assert {n for n in few if n.split("/")[1] != "head"} == body
    assert {n.split("/")[1] for n in few} == set(spec.stages)
    assert spec.layers[-1] == "head"
    assert bool(spec.normalising) == any(n.startswith("batch_stats/") for n in few)


def test_names_of_the_decoders_layers_are_explicit():
    def named(decoder: Decoder) -> set[str]:
        shapes = shapes_of(segments("basic", decoder).build(CLASSES))
        head = (n for n in shapes if n.startswith("params/head/"))
        return {n.removeprefix("params/head/").rpartition("/")[0] for n in head}

    assert named("fcn") == {"conv", "norm", "classifier"}
    assert named("deeplabv3") == named("fcn") | {
        f"{branch}/{layer}" for branch in BRANCHES for layer in ("conv", "norm")
    }
    assert named("unet") == {"classifier"} | {
        f"up{block}/{layer}"
        for block in (1, 2, 3)
        for layer in ("conv1", "norm1", "conv2", "norm2")
    }


def spread_of(model: Network) -> tuple[list[int], tuple[int, ...]]:
    """Return how far each 3x3 kernel is spread, and the shape of the last features."""
    variables = tree.unflatten(shapes_of(model))
    x = jax.ShapeDtypeStruct((1, 65, 96, 3), jnp.float32)
    program = jax.make_jaxpr(lambda v, x: model.apply(v, x, stop="stage4"))
    equations = [
        e
        for e in _equations(program(variables, x).jaxpr)
        if e.primitive.name == "conv_general_dilated"
    ]
    wide = [e for e in equations if e.invars[1].aval.shape[0] == 3]
    spread = [e.params["rhs_dilation"][0] for e in wide]
    return spread, equations[-1].outvars[0].aval.shape


def test_fcn_and_deeplab_see_an_eighth_and_spread_kernels_instead_of_steps():
    # torchvision: replace_stride_with_dilation=[False, True, True], where a stage's
    # first block still has the spread of the stage before.
    model = MODELS["fcn_resnet50"].build(CLASSES)
    assert isinstance(model, ResNet)
    assert [model.dilation(depth) for depth in range(4)] == [1, 1, 2, 4]
    spread, shape = spread_of(model)
    assert spread == [1] * 3 + [1] * 4 + [1, 2, 2, 2, 2, 2] + [2, 4, 4]
    assert shape == (1, 9, 12, 2048)
    cifar = segments("cifar", "fcn", (1, 1, 1)).build(CLASSES)
    assert isinstance(cifar, ResNet)
    assert [cifar.dilation(depth) for depth in range(3)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnetv2_50x1_bit", [1] * 3 + [1] * 4 + [1] + [2] * 5 + [2, 4, 4]),
        ("keras_resnet50v2", [1] * 3 + [1] * 4 + [2] * 6 + [4] * 3),
    ],
)
def test_pre_activation_networks_spread_kernels_behind_the_step_they_leave_out(
    name: str, expected: list[int]
):
    model = MODELS[name].adapted(decoder="deeplabv3").build(CLASSES)
    assert spread_of(model) == (expected, (1, 9, 12, 2048))


@pytest.mark.parametrize("name", ["basic", "bottleneck", "deep", "keras", "keras_v2"])
def test_spread_kernels_see_what_strided_ones_see(name: str):
    # Every fourth pixel of the larger features is one of the smaller (Holschneider et
    # al. 1989, the algorithm of holes).
    plain = dataclasses.replace(SMALL[name], stage_sizes=(1, 1, 2, 2))
    variables = variables_of(plain.build(CLASSES))
    x = images(2, 64)
    small, large = (
        np.asarray(spec.build(CLASSES).apply(variables, x, stop="stage4"))
        for spec in (plain, plain.adapted(decoder="fcn"))
    )
    assert large.shape[1:3] == (8, 8)
    assert small.shape[1:3] == (2, 2)
    # Sums in another order, of features up to about 10.
    np.testing.assert_allclose(large[:, ::4, ::4], small, rtol=1e-4, atol=1e-4)


def test_a_unet_on_pre_activation_networks_takes_features_of_each_size():
    # BiT: 1024 of stage3, 512, 256, 64 of the stem; Keras's stages end with their step,
    # so that what is a quarter of the image is the stem's after pooling.
    for name, inputs in (
        ("resnetv2_50x1_bit", [2048 + 1024, 256 + 512, 128 + 256, 64 + 64, 32]),
        ("keras_resnet50v2", [2048 + 512, 256 + 256, 128 + 64, 64 + 64, 32]),
    ):
        shapes = shapes_of(MODELS[name].adapted(decoder="unet").build(CLASSES))
        kernels = [shapes[f"params/head/up{i}/conv1/kernel"] for i in range(1, 6)]
        assert [kernel.shape[2] for kernel in kernels] == inputs
        assert "params/head/up6/conv1/kernel" not in shapes


def _equations(jaxpr: Any) -> list[Any]:
    """Return the equations of a program and of those that it calls, in order."""
    found: list[Any] = []
    for equation in jaxpr.eqns:
        found.append(equation)
        for value in equation.params.values():
            if hasattr(value, "jaxpr"):
                found += _equations(value.jaxpr)
    return found


def convolve(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Return 3x3 windows of [B, H, W, C] times a kernel, with zeros around."""
    size = x.shape[1:3]
    x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return sum(
        x[:, i : i + size[0], j : j + size[1]] @ kernel[i, j]
        for i in range(3)
        for j in range(3)
    )


def test_a_unet_takes_each_sizes_features_on_its_way_up():
    x, leaves = images(2, 15), tree.flatten(variables_of(UNET.build(CLASSES)))
    logits, out = train(UNET, TrainMode(stored=norms_of(UNET)), x, inner=True)
    y = out["stage2"].astype(np.float64)  # [2, 8, 8, 8]
    assert y.shape == (2, 8, 8, 8)
    # Where the next stage halves: after the first, at the image's own size.
    y = np.repeat(np.repeat(y, 2, axis=1), 2, axis=2)[:, :15, :15]
    y = np.concatenate([y, out["stage1"]], axis=-1)
    for i in (1, 2):
        y = convolve(y, leaves[f"params/head/up1/conv{i}/kernel"])
        norm = f"head/up1/norm{i}"
        mean, var = (leaves[f"batch_stats/{norm}/{leaf}"] for leaf in ("mean", "var"))
        y = (y - mean) / np.sqrt(var + 1e-5)
        y = y * leaves[f"params/{norm}/scale"] + leaves[f"params/{norm}/bias"]
        y = np.maximum(y, 0)
    y = y @ leaves["params/head/classifier/kernel"]
    # float32 rounds at 6e-8, of sums of a hundred numbers.
    np.testing.assert_allclose(
        logits, y + leaves["params/head/classifier/bias"], rtol=1e-4, atol=1e-5
    )


def test_a_unet_has_channels_as_segmentation_models_pytorch_and_ends_at_the_image():
    # decoder_channels=(256, 128, 64, 32, 16), for resnet50 and for VGGs.
    for name in ("resnet50", "vgg16_bn"):
        shapes = shapes_of(MODELS[name].adapted(decoder="unet").build(CLASSES))
        kernels = [shapes[f"params/head/up{i}/conv2/kernel"] for i in range(1, 6)]
        assert [kernel.shape[-1] for kernel in kernels] == [256, 128, 64, 32, 16]
        assert "params/head/up6/conv1/kernel" not in shapes
    # And so inputs: 1024 of stage3, 512, 256, 64 of the stem, none of the image.
    shapes = shapes_of(MODELS["resnet50"].adapted(decoder="unet").build(CLASSES))
    kernels = [shapes[f"params/head/up{i}/conv1/kernel"] for i in range(1, 6)]
    inputs = [2048 + 1024, 256 + 512, 128 + 256, 64 + 64, 32]
    assert [kernel.shape[2] for kernel in kernels] == inputs
    small = shapes_of(MODELS["resnet20"].adapted(decoder="unet").build(CLASSES))
    kernels = [small[f"params/head/up{i}/conv1/kernel"] for i in (1, 2)]
    assert [k.shape for k in kernels] == [(3, 3, 64 + 32, 32), (3, 3, 32 + 16, 16)]


def test_the_heads_statistics_follow_its_mode_and_leave_padding_out():
    x, weight = images(4), np.array([1, 0, 1, 1], np.float32)
    stored = {"head/up1/norm1"}
    mode = TrainMode(stored=norms_of(UNET) - {"head/up1/norm2"} | stored)
    _, out = train(UNET, mode, x, weight=weight, inner=True)
    before = tree.flatten(variables_of(UNET.build(CLASSES)))
    rows = out["head/up1/conv2"][weight > 0].reshape(-1, 4).astype(np.float64)
    moved = 0.9 * before["batch_stats/head/up1/norm2/mean"] + 0.1 * rows.mean(0)
    np.testing.assert_allclose(out["head/up1/norm2/mean"], moved, rtol=1e-5, atol=1e-7)
    kept = before["batch_stats/head/up1/norm1/mean"]
    np.testing.assert_array_equal(out["head/up1/norm1/mean"], kept)


@pytest.mark.parametrize("name", list(DECODERS))
def test_dropout_is_by_the_examples_own_key(name: str):
    decoder = DECODERS[name](
        num_classes=CLASSES,
        width=2,
        halvings=1,
        norm=partial(BatchNorm, stored=frozenset(STORED)),
        mode=BlockMode(0),
        dropout=0.5,
        number=3,
    )
    x = jnp.asarray(images(1, 4)).repeat(3, axis=0)
    skips = [jnp.zeros((3, 8, 8, 1))]
    shapes = jax.eval_shape(
        lambda: decoder.init(jax.random.key(0), Pyramid(x, skips, (8, 8)), None)
    )
    draw = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: draw.uniform(0, 1, leaf.shape).astype(np.float32), shapes
    )
    batch = TrainBatch(keys=keys(4, 5, 4))
    run = jax.jit(lambda x: decoder.apply(variables, Pyramid(x, skips, (8, 8)), batch))
    logits = np.asarray(run(x))
    # XLA may add two examples up in another order.
    np.testing.assert_allclose(logits[0], logits[2], rtol=1e-5)
    assert np.abs(logits[0] - logits[1]).max() > 1e-2


def test_the_blocks_of_a_unet_are_rematerialised_unless_the_head_is_frozen():
    def recomputed(mode: TrainMode) -> int:
        model = UNET.build(CLASSES, mode=mode)
        variables = tree.unflatten(shapes_of(model))
        x = jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32)
        run = partial(model.apply, train=True, mutable=["batch_stats"])
        equations = _equations(jax.make_jaxpr(run)(variables, x).jaxpr)
        return sum(e.primitive.name in ("checkpoint", "remat2") for e in equations)

    assert recomputed(TrainMode()) == 0
    assert recomputed(TrainMode(remat=True)) == 3  # two blocks, and up1
    assert recomputed(TrainMode(remat=True, frozen=frozenset({"head"}))) == 2


def test_a_decoder_cannot_begin_in_the_middle():
    model = UNET.build(CLASSES)
    with pytest.raises(ValueError, match="unet decoder needs the image"):
        model.apply(variables_of(model), images(1), start="stage2")


def test_a_configuration_says_the_decoder_and_hears_it_back():
    for config, decoder in (
        (ModelConfig(name="resnet20", decoder="unet"), "unet"),
        (ModelConfig(name="resnet20"), "none"),
        (ModelConfig(name="fcn_resnet50"), "fcn"),
        (ModelConfig(name="vgg16", decoder="fcn", width=8), "fcn"),
    ):
        assert configured(config).decoder == decoder
        assert config_of(configured(config)) == config
    named = ModelConfig(name="fcn_resnet50", decoder="fcn")
    assert config_of(configured(named)) == ModelConfig(name="fcn_resnet50")


def test_another_decoder_than_the_networks_own_is_refused():
    with pytest.raises(InputError) as caught:
        MODELS["deeplabv3_resnet50"].adapted(decoder="none")
    assert str(caught.value) == (
        "deeplabv3_resnet50 has the decoder deeplabv3; to use none, give the network "
        "resnet50"
    )
