"""The first convolution of RGB weights, for images of other channels."""

import numpy as np

from jft.config.schema import StemInit
from jft.preprocess import Preprocess

STEMS = (
    "params/stem/conv/kernel",
    "params/stem/conv1/kernel",
    "params/stem/kernel",
    "params/stage1/layer0/conv/kernel",
)
"""What the first convolution is called in our networks."""


def chosen(how: StemInit, channels: int) -> StemInit:
    """Return what auto means, as in timm's `adapt_input_conv`."""
    if how == "auto":
        return "sum" if channels == 1 else "repeat"
    return how


def adapted(kernel: np.ndarray, channels: int, how: StemInit) -> np.ndarray:
    """Return a kernel [h, w, 3, O] for images of C channels, [h, w, C, O] float32.

    If all channels of an image are the same, sum and repeat respond as the kernel does
    to that image in grey (repeat only if C is a multiple of 3, or the kernels of red,
    green and blue are alike). Source: timm's `adapt_input_conv`, which sums for one
    channel and repeats, scaled by 3 / C, for others.

    Args:
        kernel: Of red, green and blue.
        channels: C.
        how: sum, mean, repeat, or auto.
    """
    kernel, how = np.asarray(kernel, np.float32), chosen(how, channels)
    if how == "repeat":
        turns = [c % kernel.shape[2] for c in range(channels)]
        return kernel[:, :, turns] * np.float32(kernel.shape[2] / channels)
    if how == "sum":
        one = kernel.sum(axis=2, keepdims=True) / np.float32(channels)
    else:
        one = kernel.mean(axis=2, keepdims=True)
    return np.repeat(one, channels, axis=2)


def adaptation(given: Preprocess | None, channels: int, how: StemInit) -> str:
    """Return how weights were adapted to C channels, in words; empty if they fit.

    Args:
        given: How the weights expect images; None if they do not state it: RGB.
        channels: C.
        how: As in `adapted`.
    """
    count = len(given.mean) if given else 3
    fits = channels == count
    return "" if fits else f"{chosen(how, channels)} of {count} channels for {channels}"
