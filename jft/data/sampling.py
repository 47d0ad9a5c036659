"""Epochs in which every class appears as often, however many examples it has."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from jft.errors import InputError


def balanced_order(
    members: Sequence[npt.NDArray[np.intp]], stride: int, seed: npt.NDArray[Any]
) -> npt.NDArray[np.int64]:
    """Return an epoch's ids, of every class as many or one more.

    Those of a larger class are a random part of it. Those of a smaller one are all of
    it, repeated, so that the numbers of draws differ by one at most.

    Args:
        members: The examples of each class, none of them empty.
        stride: Added to an id each time it is drawn again.
        seed: uint32 words; the order is a function of these and the other arguments.

    Returns:
        int64 [N], as many as there are examples.
    """
    draw = np.random.RandomState(seed)  # its numbers never change, unlike a Generator's
    number, rest = divmod(sum(map(len, members)), len(members))
    one_more = draw.permutation(len(members)) < rest
    drawn: list[npt.NDArray[np.int64]] = []
    for some, more in zip(members, one_more, strict=True):
        count = np.arange(number + int(more))
        drawn.append(
            draw.permutation(some)[count % len(some)] + count // len(some) * stride
        )
    return draw.permutation(np.concatenate(drawn))


def require_numbers(
    members: Sequence[npt.NDArray[np.intp]], n: int, stride: int
) -> None:
    """Raise `InputError` if an id of an example drawn so often is no int32."""
    smallest = min(map(len, members))
    draws = math.ceil(math.ceil(n / len(members)) / smallest)
    if draws * stride > 2**31:
        raise InputError(
            f"balanced sampling would draw each example of a class of {smallest} about "
            f"{draws:,} times an epoch, which is more than can be numbered; leave that "
            "class out, or weigh it by --task.class-weights balanced"
        )
