"""Test-time augmentation: predictions averaged over turned and mirrored images."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jft.errors import unknown


class View(NamedTuple):
    """One way to look at a square image: mirrored or not, then turned.

    Attributes:
        turns: Quarter turns counter-clockwise, 0 to 3.
        mirrored: Left-right, before it is turned.
    """

    turns: int
    mirrored: bool


PLAIN, MIRRORED = View(0, mirrored=False), View(0, mirrored=True)
UPSIDE_DOWN, BOTH = View(2, mirrored=True), View(2, mirrored=False)

VIEWS: dict[str, tuple[View, ...]] = {
    "none": (PLAIN,),
    "flip": (PLAIN, MIRRORED),
    "flips": (PLAIN, MIRRORED, UPSIDE_DOWN, BOTH),
    "d4": tuple(
        View(turns, mirrored) for turns in range(4) for mirrored in (False, True)
    ),
}
"""The views that predictions are averaged over; d4 is all symmetries of a square."""


def check_views(name: str) -> None:
    """Raise `InputError` unless it is a name in VIEWS."""
    if name not in VIEWS:
        raise unknown("view", name, VIEWS)


def apply(view: View, image: jax.Array) -> jax.Array:
    """Return images [B, S, S, C] as the view shows them."""
    if view.mirrored:
        image = jnp.flip(image, axis=2)
    return jnp.rot90(image, view.turns, axes=(1, 2))


def undo(view: View, outputs: jax.Array) -> jax.Array:
    """Return outputs where the plain image has them.

    Args:
        view: What the network saw.
        outputs: [B, S, S, K], one for each pixel; or [B, K], without positions.
    """
    if outputs.ndim == 2:
        return outputs
    outputs = jnp.rot90(outputs, -view.turns, axes=(1, 2))
    return jnp.flip(outputs, axis=2) if view.mirrored else outputs


def averaged(
    predict: Callable[[jax.Array], jax.Array], image: jax.Array, views: str
) -> jax.Array:
    """Return the mean output over several views of the same images.

    Args:
        predict: From images [B, S, S, C] to what is averaged, logits [B, K] or
            [B, S, S, K]. Called once for each view.
        image: [B, S, S, C].
        views: A name in VIEWS.

    Returns:
        What `predict` returns, of the plain image.
    """
    found = [undo(view, predict(apply(view, image))) for view in VIEWS[views]]
    return sum(found[1:], start=found[0]) / len(found)
