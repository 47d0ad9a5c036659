"""The networks' shapes, names, cuts, shortcuts and padding."""

import dataclasses
import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from networks import SMALL, shapes_of, small, variables_of

from jft import tree
from jft.errors import InputError
from jft.models import MODELS, ModelSpec
from jft.models.layers import Conv, standardise
from jft.models.network import Network
from jft.models.norm import GroupNorm
from jft.models.resnet import halve, pad_shortcut
from jft.models.training import TrainBatch
from jft.models.vgg import adaptive_pool


def trainable(shapes: dict[str, tuple[int, ...]]) -> int:
    sizes = {n: int(np.prod(s)) for n, s in shapes.items() if "running_" not in n}
    return sum(sizes.values())


def published(name: str) -> Network:
    return MODELS[name].build(MODELS[name].num_classes)


@pytest.mark.parametrize("name", list(MODELS))
def test_parameters_are_as_many_as_published(name: str):
    spec = MODELS[name]
    shapes = shapes_of(published(name))
    params = {n: s for n, s in shapes.items() if n.startswith("params/")}
    assert tree.count(params) == spec.parameters
    if name in reference.SIZES:
        theirs = reference.shapes_of(name, spec.num_classes)
        assert spec.parameters == trainable(theirs)
    assert all(leaf.dtype == jnp.float32 for leaf in shapes.values())


@pytest.mark.parametrize("classes", [1, 2, 1001])
@pytest.mark.parametrize("width", [2, 6, 24])
@pytest.mark.parametrize("name", ["basic", "bottleneck", "cifar"])
def test_any_width_and_number_of_classes_make_the_network_torch_would(
    name: str, width: int, classes: int
):
    spec = SMALL[name]
    shapes = shapes_of(spec.adapted(width=width).build(classes))
    theirs = reference.torch_shapes(
        spec.stage_sizes,
        width=width,
        classes=classes,
        small=name == "cifar",
        bottleneck=name == "bottleneck",
    )
    ours = sorted(tuple(sorted(leaf.shape)) for leaf in shapes.values())
    assert ours == sorted(tuple(sorted(shape)) for shape in theirs.values())
    assert shapes["params/head/bias"].shape == (classes,)
    assert shapes["params/stem/conv/kernel"].shape[-1] == width


def test_names_are_explicit():
    shapes = shapes_of(MODELS["resnet50"].build(1000))
    expected = {
        "params/stem/conv/kernel": (7, 7, 3, 64),
        "params/stem/norm/scale": (64,),
        "params/stage1/block0/conv1/kernel": (1, 1, 64, 64),
        "params/stage1/block0/conv2/kernel": (3, 3, 64, 64),
        "params/stage1/block0/norm3/bias": (256,),
        "params/stage1/block0/shortcut/conv/kernel": (1, 1, 64, 256),
        "params/stage1/block0/shortcut/norm/scale": (256,),
        "params/stage3/block5/conv3/kernel": (1, 1, 256, 1024),
        "params/stage4/block0/shortcut/conv/kernel": (1, 1, 1024, 2048),
        "params/head/kernel": (2048, 1000),
        "params/head/bias": (1000,),
        "batch_stats/stem/norm/mean": (64,),
        "batch_stats/stage4/block2/norm3/var": (2048,),
    }
    assert {name: shapes[name].shape for name in expected} == expected
    parts = {part for name in shapes for part in name.split("/")}
    # Flax numbers what is not named: Conv_0.
    assert not [part for part in parts if "_" in part and part != "batch_stats"]


def test_a_shortcut_has_weights_only_where_the_shape_changes():
    names = {
        name: [n for n in shapes_of(published(name)) if "shortcut/conv" in n]
        for name in ("resnet18", "resnet50", "resnet20")
    }
    stages = [f"params/stage{i}/block0/shortcut/conv/kernel" for i in range(1, 5)]
    assert sorted(names["resnet18"]) == stages[1:]
    assert sorted(names["resnet50"]) == stages
    assert names["resnet20"] == []


@pytest.mark.parametrize(
    "name", ["resnet50", "resnet20", "resnet26d", "vgg13_bn", "resnetv2_50x1_bit"]
)
def test_stages_and_layers_cover_every_parameter_in_depth_order(name: str):
    spec = MODELS[name]
    shapes = shapes_of(published(name))
    names = [n.removeprefix("params/") for n in shapes if n.startswith("params/")]
    modules = dict.fromkeys(n.split("/")[0] for n in names)
    assert set(spec.stages) == set(modules)
    assert spec.stages[-1] == "head"
    for name in names:
        # What normalises the last stage's output belongs to no block.
        count = 0 if name.startswith("stage4/norm/") else 1
        assert sum(name.startswith(f"{layer}/") for layer in spec.layers) == count
    assert len(spec.layers) == sum(spec.stage_sizes) + (
        2 if spec.variant.residual else 3
    )


def image(*shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(1), shape)


def run(
    spec: ModelSpec, variables: Any, x: Any, weight: Any, **part: str
) -> tuple[Any, Any]:
    """Run some stages in training mode."""
    y, changed = spec.build(3).apply(
        variables, x, train=True, weight=weight, mutable=["batch_stats"], **part
    )
    return y, tree.flatten(changed.get("batch_stats", {}))


def in_parts(
    spec: ModelSpec, cuts: tuple[int, ...], variables: Any, x: Any, weight: Any
) -> tuple[Any, Any]:
    """Run parts that end before the given stages, each with its own variables only."""
    stats = {}
    for first, end in itertools.pairwise((0, *cuts, len(spec.stages))):
        stages = spec.stages[first:end]
        own = {
            kind: {stage: leaves[stage] for stage in stages if stage in leaves}
            for kind, leaves in variables.items()
        }
        x, changed = run(spec, own, x, weight, start=stages[0], stop=stages[-1])
        stats |= changed
    return x, stats


CUTS = [
    pytest.param(spec, cuts, id=f"{name}-{'-'.join(map(str, cuts))}")
    for name, spec in SMALL.items()
    for cuts in ((1,), (2,), (1, 2, 3))
]


@pytest.mark.parametrize(("spec", "cuts"), CUTS)
def test_parts_are_the_same_program_as_the_whole_network(
    spec: ModelSpec, cuts: tuple[int, ...]
):
    arguments = (
        tree.unflatten(shapes_of(spec.build(3))),
        image(2, 33, 30, 3),
        jnp.ones(2),
    )
    whole = jax.make_jaxpr(functools.partial(run, spec))(*arguments)
    parts = jax.make_jaxpr(functools.partial(in_parts, spec, cuts))(*arguments)
    assert str(parts) == str(whole)


def test_two_parts_compiled_apart_give_the_logits_of_the_whole_network():
    spec = SMALL["cifar"]
    variables, x = variables_of(spec.build(3)), image(2, 33, 30, 3)
    weight = jnp.array([1.0, 0.0])
    run_part = jax.jit(run, static_argnums=0, static_argnames=("start", "stop"))
    logits, stats = run_part(spec, variables, x, weight)
    features, _ = run_part(spec, variables, x, weight, stop="stage1")
    again, upper = run_part(spec, variables, features, weight, start="stage2")
    # Not to the bit: XLA fuses, and so rounds, across the cut in one program only.
    np.testing.assert_allclose(again, logits, rtol=2e-5)
    for name, leaf in stats.items():
        if name.startswith("stage2/"):
            np.testing.assert_allclose(upper[name], leaf, rtol=2e-5, atol=1e-6)
        else:
            before = tree.flatten(variables["batch_stats"])[name]
            np.testing.assert_array_equal(upper[name], before)


def test_features_between_stages_halve_in_size_and_double_in_channels():
    model = MODELS["resnet50"].build(7)
    x = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    variables = tree.unflatten(shapes_of(model))

    def shape_after(stop: str) -> tuple[int, ...]:
        apply = functools.partial(model.apply, stop=stop)
        return jax.eval_shape(apply, variables, x).shape

    assert {stage: shape_after(stage) for stage in model.stages} == {
        "stem": (1, 16, 16, 64),
        "stage1": (1, 16, 16, 256),
        "stage2": (1, 8, 8, 512),
        "stage3": (1, 4, 4, 1024),
        "stage4": (1, 2, 2, 2048),
        "head": (1, 7),
    }


def test_the_padded_shortcut_takes_every_second_pixel_and_adds_zeros_on_both_sides():
    x = np.arange(2 * 5 * 4 * 3, dtype=np.float32).reshape(2, 5, 4, 3) + 1
    y = np.asarray(pad_shortcut(jnp.asarray(x), 7))
    expected = np.zeros((2, 3, 2, 7), np.float32)
    for row in range(3):
        for column in range(2):
            expected[:, row, column, 2:5] = x[:, 2 * row, 2 * column]
    np.testing.assert_array_equal(y, expected)


def test_a_convolution_of_stride_two_pads_both_sides_unlike_same():
    x = jnp.arange(16, dtype=jnp.float32).reshape(1, 4, 4, 1)
    kernel = jnp.ones((3, 3, 1, 1))
    y = Conv(1, 3, 2).apply({"params": {"kernel": kernel}}, x)
    # By hand: the first window is rows and columns -1 to 1, so 0 + 1 + 4 + 5.
    np.testing.assert_array_equal(y[0, :, :, 0], [[10, 24], [51, 90]])
    same = jax.lax.conv_general_dilated(
        x, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_array_equal(same[0, :, :, 0], [[45, 39], [66, 50]])


def test_the_stem_pools_with_padding_that_never_wins():
    model = SMALL["basic"].build(3)
    variables = variables_of(model)
    # Negative before the ReLU everywhere: a padding of -inf must not show.
    flat = tree.flatten(variables)
    flat["params/stem/norm/bias"] = jnp.full(4, -1e6)
    stem = jax.jit(functools.partial(model.apply, stop="stem"))
    y = stem(tree.unflatten(flat), image(1, 16, 16, 3))
    np.testing.assert_array_equal(y, np.zeros((1, 4, 4, 4)))


def test_fresh_kernels_are_drawn_like_torchvisions():
    spec = dataclasses.replace(MODELS["resnet18"], stage_sizes=())
    names = ("head/kernel", "head/bias", "stem/conv/kernel")

    @jax.jit
    def init(key: jax.Array) -> dict[str, jax.Array]:
        variables = spec.build(900).init(key, jnp.zeros((1, 8, 8, 3)))
        return {name: tree.flatten(variables["params"])[name] for name in names}

    params = init(jax.random.key(0))
    kernel = np.asarray(params["head/kernel"])  # [64, 900]
    bound = 1 / np.sqrt(64)
    assert np.abs(kernel).max() <= bound
    assert np.std(kernel) == pytest.approx(bound / np.sqrt(3), rel=0.01)
    np.testing.assert_array_equal(params["head/bias"], np.zeros(900))
    # torchvision: kaiming_normal_(mode="fan_out", nonlinearity="relu").
    kernel = np.asarray(params["stem/conv/kernel"])  # [7, 7, 3, 64]
    deviation = np.sqrt(2 / (7 * 7 * 64))
    assert np.std(kernel) == pytest.approx(deviation, rel=0.03)
    # Of 9408 normal numbers about 25 are beyond 3; truncated ones end near 2.
    assert np.abs(kernel).max() > 3 * deviation


def test_halving_an_odd_size_averages_the_pixels_that_exist():
    x = jnp.arange(15, dtype=jnp.float32).reshape(1, 3, 5, 1)
    # torch's AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False), by hand.
    expected = [[3, 5, 6.5], [10.5, 12.5, 14]]
    np.testing.assert_array_equal(halve(x)[0, :, :, 0], expected)


@pytest.mark.parametrize(("height", "width"), [(7, 7), (1, 2), (10, 13), (14, 7)])
def test_adaptive_pooling_averages_the_areas_of_torch(height: int, width: int):
    x = np.asarray(image(2, height, width, 3))
    expected = np.zeros((2, 7, 7, 3), np.float32)
    for i in range(7):
        rows = slice(i * height // 7, -(-(i + 1) * height // 7))
        for j in range(7):
            columns = slice(j * width // 7, -(-(j + 1) * width // 7))
            expected[:, i, j] = x[:, rows, columns].mean((1, 2))
    pooled = adaptive_pool(jnp.asarray(x), 7)
    np.testing.assert_allclose(pooled, expected, rtol=1e-5, atol=1e-6)


def test_a_standardised_kernel_has_mean_0_and_variance_1_per_output():
    kernel = np.asarray(standardise(3 + 5 * image(3, 3, 8, 4)))
    np.testing.assert_allclose(kernel.mean((0, 1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(kernel.var((0, 1, 2)), 1, rtol=1e-5)


@pytest.mark.thorough
def test_groups_are_normalised_by_themselves_and_images_alone():
    x = np.asarray(image(3, 5, 4, 12)) * 3 + 1
    norm = GroupNorm(groups=4)
    variables = {"params": {"scale": jnp.arange(12.0), "bias": jnp.ones(12)}}
    y = norm.apply(variables, jnp.asarray(x), TrainBatch(jnp.zeros(3)))
    for i in range(3):
        for group in range(4):
            part = x[i, :, :, group * 3 : group * 3 + 3].astype(np.float64)
            normal = (part - part.mean()) / np.sqrt(part.var() + 1e-5)
            expected = normal * np.arange(group * 3, group * 3 + 3) + 1
            ours = y[i, :, :, group * 3 : group * 3 + 3]
            np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", list(SMALL))
def test_a_network_says_whether_it_normalises_by_batches(name: str):
    shapes = shapes_of(SMALL[name].build(3))
    has_statistics = any(leaf.startswith("batch_stats/") for leaf in shapes)
    assert bool(SMALL[name].normalising) == has_statistics


def test_a_pooled_vgg_has_a_head_over_the_features_means():
    spec = small("vgg11_bn").adapted(pooled_head=True)
    assert spec.stages == ("stage1", "stage2", "head")
    assert "head" in spec.layers
    assert not [layer for layer in spec.layers if "fc" in layer]
    assert shapes_of(spec.build(3))["params/head/kernel"].shape == (8, 3)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet50", {"width": 0}, "width of resnet50 must be at least 1, got 0"),
        ("resnet20", {"width": 3}, "width of resnet20 must be a multiple of 2, got 3"),
        (
            "resnetv2_50x1_bit",
            {"width": 48},
            "width of resnetv2_50x1_bit must be a multiple of 32, got 48",
        ),
        (
            "resnext50_32x4d",
            {"width": 8},
            "width of resnext50_32x4d must be a multiple of 16, got 8",
        ),
        (
            "resnet18",
            {"pooled_head": True},
            "resnet18 has a pooled head already; model.pooled_head is for VGG networks",
        ),
    ],
)
def test_what_a_network_cannot_be_is_refused(
    name: str, options: dict[str, Any], message: str
):
    with pytest.raises(InputError) as caught:
        MODELS[name].adapted(**options)
    assert str(caught.value) == message
