"""What every network here shares: parts in depth order, of which any run can be cut."""

from typing import Any

import flax.linen as nn
import jax

# torchvision's initial values: He normal over the outputs, and torch's default for a
# linear layer, uniform within 1 / sqrt(inputs).
conv_init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
dense_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def max_pool(x: jax.Array, size: int, stride: int, padding: int = 0) -> jax.Array:
    """Return the maximum of each `size` x `size` window of `x` [B, H, W, C]."""
    pad: Any = ((padding, padding),) * 2  # flax annotates only the named paddings
    return nn.max_pool(x, (size, size), strides=(stride, stride), padding=pad)


class Network(nn.Module):
    """A classifier whose parts run one after the other.

    Attributes:
        stage_sizes: Blocks per stage.
        width: Channels of the first stage.
        num_classes: Outputs of the head, K.
        stored: Names of normalisation layers (`stage1/block0/norm1`) that use their
            stored statistics in training too, and leave them as they are.
        axis_name: Mapped axis over which batch statistics are shared.
    """

    stage_sizes: tuple[int, ...] = ()
    width: int = 64
    num_classes: int = 1000
    stored: frozenset[str] = frozenset()
    axis_name: str | None = None

    @property
    def stages(self) -> tuple[str, ...]:
        """The parts in depth order: stem, stage1, ..., head."""
        numbers = range(1, len(self.stage_sizes) + 1)
        return ("stem", *(f"stage{i}" for i in numbers), "head")

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        *,
        train: bool = False,
        weight: jax.Array | None = None,
        start: str | None = None,
        stop: str = "head",
    ) -> jax.Array:
        """Return logits, or the features between two stages.

        Args:
            x: Normalised images [B, H, W, 3] float32, or, with `start`, the features
                that the stage before `start` put out.
            train: Normalise by the batch where a layer is not in `stored`.
            weight: [B] float32, 0 for padding, which batch statistics then leave out.
            start: First part to run, one of `stages`; None for the first of them.
            stop: Last part to run, one of `stages`.

        Returns:
            Logits [B, K] float32, or the features [B, H', W', C'] after `stop`.
        """
        first = 0 if start is None else self.stages.index(start)
        for name in self.stages[first : self.stages.index(stop) + 1]:
            x = self.run(name, x, train=train, weight=weight)
        return x

    def run(self, name: str, x: jax.Array, **mode: Any) -> jax.Array:
        """Run one part of `stages`; `mode` is what its normalisation layers take."""
        raise NotImplementedError

    def classify(self, features: jax.Array) -> jax.Array:
        """Map features [B, C] to logits [B, K]: the last layer, named head."""
        head = nn.Dense(self.num_classes, kernel_init=dense_init, name="head")
        return head(features)
