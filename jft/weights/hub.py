"""Where weights are found: a file, or a name that comes with jft."""

import os
from importlib import resources

from jft.config import BUNDLED_WEIGHTS
from jft.errors import InputError, nearest

RANDOM = "none"
BUNDLED = {BUNDLED_WEIGHTS: "resnet20_cifar10.safetensors"}


def find_weights(weights: str) -> str | None:
    """Return the path of weights given by path or by name; None for random ones.

    Raises:
        InputError: There is no such file and no such name.
    """
    if weights == RANDOM:
        return None
    if weights in BUNDLED:
        return str(resources.files("jft.weights") / BUNDLED[weights])
    path = os.path.expanduser(weights)
    if not os.path.exists(path):
        valid = [*BUNDLED, RANDOM]
        raise InputError(
            f"no weights {weights!r}: it is neither a file nor a name"
            f"{nearest(weights, valid)} (names: {', '.join(valid)})"
        )
    return path
