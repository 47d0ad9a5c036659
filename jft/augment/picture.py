"""An image and its mask, which every geometric operation changes together."""

from collections.abc import Callable
from typing import NamedTuple

import jax

from jft.types import VOID

BLACK = 0


class Picture(NamedTuple):
    """What geometric operations act on.

    Attributes:
        image: [..., H, W, 3] uint8.
        mask: [..., H, W] uint8 class indices, VOID where ignored; or None.
    """

    image: jax.Array
    mask: jax.Array | None

    def moved(self, move: Callable[[jax.Array, int], jax.Array]) -> "Picture":
        """Return image and mask after the same move.

        Args:
            move: Takes an array and what to fill it with where nothing is known: black
                for the image, VOID for the mask.
        """
        mask = None if self.mask is None else move(self.mask, VOID)
        return Picture(move(self.image, BLACK), mask)
