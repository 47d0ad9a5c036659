"""Muon for the kernels of convolutional networks."""

import math
from typing import Any

import jax
import optax
from optax import contrib


def scale_by_even_muon(momentum: float) -> optax.GradientTransformation:
    """Return Muon's direction, at the size of Adam's, for kernels.

    Source: Jordan 2024, https://kellerjordan.github.io/posts/muon.

    Args:
        momentum: Of the Nesterov momentum that is made orthogonal, in [0, 1).
    """
    return optax.chain(
        contrib.scale_by_muon(beta=momentum, weight_dimension_numbers=_as_matrices),
        optax.stateless(lambda updates, params: jax.tree.map(_even, updates)),
    )


def _as_matrices(kernels: Any) -> Any:
    """Map [I, O] and [H, W, I, O] to matrices of I or H W I rows, O columns."""
    return jax.tree.map(
        lambda k: contrib.MuonDimensionNumbers(tuple(range(k.ndim - 1)), k.ndim - 1),
        kernels,
    )


def _even(update: jax.Array) -> jax.Array:
    """Make the root mean square of an orthogonal update about 0.2, whatever its shape.

    Adam's updates have about that, so that one learning rate and one decay, those of
    adamw, suit both (Liu et al. 2025, https://arxiv.org/abs/2502.16982, section 2.2).
    """
    columns = update.shape[-1]
    return 0.2 * math.sqrt(max(update.size // columns, columns)) * update
