"""The name tables, in both directions, for every family and every layout."""

from collections.abc import Iterator

import numpy as np
import pytest
from networks import SMALL, numbered, shapes_of

from jft.errors import InputError
from jft.models import MODELS, ModelSpec
from jft.weights.export import find_layout, to_layout
from jft.weights.layout import Layout
from jft.weights.load import assign, head_classes
from jft.weights.names import layout_of, layouts

DECODING = {
    f"{name}-{decoder}": SMALL[name].adapted(decoder=decoder)
    for name, decoder in (
        ("bottleneck", "fcn"),
        ("bottleneck", "deeplabv3"),
        ("cifar", "unet"),
        ("vgg_bn", "unet"),
    )
}
PAIRS = [
    pytest.param(spec, layout, id=f"{name}-{layout.names[0]}")
    for name, spec in (SMALL | DECODING).items()
    for layout in layouts(spec)
]


@pytest.mark.parametrize(("spec", "layout"), PAIRS)
def test_out_and_in_again_is_the_same_to_the_bit(spec: ModelSpec, layout: Layout):
    variables = numbered(spec)
    tensors = to_layout(variables, layout, spec)
    counters = [name for name in tensors if name.endswith("num_batches_tracked")]
    assert len(tensors) == len(variables) + len(counters)
    assert all(array.flags.c_contiguous for array in tensors.values())
    assert layout_of(tensors, variables, spec).names == layout.names
    assert head_classes(tensors, spec) == 5
    placed, ignored = assign(shapes_of(spec.build(5)), tensors, "file", spec)
    assert list(ignored) == sorted(counters)
    assert list(placed) == list(variables)
    for name, array in variables.items():
        np.testing.assert_array_equal(placed[name], array, err_msg=name)


@pytest.mark.parametrize("name", list(MODELS))
def test_every_network_has_a_name_of_its_own_for_each_variable(name: str):
    spec = MODELS[name]
    shapes = shapes_of(spec.build(spec.num_classes))
    assert len(layouts(spec)) > 1
    for layout in layouts(spec):
        theirs = {layout.name(ours, spec) for ours in shapes}
        assert len(theirs) == len(shapes), layout.names
        assert layout.names == ("safetensors",) or theirs.isdisjoint(shapes)


# As their libraries' own code and files have them.
NAMES = """
resnet50 torchvision
  stage4/block2/conv3/kernel layer4.2.conv3.weight
  stem/norm/scale bn1.weight
resnet50 timm
  stage1/block0/shortcut/norm/bias layer1.0.downsample.1.bias
resnet50 transformers
  stage2/block1/conv3/kernel resnet.encoder.stages.1.layers.1.layer.2.convolution.weight
  head/bias classifier.1.bias
resnet50d timm
  stem/conv3/kernel conv1.6.weight
  stem/norm2/scale conv1.4.weight
  stem/norm3/scale bn1.weight
  stage2/block0/shortcut/conv/kernel layer2.0.downsample.1.weight
resnet20 akamaster
  head/kernel linear.weight
vgg16 torchvision
  stage5/layer2/conv/kernel features.28.weight
vgg16_bn torchvision
  stage5/layer2/conv/kernel features.40.weight
  stage1/layer1/norm/scale features.4.weight
vgg11 torchvision
  pre_logits/fc2/kernel classifier.3.weight
vgg11 timm
  head/kernel head.fc.weight
vgg16 keras
  stage3/layer1/conv/bias block3_conv2/bias
keras_resnet50 keras
  stage1/block0/conv1/kernel conv2_block1_1_conv/kernel
  stage4/block2/norm3/bias conv5_block3_3_bn/beta
keras_resnet50 keras3
  stage4/block2/norm3/bias conv5_block3_3_bn/1
keras_resnet50v2 keras
  stage2/block1/norm1/scale conv3_block2_preact_bn/gamma
  stage2/block1/norm3/scale conv3_block2_2_bn/gamma
  stage4/norm/bias post_bn/beta
resnetv2_50x1_bit bit
  stage3/block5/norm2/scale resnet/block3/unit06/b/group_norm/gamma
  stage1/block0/shortcut/kernel resnet/block1/unit01/a/proj/standardized_conv2d/kernel
resnetv2_50x1_bit timm
  stage4/norm/scale norm.weight
  stem/kernel stem.conv.weight
fcn_resnet50 torchvision
  stem/norm/scale backbone.bn1.weight
  head/conv/kernel classifier.0.weight
fcn_resnet101 torchvision
  head/classifier/bias classifier.4.bias
deeplabv3_resnet50 torchvision
  head/aspp3/norm/bias classifier.0.convs.2.1.bias
deeplabv3_resnet101 torchvision
  stage3/block22/conv2/kernel backbone.layer3.22.conv2.weight
"""


def names() -> Iterator[tuple[str, ...]]:
    """Yield network, library, our name and theirs of each line of `NAMES`."""
    library: tuple[str, ...] = ()
    for line in NAMES.strip().splitlines():
        if line.startswith(" "):
            yield *library, *line.split()
        else:
            library = tuple(line.split())


@pytest.mark.parametrize(("model", "layout", "ours", "theirs"), list(names()))
def test_names_are_those_of_the_other_library(
    model: str, layout: str, ours: str, theirs: str
):
    spec = MODELS[model]
    found = next(one for one in layouts(spec) if layout in one.names)
    assert found.name(f"params/{ours}", spec) == theirs


def test_a_classifier_over_flattened_features_is_reordered():
    # Torch flattens [C, 7, 7], we [7, 7, C]: element (c, y, x) of channel c.
    spec = SMALL["vgg"]
    kernel = numbered(spec)["params/pre_logits/fc1/kernel"]
    layout = find_layout("torchvision", spec)
    theirs = layout.to_theirs(kernel, "params/pre_logits/fc1/kernel")
    grid = kernel.reshape(7, 7, 8, 6)
    assert theirs.shape == (6, 8 * 49)
    assert theirs[5, 3 * 49 + 2 * 7 + 4] == grid[2, 4, 3, 5]


@pytest.mark.parametrize(
    ("network", "layout"),
    [("vgg", "torchvision"), ("vgg", "timm"), ("bit", "bit"), ("keras", "keras")],
)
def test_no_tensor_is_copied_to_be_in_our_layout(network: str, layout: str):
    spec = SMALL[network]
    found = find_layout(layout, spec)
    tensors = to_layout(numbered(spec), found, spec)
    for ours in numbered(spec):
        theirs = tensors[found.name(ours, spec)]
        assert np.shares_memory(found.to_ours(theirs, ours), theirs), ours


def test_an_unknown_layout_is_answered_with_those_of_the_network():
    with pytest.raises(InputError) as caught:
        find_layout("torchvison", MODELS["resnet50"])
    assert str(caught.value) == (
        "resnet50 has no layout 'torchvison'; did you mean 'torchvision'? "
        "(layouts: safetensors, torchvision, timm, transformers)"
    )
    with pytest.raises(InputError, match=r"layouts: safetensors, keras\)"):
        find_layout("torchvision", MODELS["keras_resnet50"])
    with pytest.raises(InputError, match=r"layouts: safetensors\)"):
        find_layout("torchvision", MODELS["resnet50"].adapted(decoder="unet"))
