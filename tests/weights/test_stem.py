"""The first convolution of RGB weights, adapted to other channels."""

import numpy as np
import pytest

from jft import tree
from jft.config import ModelConfig
from jft.config.schema import StemInit
from jft.errors import InputError
from jft.models import configured
from jft.preprocess import CAFFE, Preprocess
from jft.weights.find import find_weights
from jft.weights.opened import Opened, open_weights
from jft.weights.pretrained import build
from jft.weights.stem import adapted

KERNEL = np.random.default_rng(0).normal(size=(3, 3, 3, 4)).astype(np.float32)


def by_timm(kernel: np.ndarray, channels: int) -> np.ndarray:
    """timm's `adapt_input_conv`, restated for kernels [h, w, 3, O]."""
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True)
    repeats = -(-channels // 3)
    return np.tile(kernel, (1, 1, repeats, 1))[:, :, :channels] * (3 / channels)


@pytest.mark.parametrize("channels", [1, 2, 4, 6, 7])
def test_auto_is_what_timm_does(channels: int):
    found = adapted(KERNEL, channels, "auto")
    np.testing.assert_allclose(found, by_timm(KERNEL, channels), rtol=1e-6)


@pytest.mark.oracle
@pytest.mark.parametrize("channels", [1, 2, 4, 6, 7])
def test_auto_is_timm(channels: int):
    torch = pytest.importorskip("torch")
    from cpu_torchvision import import_torchvision

    import_torchvision()
    manipulate = pytest.importorskip("timm.models._manipulate")
    theirs = manipulate.adapt_input_conv(
        channels, torch.from_numpy(KERNEL.transpose(3, 2, 0, 1).copy())
    )
    found = adapted(KERNEL, channels, "auto").transpose(3, 2, 0, 1)
    np.testing.assert_allclose(found, theirs.numpy(), rtol=1e-6)


@pytest.mark.parametrize("how", ["sum", "repeat"])
def test_grey_in_six_channels_has_the_response_of_grey_in_three(how: StemInit):
    # The response to equal channels is the sum over the channels of the kernel.
    found = adapted(KERNEL, 6, how).sum(axis=2)
    np.testing.assert_allclose(found, KERNEL.sum(axis=2), rtol=0, atol=1e-6)


def test_mean_gives_each_channel_the_mean_of_the_kernels():
    found = adapted(KERNEL, 5, "mean")
    for channel in range(5):
        expected = (KERNEL[:, :, 0] + KERNEL[:, :, 1] + KERNEL[:, :, 2]) / 3
        np.testing.assert_allclose(found[:, :, channel], expected, rtol=0, atol=1e-6)


def bundled(**model: object) -> tuple[Opened, ModelConfig]:
    opened = open_weights(find_weights("default", None))
    return opened, opened.network(ModelConfig(**model))  # type: ignore[arg-type]


@pytest.mark.parametrize("channels", [1, 4])
def test_a_network_for_other_channels_has_the_adapted_kernel(channels: int):
    opened, config = bundled(channels=channels)
    spec = configured(config)
    given = opened.preprocess_for(spec)
    preprocess = opened.preprocess_for(spec, wanted=config)
    assert len(preprocess.mean) == len(preprocess.std) == channels
    if channels == 4:
        assert preprocess.mean == (*given.mean, given.mean[0])
    built = build(opened, spec, preprocess, 10)
    usual = build(opened, spec, given, 10)
    found, kernel = (
        np.asarray(tree.flatten(each.variables)["params/stem/conv/kernel"])
        for each in (built, usual)
    )
    np.testing.assert_allclose(found, by_timm(kernel, channels), rtol=1e-6)
    assert f"of 3 channels for {channels}" in str(built.report)
    image = np.zeros((2, 32, 32, channels), np.uint8)
    assert built(image).shape == (2, 10)


def test_the_mean_and_the_deviation_of_each_channel_can_be_given():
    opened, config = bundled(channels=2, mean="0.1,0.2", std="0.3,0.4")
    preprocess = opened.preprocess_for(configured(config), wanted=config)
    assert (preprocess.mean, preprocess.std) == ((0.1, 0.2), (0.3, 0.4))
    opened, config = bundled(channels=2, mean="0.1,0.2,0.3")
    with pytest.raises(InputError, match="mean must be 2 numbers separated by commas"):
        opened.preprocess_for(configured(config), wanted=config)


def test_bgr_weights_are_not_adapted():
    assert CAFFE.with_channels(3) == CAFFE
    with pytest.raises(InputError, match="take BGR pixels; take weights for RGB"):
        CAFFE.with_channels(1)


def test_one_channel_has_the_average_of_the_means():
    grey = Preprocess(mean=(0.1, 0.2, 0.6), std=(0.1, 0.2, 0.3)).with_channels(1)
    np.testing.assert_allclose((*grey.mean, *grey.std), (0.3, 0.2))
