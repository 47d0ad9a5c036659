"""How a network runs in training, in words that need no JAX."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    import jax


@dataclass(frozen=True, kw_only=True)
class TrainMode:
    """How a network runs in training; only `dtype` holds in evaluation too.

    Attributes:
        stored: Names of normalisation layers (`stage1/block0/norm1`) that normalise by
            their stored statistics, and do not update them.
        adapt: Names of those that normalise by their stored statistics and update
            them from each batch. As AdaBN (Li et al. 2016,
            https://arxiv.org/abs/1603.04779) lets statistics follow the new images,
            but step by step.
        held: Layers (`stem`, `stage1/block0`, as in `ModelSpec.layers`) whose
            parameters are all frozen. `drop_path` and `remat` skip them.
        dropout: Probability of dropping a feature before the head, or in a VGG's first
            hidden layer, in [0, 1). The rest is scaled up.
        drop_path: Probability of leaving out the last residual block's branch for an
            example, falling linearly to 0 at the first block, in [0, 1). Stochastic
            depth (Huang et al. 2016, https://arxiv.org/abs/1603.09382) as timm has
            it: a branch that is kept is scaled up.
        dtype: What convolutions, dense layers and activations are computed in.
            Parameters, statistics, normalisation and logits are float32 always.
        remat: Compute the activations of each residual block (of a VGG, of each
            convolutional layer) again when going backward, instead of keeping them.
    """

    stored: frozenset[str] = frozenset()
    adapt: frozenset[str] = frozenset()
    held: frozenset[str] = frozenset()
    dropout: float = 0.0
    drop_path: float = 0.0
    dtype: Literal["float32", "bfloat16"] = "float32"
    remat: bool = False

    def block(self, name: str, number: int, count: int) -> BlockMode:
        """Return how one block runs.

        Args:
            name: As in `ModelSpec.layers`.
            number: How many blocks come before it, over all stages.
            count: How many blocks the network has.
        """
        if name in self.held:
            return BlockMode(number)
        rate = self.drop_path * number / max(count - 1, 1)
        return BlockMode(number, drop_path=rate, remat=self.remat)


@dataclass(frozen=True)
class BlockMode:
    """How one block runs in training.

    Attributes:
        number: How many blocks come before it, over all stages.
        drop_path: Probability of leaving out its branch for an example.
        remat: Compute its activations again when going backward.
    """

    number: int
    drop_path: float = 0.0
    remat: bool = False


class TrainBatch(NamedTuple):
    """What every layer gets with the images in training; in evaluation, None.

    Attributes:
        weight: [B] float32, 0 for padding, which batch statistics leave out; None
            counts every image.
        keys: [B] random keys, one per example; None if nothing is random.
    """

    weight: jax.Array | None = None
    keys: jax.Array | None = None
