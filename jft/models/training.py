"""How a network runs in training; importing this file imports no JAX."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    import jax


@dataclass(frozen=True, kw_only=True)
class TrainMode:
    """How a network runs in training; `dtype` alone also applies in evaluation.

    Attributes:
        stored: Names of normalisation layers (`stage1/block0/norm1`) that use their
            stored statistics and do not update them.
        adapt: Names of those that use their stored statistics and update them: AdaBN
            (Li et al. 2016, https://arxiv.org/abs/1603.04779), step by step.
        frozen: Layers (`stem`, `stage1/block0`, as in `ModelSpec.layers`) whose
            parameters are all frozen; `drop_path` and `remat` do not apply to them.
        dropout: Fraction dropped of the features before the head, and of a VGG's first
            hidden layer, in [0, 1). The rest is scaled up.
        drop_path: Probability of dropping the last residual block's branch for an
            example, falling linearly to 0 at the first block, in [0, 1). Stochastic
            depth (Huang et al. 2016, https://arxiv.org/abs/1603.09382) as in timm:
            a branch that is not dropped is scaled up.
        dtype: Dtype of convolutions, dense layers and activations. Parameters,
            statistics, normalisation and logits are always float32.
        remat: Recompute the activations of each residual block (of a VGG, of each
            convolutional layer) in the backward pass instead of storing them.
    """

    stored: frozenset[str] = frozenset()
    adapt: frozenset[str] = frozenset()
    frozen: frozenset[str] = frozenset()
    dropout: float = 0.0
    drop_path: float = 0.0
    dtype: Literal["float32", "bfloat16"] = "float32"
    remat: bool = False

    def block(self, name: str, number: int, count: int) -> BlockMode:
        """Return how a block of this name, as in `ModelSpec.layers`, runs.

        `number` of the `count` blocks of the network come before it.
        """
        if name in self.frozen:
            return BlockMode(number)
        rate = self.drop_path * number / max(count - 1, 1)
        return BlockMode(number, drop_path=rate, remat=self.remat)


@dataclass(frozen=True)
class BlockMode:
    """How one block runs in training.

    Attributes:
        number: How many blocks come before it, over all stages.
        drop_path: Probability of dropping its branch for an example.
        remat: Recompute its activations in the backward pass.
    """

    number: int
    drop_path: float = 0.0
    remat: bool = False


class TrainBatch(NamedTuple):
    """What layers get about the images in training; None in evaluation.

    Attributes:
        weight: [B] float32, 0 for padding, which batch statistics leave out; None
            includes every image.
        keys: [B] random keys, one per example; None without dropout and drop path.
    """

    weight: jax.Array | None = None
    keys: jax.Array | None = None
