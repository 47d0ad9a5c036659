"""A network's shape in the terms of its paper, before anything is built."""

from __future__ import annotations

import dataclasses
import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jft.errors import InputError
from jft.models.training import TrainMode
from jft.models.variants import Decoder, Variant, body
from jft.preprocess import Preprocess

if TYPE_CHECKING:
    from jft.models.network import Network

# The Flax module of each family, in the file of that name, which imports JAX.
_MODULES = {"resnet": "ResNet", "resnetv2": "ResNetV2", "vgg": "VGG"}
_PLAIN = TrainMode()


@dataclass(frozen=True)
class ModelSpec:
    """A network's shape, in the terms of its paper.

    Attributes:
        name: The name that users write.
        stage_sizes: Residual blocks, or a VGG's convolutions, per stage.
        variant: Its family, and what sets it apart in it.
        parameters: Trainable parameters at that width with `num_classes` classes.
        preprocess: What published weights of this network expect.
        width: Channels of the first stage (a quarter of a bottleneck block's output).
        num_classes: Classes of the data it is usually pretrained on.
        decoder: What the head makes a class for every pixel with; none where the
            image has one class.
    """

    name: str
    stage_sizes: tuple[int, ...]
    variant: Variant
    parameters: int
    preprocess: Preprocess
    width: int = 64
    num_classes: int = 1000
    decoder: Decoder = "none"

    @property
    def stages(self) -> tuple[str, ...]:
        """The parts of the network in depth order: stem, stage1, ..., head."""
        return self.variant.stages(len(self.stage_sizes), self.decoder)

    @property
    def normalising(self) -> tuple[str, ...]:
        """The stages with batch normalisation.

        BiT and the plain VGGs have none, except in the head with a decoder.
        """
        head = () if self.decoder == "none" else ("head",)
        if self.variant.normalisation != "batch":
            return head
        plain = ["pre_logits", "head"]
        if self.variant.pre_activation:
            plain.append("stem")  # a convolution alone
        return (*(stage for stage in self.stages if stage not in plain), *head)

    @property
    def normalised(self) -> bool:
        """Whether it has any normalisation, of batches or of groups."""
        return bool(self.normalising) or self.variant.normalisation != "none"

    @property
    def smallest(self) -> int:
        """The smallest side of an image, in pixels, for which features remain."""
        return 1 if self.variant.residual else 2 ** len(self.stage_sizes)

    def check_size(self, size: int) -> None:
        """Check the side of an image, in pixels."""
        if size < self.smallest:
            raise InputError(
                f"--image-size must be at least {self.smallest} for {self.name}, "
                f"got {size}"
            )

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers in depth order: the stem, each residual block, the head.

        For a VGG: each convolution, the two hidden layers, the head. A decoder is one
        layer, the head.
        """
        stages = zip(body(len(self.stage_sizes)), self.stage_sizes, strict=True)
        within = {
            stage: [f"{self.variant.layer}{i}" for i in range(count)]
            for stage, count in stages
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
        """Return the network with another width, head or decoder; None keeps its own.

        A `pooled_head` is without a VGG's hidden layers.
        """
        spec = self
        if width is not None:
            step = self.variant.width_step
            if width < step or width % step:
                valid = f"a multiple of {step}" if step > 1 else "at least 1"
                raise InputError(f"width of {self.name} must be {valid}, got {width}")
            spec = dataclasses.replace(spec, width=width)
        if pooled_head:
            if self.variant.family != "vgg":
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
                f"{self.name} has the decoder {self.decoder}; to use {decoder}, give "
                f"the network {backbone}"
            )
        return dataclasses.replace(self, decoder=decoder)

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
        if mode.drop_path and not self.variant.residual:
            raise InputError(
                f"{self.name} has no residual blocks to drop: drop_path must be 0, "
                f"got {mode.drop_path}; dropout is for every network"
            )
        family = self.variant.family
        module = importlib.import_module(f"jft.models.{family}")
        return getattr(module, _MODULES[family])(
            stage_sizes=self.stage_sizes,
            width=self.width,
            variant=self.variant,
            num_classes=num_classes,
            mode=mode,
            axis_name=axis_name,
            decoder=self.decoder,
        )
