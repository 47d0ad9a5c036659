"""A network in Python: its default weights, its logits and features."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

import jft
from jft.errors import InputError
from jft.models import MODELS, ModelSpec
from jft.models.pixels import normalise
from jft.train.resolve import resolve
from jft.weights.find import find_weights
from jft.weights.pretrained import Pretrained, load_pretrained
from jft.weights.published import default_weights, published


@pytest.fixture(scope="module")
def net() -> Pretrained:
    return load_pretrained()


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    draw = np.random.default_rng(0)
    return draw.integers(0, 256, (2, 32, 32, 3), np.uint8)


@pytest.mark.parametrize(
    ("model", "weights"),
    [
        (None, "resnet20-cifar10"),
        ("resnet20", "resnet20-cifar10"),
        # torchvision's DEFAULT, and the default tags of timm 1.0.
        ("resnet50", "torchvision:resnet50/IMAGENET1K_V2"),
        ("resnet18", "torchvision:resnet18/IMAGENET1K_V1"),
        ("vgg16", "torchvision:vgg16/IMAGENET1K_V1"),
        (
            "deeplabv3_resnet50",
            "torchvision:deeplabv3_resnet50/COCO_WITH_VOC_LABELS_V1",
        ),
        ("resnet50d", "timm:resnet50d.ra2_in1k"),
        ("resnet26d", "timm:resnet26d.bt_in1k"),
        ("resnetv2_50x1_bit", "bit:M-R50x1"),
        ("keras_resnet50v2", "keras:resnet50v2"),
    ],
)
def test_each_network_has_its_default_weights(model: str | None, weights: str):
    found = find_weights("default", model)
    assert found.name == weights
    assert found == find_weights(weights)


def test_every_network_has_default_weights_of_its_own_or_an_error():
    without = {"resnet32", "resnet44", "resnet56", "resnet110", "resnet20"}
    for model in MODELS:
        name = default_weights(model)
        assert (name is None) == (model in without), model
        if name:
            assert published()[name].model == model


@pytest.mark.parametrize("model", ["resnet32", "resnet110"])
def test_a_network_without_published_weights_says_what_to_do(model: str):
    with pytest.raises(InputError) as caught:
        load_pretrained(model)
    assert str(caught.value) == (
        f"{model} has no published weights that jft knows: name a file, or give "
        "weights='none' for random ones (--weights none)"
    )


def test_a_run_begins_with_the_default_weights_and_records_their_name():
    assert resolve(jft.TrainConfig()).config.weights == "resnet20-cifar10"
    with pytest.raises(InputError, match="resnet32 has no published weights"):
        resolve(jft.TrainConfig(model=jft.ModelConfig(name="resnet32")))
    with pytest.raises(InputError, match="unknown model 'resnet5O'; did you mean"):
        resolve(jft.TrainConfig(model=jft.ModelConfig(name="resnet5O")))


@pytest.mark.parametrize("weights", [None, 3, ["a"]])
def test_weights_that_are_no_name_are_refused(weights: object):
    with pytest.raises(InputError, match="must be a path or a name, got"):
        load_pretrained("resnet20", weights)


def test_an_unknown_decoder_is_refused():
    with pytest.raises(InputError, match=r"unknown decoder 'pspnet'.*\ndecoders: auto"):
        load_pretrained(decoder="pspnet")


def test_a_decoder_goes_on_a_classifiers_backbone(tiny: ModelSpec):
    built = load_pretrained("tiny", "none", 3, decoder="unet")
    assert built.spec.decoder == "unet"
    assert built(np.zeros((1, 32, 32, 3), np.uint8)).shape == (1, 32, 32, 3)


def test_logits_and_features_are_those_of_the_module(
    net: Pretrained, images: np.ndarray
):
    inputs = normalise(jax.numpy.asarray(images), net.preprocess)
    apply = jax.jit(net.model.apply, static_argnames="stop")
    logits = apply(net.variables, inputs)
    # Normalising in the same program rounds otherwise: 1e-6 of logits up to 5.
    np.testing.assert_allclose(net(images), logits, atol=1e-5)
    np.testing.assert_array_equal(net(jax.numpy.asarray(images)), net(images))
    features = net.features(images, stop="stage2")
    assert features.shape == (2, 16, 16, 32)
    expected = apply(net.variables, inputs, stop="stage2")
    np.testing.assert_allclose(features, expected, atol=1e-5)
    # The head is one dense layer on the means of the last features.
    head = net.variables["params"]["head"]
    means = np.asarray(net.features(images, "stage3"), np.float64).mean((1, 2))
    by_hand = means @ np.asarray(head["kernel"], np.float64) + head["bias"]
    np.testing.assert_allclose(logits, by_hand, atol=1e-4)  # float32 sums of 64


@pytest.mark.parametrize("stop", ["head", "stage4", "satge2"])
def test_an_unknown_stage_is_refused(net: Pretrained, images: np.ndarray, stop: str):
    with pytest.raises(InputError, match=r"\nstages: stem, stage1, stage2, stage3$"):
        net.features(images, stop)


def test_an_image_in_any_form_gives_the_same_logits(
    net: Pretrained, images: np.ndarray, tmp_path: Path
):
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    expected = net(images)
    for given in (
        paths,
        [str(path) for path in paths],
        [Image.open(path) for path in paths],
        list(images),
        tuple(images),
        np.concatenate([images, np.full_like(images[..., :1], 255)], axis=-1),
    ):
        np.testing.assert_array_equal(net(given), expected)
    for one in (paths[0], str(paths[0]), Image.open(paths[0]), images[0]):
        # Another number of images is another program, which adds in another order.
        np.testing.assert_allclose(net(one), expected[:1], atol=1e-5)


def test_grey_images_are_their_own_red_green_and_blue(net: Pretrained):
    grey = np.random.default_rng(1).integers(0, 256, (32, 32), np.uint8)
    expected = net(np.stack([grey] * 3, -1)[None])
    for given in (grey, grey[..., None], Image.fromarray(grey), grey[None, ..., None]):
        np.testing.assert_array_equal(net(given), expected)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 8, 8, 3), np.float32), "not float32; multiply by 255 if"),
        (np.zeros((8, 8, 3), np.int32), "images[0]: an image is uint8 in 0..255"),
        (np.zeros((2, 3, 8, 8), np.uint8), "channels come last"),
        (np.zeros(8, np.uint8), "images[0]: an image is [H, W, 3], not [8]"),
        ([], "images is empty"),
        (["no/such.png"], "'no/such.png': no such file"),
        (None, "images[0]: an image is uint8"),
        ([{"image": 1}], "images[0]: an image is uint8"),
    ],
)
def test_what_is_no_image_is_refused(net: Pretrained, images: object, message: str):
    with pytest.raises(InputError) as caught:
        net(images)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_network_prints_in_a_line(net: Pretrained):
    assert repr(net) == (
        "Pretrained(resnet20, weights='resnet20-cifar10', 32 x 32 pixels, 10 outputs)"
    )


def test_models_and_weights_are_listed():
    assert jft.list_models() == list(MODELS)
    assert jft.list_models("101d") == ["resnet101d"]
    assert jft.list_models("resnet??") == [
        *("resnet18", "resnet34", "resnet50", "resnet20", "resnet32", "resnet44"),
        "resnet56",
    ]
    assert jft.list_weights("keras:vgg") == ["keras:vgg16", "keras:vgg19"]
    # By the network too: keras_resnet50 is not in the name of its weights.
    assert jft.list_weights("keras_resnet50v2") == ["keras:resnet50v2"]
    assert jft.list_weights("no such") == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: jft.load_pretrained(5), "name of a network must be text, got 5"),
        (lambda: jft.list_models(3), "a pattern of names must be text, got 3"),
        (lambda: jft.list_weights(3), "a pattern of names must be text, got 3"),
        (lambda: jft.Run(5), "given by the path of its folder, got 5"),
        (lambda: jft.EarlyStopping("3"), "patience of at least 1 .* got '3' and 0.0"),
        (lambda: jft.FreezeSpec.parse("until:x"), "needs the network whose parts"),
    ],
)
def test_an_argument_of_another_type_is_one_clear_error(call: Any, message: str):
    with pytest.raises(InputError, match=message):
        call()
