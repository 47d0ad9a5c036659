"""Which examples are held out for testing, where the data does not say."""

import hashlib
import os
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

TEST_SHARE = 0.2


def held_out(keys: Sequence[str], labels: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Choose the test examples: in each class, the 20 % whose keys hash lowest.

    Args:
        keys: N names, of which each belongs to its example whatever is added.
        labels: N classes.

    Returns:
        bool [N], True for test. A class of two or more gives at least one.
    """
    members: dict[int, list[int]] = {}
    for i, label in enumerate(labels):
        members.setdefault(label, []).append(i)
    mask = np.zeros(len(keys), np.bool_)
    for chosen in members.values():
        chosen.sort(key=lambda i: hashlib.sha256(os.fsencode(keys[i])).digest())
        mask[chosen[: max(len(chosen) > 1, round(len(chosen) * TEST_SHARE))]] = True
    return mask
