"""Weights of and for networks with decoders."""

import dataclasses

import numpy as np
import pytest
from networks import SMALL, numbered, shapes_of

from jft.errors import InputError
from jft.models import MODELS, ModelSpec
from jft.weights.export import find_layout, to_layout
from jft.weights.load import assign, head_classes, usual_preprocess
from jft.weights.published import by_file_name, published

FCN = SMALL["bottleneck"].adapted(decoder="fcn")


def written(spec: ModelSpec, layout: str, classes: int = 5) -> dict[str, np.ndarray]:
    """Return the checkpoint of a network in a layout."""
    return to_layout(numbered(spec, classes), find_layout(layout, spec), spec)


def fresh(
    spec: ModelSpec, tensors: dict[str, np.ndarray], **options: bool
) -> tuple[set[str], tuple[str, ...]]:
    """Return what a checkpoint leaves new, and what is left of it."""
    shapes = shapes_of(spec.build(5))
    placed, ignored = assign(shapes, tensors, "file", spec, **options)
    return set(shapes) - set(placed), ignored


def test_the_second_head_of_torchvisions_training_is_ignored_and_named():
    tensors = written(FCN, "torchvision")
    tensors["aux_classifier.0.weight"] = np.zeros((2, 8, 3, 3), np.float32)
    new, ignored = fresh(FCN, tensors)
    assert new == set()
    counters = {name for name in tensors if name.endswith("num_batches_tracked")}
    assert set(ignored) == {"aux_classifier.0.weight", *counters}


@pytest.mark.parametrize("layout", ["safetensors", "torchvision"])
def test_other_classes_make_the_last_layer_new_and_it_alone(layout: str):
    last = {"params/head/classifier/kernel", "params/head/classifier/bias"}
    tensors = written(FCN, layout, classes=21)
    assert head_classes(tensors, FCN) == 21
    assert fresh(FCN, tensors)[0] == last
    same = written(FCN, layout)
    assert fresh(FCN, same)[0] == set()
    assert fresh(FCN, same, new_head=True)[0] == last


@pytest.mark.parametrize(
    ("name", "decoder", "layout"),
    [
        ("bottleneck", "fcn", "torchvision"),
        ("bottleneck", "deeplabv3", "transformers"),
        ("deep", "unet", "timm"),
        ("cifar", "unet", "safetensors"),
        ("cifar", "unet", "akamaster"),
        ("cifar", "unet", "torchvision"),
        ("vgg", "fcn", "keras"),
        ("vgg_bn", "unet", "timm"),
        ("keras", "unet", "keras"),
    ],
)
def test_a_classifiers_weights_are_a_backbone_under_a_new_head(
    name: str, decoder: str, layout: str
):
    spec = dataclasses.replace(SMALL[name], decoder=decoder)
    tensors = written(SMALL[name], layout)
    assert head_classes(tensors, spec) is None
    shapes = shapes_of(spec.build(5))
    placed, ignored = assign(shapes, tensors, "file", spec)
    assert set(shapes) - set(placed) == {n for n in shapes if "/head/" in n}
    before = numbered(SMALL[name])
    for ours, array in placed.items():
        np.testing.assert_array_equal(array, before[ours])
    # The classifier, a VGG's hidden layers, and torch's counters.
    taken = len(tensors) - len(placed)
    assert len(ignored) == taken
    assert taken >= (6 if name.startswith("vgg") else 2)


def test_a_kerass_vgg_brings_its_pixels_to_a_decoder_too():
    spec = SMALL["vgg"].adapted(decoder="unet")
    tensors = written(SMALL["vgg"], "keras")
    assert usual_preprocess(tensors, spec).channels == "bgr"


@pytest.mark.parametrize("layout", ["safetensors", "torchvision"])
def test_a_segmentation_networks_weights_are_refused_for_a_classifier(layout: str):
    spec = SMALL["bottleneck"]
    with pytest.raises(InputError) as caught:
        assign(shapes_of(spec.build(5)), written(FCN, layout), "x.pth", spec)
    assert str(caught.value) == (
        "x.pth is a segmentation network, but resnet50 predicts one class per image: "
        "use other weights, or a network with a decoder"
    )


def test_a_decoder_without_one_of_its_layers_is_an_error():
    tensors = written(FCN, "torchvision")
    del tensors["classifier.0.weight"]
    with pytest.raises(InputError, match=r"head/conv/kernel \(classifier.0.weight\)"):
        fresh(FCN, tensors)


# As torchvision 0.28 states them in models/segmentation.
FILES = {
    "fcn_resnet50": "fcn_resnet50_coco-1167a1af.pth",
    "fcn_resnet101": "fcn_resnet101_coco-7ecb50ca.pth",
    "deeplabv3_resnet50": "deeplabv3_resnet50_coco-cd0a2569.pth",
    "deeplabv3_resnet101": "deeplabv3_resnet101_coco-586e9e4e.pth",
}


@pytest.mark.parametrize("name", list(FILES))
def test_torchvisions_segmentation_weights_are_published(name: str):
    row = published()[f"torchvision:{name}/COCO_WITH_VOC_LABELS_V1"]
    assert by_file_name(FILES[name]) == row
    assert row.file == f"https://download.pytorch.org/models/{FILES[name]}"
    assert row.digest == f"sha256:{FILES[name][-12:-4]}"
    assert row.model == name
    # All of the shorter side, and no crop beyond the square.
    assert (row.preprocess.size, row.preprocess.resized) == (520, 520)
    assert row.preprocess == MODELS[name].preprocess
    assert len(row.class_names) == MODELS[name].num_classes == 21
    assert (row.class_names[0], row.class_names[15]) == ("__background__", "person")
    assert published()["torchvision:resnet50/IMAGENET1K_V2"].class_names == ()
