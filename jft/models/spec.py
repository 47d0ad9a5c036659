"""A network's shape in the terms of its paper, before anything is built."""

from __future__ import annotations

import dataclasses
import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jft.errors import InputError
from jft.models.training import TrainMode
from jft.models.variants import (
    Decoder,
    ResNetV2Variant,
    ResNetVariant,
    Variant,
    VGGVariant,
)
from jft.preprocess import Preprocess

if TYPE_CHECKING:
    from jft.models.network import Network

# Where the Flax module of each family is; it imports JAX.
_MODULES = {
    ResNetVariant: ("jft.models.resnet", "ResNet"),
    ResNetV2Variant: ("jft.models.resnetv2", "ResNetV2"),
    VGGVariant: ("jft.models.vgg", "VGG"),
}
_PLAIN = TrainMode()


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A network's shape, in the terms of its paper.

    Attributes:
        name: The name that users write.
        stage_sizes: Residual blocks, or a VGG's convolutions, per stage.
        variant: Its family, and what sets it apart in it.
        width: Channels of the first stage (a quarter of a bottleneck block's output).
        parameters: Trainable parameters at that width with `num_classes` classes.
        num_classes: Classes of the data it is usually pretrained on.
        preprocess: What published weights of this network expect.
        decoder: What the head makes a class for every pixel with; none where the
            image has one class.
    """

    name: str
    stage_sizes: tuple[int, ...]
    variant: Variant
    width: int
    parameters: int
    num_classes: int
    preprocess: Preprocess
    decoder: Decoder = "none"

    @property
    def stages(self) -> tuple[str, ...]:
        """The parts of the network in depth order: stem, stage1, ..., head."""
        stages = tuple(f"stage{i + 1}" for i in range(len(self.stage_sizes)))
        if not isinstance(self.variant, VGGVariant):
            return ("stem", *stages, "head")
        hidden = self.variant.hidden and self.decoder == "none"
        return (*stages, *(("pre_logits",) if hidden else ()), "head")

    @property
    def batch_norm(self) -> bool:
        """Whether it normalises by batches, which BiT and the plain VGGs do not.

        With a decoder even these do, in the head.
        """
        variant = self.variant
        if self.decoder != "none":
            return True
        if isinstance(variant, VGGVariant):
            return variant.batch_norm
        return not (isinstance(variant, ResNetV2Variant) and variant.standardised)

    @property
    def smallest(self) -> int:
        """The smallest side of an image, in pixels, that leaves features to see."""
        plain = isinstance(self.variant, VGGVariant)
        return 2 ** len(self.stage_sizes) if plain else 1

    def check_size(self, size: int) -> None:
        """Check the side of an image, in pixels.

        Raises:
            InputError: It is below `smallest`.
        """
        if size < self.smallest:
            raise InputError(
                f"{self.name} halves its image too often for {size} pixels: "
                f"--image-size must be at least {self.smallest}"
            )

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers in depth order: the stem, each residual block, the head.

        For a VGG: each convolution, the two hidden layers, the head. A decoder is one
        layer, the head.
        """
        plain = isinstance(self.variant, VGGVariant)
        within = {
            f"stage{i + 1}": [f"{'layer' if plain else 'block'}{j}" for j in range(n)]
            for i, n in enumerate(self.stage_sizes)
        } | {"pre_logits": ["fc1", "fc2"]}
        return tuple(
            f"{stage}/{layer}" if layer else stage
            for stage in self.stages
            for layer in within.get(stage, [""])
        )

    def adapted(
        self,
        *,
        width: int | None = None,
        pooled_head: bool = False,
        decoder: Decoder | None = None,
    ) -> ModelSpec:
        """Return the network with what a user may change of it.

        Args:
            width: Channels of the first stage; None keeps the network's own.
            pooled_head: Leave out a VGG's hidden layers.
            decoder: What makes a class for every pixel; None keeps the network's own.

        Raises:
            InputError: The network cannot be changed so.
        """
        spec = self
        if width is not None:
            step = self._width_step()
            if width < step or width % step:
                valid = f"a multiple of {step}" if step > 1 else "at least 1"
                raise InputError(f"width of {self.name} must be {valid}, got {width}")
            spec = dataclasses.replace(spec, width=width)
        if pooled_head:
            if not isinstance(self.variant, VGGVariant):
                raise InputError(
                    f"{self.name} has a pooled head already; model.pooled_head is for "
                    "VGG networks"
                )
            variant = dataclasses.replace(self.variant, hidden=0)
            spec = dataclasses.replace(spec, variant=variant)
        return spec._decoding(self.decoder if decoder is None else decoder)

    def _decoding(self, decoder: Decoder) -> ModelSpec:
        """Return the network with a decoder."""
        if self.decoder not in ("none", decoder):
            backbone = self.name.removeprefix(f"{self.decoder}_")
            raise InputError(
                f"{self.name} has the decoder {self.decoder}; for {decoder} name the "
                f"network {backbone}"
            )
        return dataclasses.replace(self, decoder=decoder)

    def _width_step(self) -> int:
        """Return what a width has to be a multiple of."""
        variant = self.variant
        if isinstance(variant, ResNetV2Variant):
            return 32 if variant.standardised else 1  # groups of GroupNorm
        if not isinstance(variant, ResNetVariant):
            return 1
        if variant.groups > 1:
            return 64 // variant.group_width
        halved = variant.shortcut == "pad" or variant.stem == "deep"
        return 2 if halved else 1

    def build(
        self,
        num_classes: int,
        *,
        mode: TrainMode = _PLAIN,
        axis_name: str | None = None,
    ) -> Network:
        """Return the Flax module.

        Args:
            num_classes: Outputs of the head, K.
            mode: How it runs in training, and in which dtype always.
            axis_name: Mapped axis over which batch statistics are shared.

        Raises:
            InputError: Fewer than one class, or blocks to leave out where are none.
        """
        if num_classes < 1:
            raise InputError(f"num_classes must be at least 1, got {num_classes}")
        if mode.drop_path and isinstance(self.variant, VGGVariant):
            raise InputError(
                f"{self.name} has no residual blocks to leave out: drop_path must be "
                f"0, got {mode.drop_path}; dropout is for every network"
            )
        module, name = _MODULES[type(self.variant)]
        return getattr(importlib.import_module(module), name)(
            stages=self.stages,
            stage_sizes=self.stage_sizes,
            width=self.width,
            variant=self.variant,
            num_classes=num_classes,
            mode=mode,
            axis_name=axis_name,
            decoder=self.decoder,
        )
