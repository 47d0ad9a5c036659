"""What every network here shares: parts in depth order, of which any run can be cut."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jft.models.layers import dense, drop
from jft.models.norm import BatchNorm
from jft.models.segment import DECODERS
from jft.models.training import BlockMode, TrainBatch, TrainMode
from jft.models.variants import Decoder


class Network(nn.Module):
    """A network whose parts run one after the other, to the head.

    Attributes:
        stages: Names of the parts in depth order.
        stage_sizes: Blocks per stage.
        width: Channels of the first stage.
        num_classes: Outputs of the head, K.
        mode: How it runs in training, and in which dtype always.
        axis_name: Mapped axis over which batch statistics are shared.
        decoder: What the head makes a class for every pixel with; none where it has
            one for the whole image.
    """

    stages: tuple[str, ...] = ()
    stage_sizes: tuple[int, ...] = ()
    width: int = 64
    num_classes: int = 1000
    mode: TrainMode = TrainMode()
    axis_name: str | None = None
    decoder: Decoder = "none"

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        *,
        train: bool = False,
        weight: jax.Array | None = None,
        keys: jax.Array | None = None,
        start: str | None = None,
        stop: str = "head",
    ) -> jax.Array:
        """Return logits, or the features between two stages.

        Args:
            x: Normalised images [B, H, W, 3] float32, or, with `start`, the features
                that the stage before `start` put out.
            train: Run as `mode` says; else with stored statistics and whole.
            weight: [B] float32, 0 for padding, which batch statistics then leave out.
            keys: [B] random keys, one per example, which decide what it is denied;
                needed in training with `dropout` or `drop_path`.
            start: First part to run, one of `stages`; None for the first of them, as
                a decoder needs that looks back at the image and its features.
            stop: Last part to run, one of `stages`.

        Returns:
            Logits [B, K] float32, with a decoder [B, H, W, K]; or the features
            [B, H', W', C'] after `stop`, of the dtype of `mode`.

        Raises:
            ValueError: The keys are needed and missing, or a decoder has no image.
        """
        batch = TrainBatch(weight, keys) if train else None
        decodes = self.decoder != "none" and stop == "head"
        if decodes and start is not None:
            raise ValueError(f"the {self.decoder} decoder needs the image, got {start}")
        size = x.shape[1:3]
        x = jnp.asarray(x, self.mode.dtype)
        first = 0 if start is None else self.stages.index(start)
        passed: dict[str, jax.Array] = {}
        for name in self.stages[first : self.stages.index(stop) + 1]:
            if name == "head" and decodes:
                skips = [passed[skip] for skip in self.skips]
                return self.decode(x, skips, size, batch)
            passed[name] = self.run(name, x, batch)
            x = passed[f"{name}/pooled"] = self.pool(name, passed[name])
        return x

    def run(self, name: str, x: jax.Array, batch: TrainBatch | None) -> jax.Array:
        """Run one part of `stages`, before any pooling; None evaluates."""
        raise NotImplementedError

    def pool(self, name: str, x: jax.Array) -> jax.Array:
        """Return the features that a part hands on: pooled, where it is its way."""
        del name
        return x

    @property
    def skips(self) -> tuple[str, ...]:
        """The parts whose features are the last ones of their size, largest first.

        `PART/pooled` stands for them after the part's pooling.
        """
        raise NotImplementedError

    @property
    def halvings(self) -> int:
        """How often the last features are half as large as those before, or the image.

        One more than there are `skips` where the first part halves the image itself.
        """
        raise NotImplementedError

    def batch_norm(self, epsilon: float = 1e-5) -> Any:
        """Return what makes a layer of batch normalisation, given its name."""
        return partial(
            BatchNorm,
            stored=self.mode.stored,
            adapt=self.mode.adapt,
            axis_name=self.axis_name,
            epsilon=epsilon,
        )

    def blocks(self, depth: int, kind: str = "block") -> tuple[BlockMode, ...]:
        """Return how each block of a stage runs in training.

        Args:
            depth: How many stages of blocks come before it.
            kind: What its blocks are called.
        """
        before, count = sum(self.stage_sizes[:depth]), sum(self.stage_sizes)
        return tuple(
            self.mode.block(f"stage{depth + 1}/{kind}{i}", before + i, count)
            for i in range(self.stage_sizes[depth])
        )

    def classify(self, features: jax.Array, batch: TrainBatch | None) -> jax.Array:
        """Map features [B, C] to logits [B, K]: the last layer, named head."""
        # The blocks draw with the numbers below this one.
        layer = sum(self.stage_sizes)
        features = drop(features, self.mode.dropout, batch, layer)
        return dense(features, self.num_classes, "head").astype(jnp.float32)

    def decode(
        self,
        x: jax.Array,
        skips: Sequence[jax.Array],
        size: tuple[int, ...],
        batch: TrainBatch | None,
    ) -> jax.Array:
        """Map features to logits [B, H, W, K] float32: the last part, named head.

        Args:
            x: Features of the stage before the head.
            skips: Of the parts in `skips`.
            size: Height and width of the image.
            batch: None in evaluation.
        """
        decoder = DECODERS[self.decoder](
            num_classes=self.num_classes,
            width=self.width,
            halvings=self.halvings,
            norm=self.batch_norm(),
            mode=self.mode.block("head", 0, 1),
            dropout=self.mode.dropout,
            number=sum(self.stage_sizes),
            name="head",
        )
        return decoder(x, skips, size, batch)
