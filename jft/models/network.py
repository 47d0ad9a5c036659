"""What all networks share: named parts in depth order, any of which can run alone."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jft.errors import unknown
from jft.models.layers import Stage, dense, drop
from jft.models.norm import BatchNorm
from jft.models.segment import DECODERS, Pyramid
from jft.models.training import BlockMode, TrainBatch, TrainMode
from jft.models.variants import Decoder, body


def pooled(features: jax.Array) -> jax.Array:
    """Return the mean [B, C] over the pixels of features, if it is not taken yet."""
    return features if features.ndim == 2 else jnp.mean(features, axis=(1, 2))


class Network(nn.Module):
    """A network whose parts run one after the other, to the head.

    Attributes:
        stage_sizes: Blocks per stage.
        width: Channels of the first stage.
        variant: Which of its family.
        num_classes: Outputs of the head, K.
        mode: How it runs in training, and in which dtype always.
        axis_name: Mapped axis over which batch statistics are computed.
        decoder: What predicts a class for every pixel; none for one per image.
    """

    stage_sizes: tuple[int, ...] = ()
    width: int = 64
    variant: Any = None
    num_classes: int = 1000
    mode: TrainMode = TrainMode()
    axis_name: str | None = None
    decoder: Decoder = "none"

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the parts in depth order, which are those of the parameters."""
        return self.variant.stages(len(self.stage_sizes), self.decoder)

    @property
    def body(self) -> tuple[str, ...]:
        """Names of the parts between the stem and the head: stage1, stage2, ..."""
        return body(len(self.stage_sizes))

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
        """Return logits, or the features after a part.

        Args:
            x: Normalised images [B, H, W, 3] float32, or, with `start`, the features
                after the part before `start`.
            train: Run as `mode` describes; otherwise with stored statistics, and
                nothing is dropped.
            weight: [B] float32, 0 for padding, which batch statistics leave out.
            keys: [B] random keys, one per example; needed in training with `dropout`
                or `drop_path`.
            start: First part to run, one of `stages`; None is the first of them, which
                a decoder needs.
            stop: Last part to run, one of `stages`.

        Returns:
            Logits [B, K] float32, with a decoder [B, H, W, K]; or the features
            [B, h, w, C] after `stop`, pooled where the next part takes them pooled,
            of the dtype of `mode`.

        Raises:
            InputError: There is no such part.
            ValueError: Keys are needed and missing, or a decoder has no image.
        """
        batch = TrainBatch(weight, keys) if train else None
        decodes = self.decoder != "none" and stop == "head"
        if decodes and start is not None:
            raise ValueError(
                f"the {self.decoder} decoder needs the image, got start={start!r}"
            )
        size = x.shape[1:3]
        x = jnp.asarray(x, self.mode.dtype)
        first = 0 if start is None else self.position(start)
        passed: dict[str, jax.Array] = {}
        for name in self.stages[first : self.position(stop) + 1]:
            if name == "head" and decodes:
                skips = [passed[skip] for skip in self.skips]
                return self.decode(Pyramid(x, skips, size), batch)
            passed[name] = self.run(name, x, batch)
            x = passed[f"{name}/pooled"] = self.pool(name, passed[name])
        return x

    def position(self, name: str) -> int:
        """Return the index of a part in `stages`."""
        if name not in self.stages:
            raise unknown("stage", name, self.stages)
        return self.stages.index(name)

    def run(self, name: str, x: jax.Array, batch: TrainBatch | None) -> jax.Array:
        """Run one part of `stages`, before any pooling; `batch` None evaluates."""
        raise NotImplementedError

    def pool(self, name: str, x: jax.Array) -> jax.Array:
        """Return the features that the next part takes: pooled, in some networks."""
        del name
        return x

    @property
    def skips(self) -> tuple[str, ...]:
        """The parts whose features are the last ones of their size, largest first.

        `PART/pooled` means the features after the part's pooling.
        """
        raise NotImplementedError

    @property
    def halvings(self) -> int:
        """How many times the network halves the image.

        One more than the number of `skips` if the first part halves the image itself.
        """
        raise NotImplementedError

    def batch_norm(self, epsilon: float = 1e-5) -> Any:
        """Return a constructor of batch normalisation layers, given a name."""
        return partial(
            BatchNorm,
            stored=self.mode.stored,
            adapt=self.mode.adapt,
            axis_name=self.axis_name,
            epsilon=epsilon,
        )

    def stage(
        self,
        name: str,
        block: type[nn.Module],
        fields: Callable[[int, BlockMode], Mapping[str, Any]],
        norm: Any = None,
    ) -> Stage:
        """Return a stage; `fields` maps a block's number and mode to its fields.

        `norm` makes the normalisation after the last block; None for none.
        """
        depth, prefix = self.body.index(name), self.variant.layer
        before, count = sum(self.stage_sizes[:depth]), sum(self.stage_sizes)
        modes = [
            self.mode.block(f"{name}/{prefix}{i}", before + i, count)
            for i in range(self.stage_sizes[depth])
        ]
        blocks = tuple((mode, fields(i, mode)) for i, mode in enumerate(modes))
        return Stage(block, prefix, blocks, norm, name=name)

    def classify(self, features: jax.Array, batch: TrainBatch | None) -> jax.Array:
        """Map features to logits [B, K]: the last layer, named head.

        Args:
            features: [B, C], or [B, h, w, C] of which the mean is taken.
            batch: As in `run`.
        """
        # The blocks have the numbers below this one.
        layer = sum(self.stage_sizes)
        features = pooled(features)
        features = drop(features, self.mode.dropout, batch, layer)
        return dense(features, self.num_classes, "head").astype(jnp.float32)

    def decode(self, seen: Pyramid, batch: TrainBatch | None) -> jax.Array:
        """Map features to logits [B, H, W, K] float32: the last part, named head."""
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
        return decoder(seen, batch)
