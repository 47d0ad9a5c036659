"""The networks by name. Reading this table imports no JAX; building a network does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from jft.errors import InputError, nearest
from jft.preprocess import Preprocess

if TYPE_CHECKING:
    from jft.models.resnet import ResNet

CIFAR_PREPROCESS = Preprocess(size=32, crop_fraction=1.0)


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A network's shape, in the terms of its paper.

    Attributes:
        name: The name that users write.
        stage_sizes: Residual blocks per stage.
        block: Two 3x3 convolutions (basic) or 1x1, 3x3, 1x1 (bottleneck).
        small: The CIFAR form: 3x3 stem without pooling, shortcuts without weights.
        width: Channels of the first stage.
        parameters: Trainable parameters at that width with `num_classes` classes.
        num_classes: Classes of the data it is usually pretrained on.
        preprocess: What published weights of this network expect.
    """

    name: str
    stage_sizes: tuple[int, ...]
    block: Literal["basic", "bottleneck"]
    small: bool
    width: int
    parameters: int
    num_classes: int
    preprocess: Preprocess

    @property
    def stages(self) -> tuple[str, ...]:
        """The parts of the network in depth order: stem, stage1, ..., head."""
        stages = (f"stage{i + 1}" for i in range(len(self.stage_sizes)))
        return ("stem", *stages, "head")

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers in depth order: the stem, each residual block, the head."""
        blocks = (
            f"stage{i + 1}/block{j}"
            for i, size in enumerate(self.stage_sizes)
            for j in range(size)
        )
        return ("stem", *blocks, "head")

    def check(self, num_classes: int, width: int | None) -> None:
        """Check the options of `build`.

        Raises:
            InputError: A size below 1, or an odd width where shortcuts pad channels.
        """
        if num_classes < 1:
            raise InputError(f"num_classes must be at least 1, got {num_classes}")
        if width is not None and (width < 1 or (self.small and width % 2)):
            valid = "even and at least 2" if self.small else "at least 1"
            raise InputError(f"width of {self.name} must be {valid}, got {width}")

    def build(
        self,
        num_classes: int,
        *,
        width: int | None = None,
        stored: frozenset[str] = frozenset(),
        axis_name: str | None = None,
    ) -> ResNet:
        """Return the Flax module.

        Args:
            num_classes: Outputs of the head, K.
            width: Channels of the first stage; None takes the spec's.
            stored: Names of the normalisation layers that use their stored
                statistics in training too.
            axis_name: Mapped axis over which batch statistics are shared.
        """
        from jft.models.resnet import ResNet

        self.check(num_classes, width)
        return ResNet(
            stage_sizes=self.stage_sizes,
            block=self.block,
            small=self.small,
            width=self.width if width is None else width,
            num_classes=num_classes,
            stored=stored,
            axis_name=axis_name,
        )


def _imagenet(
    name: str, sizes: tuple[int, ...], block: Literal["basic", "bottleneck"], count: int
) -> ModelSpec:
    return ModelSpec(
        name=name,
        stage_sizes=sizes,
        block=block,
        small=False,
        width=64,
        parameters=count,
        num_classes=1000,
        preprocess=Preprocess(),
    )


def _cifar(name: str, blocks: int, count: int) -> ModelSpec:
    return ModelSpec(
        name=name,
        stage_sizes=(blocks,) * 3,
        block="basic",
        small=True,
        width=16,
        parameters=count,
        num_classes=10,
        preprocess=CIFAR_PREPROCESS,
    )


# He et al. 2016, https://arxiv.org/abs/1512.03385, table 1 and section 4.2; the stride
# of a bottleneck is on its 3x3 convolution, as in torchvision ("v1.5").
MODELS: dict[str, ModelSpec] = {
    "resnet18": _imagenet("resnet18", (2, 2, 2, 2), "basic", 11_689_512),
    "resnet34": _imagenet("resnet34", (3, 4, 6, 3), "basic", 21_797_672),
    "resnet50": _imagenet("resnet50", (3, 4, 6, 3), "bottleneck", 25_557_032),
    "resnet101": _imagenet("resnet101", (3, 4, 23, 3), "bottleneck", 44_549_160),
    "resnet152": _imagenet("resnet152", (3, 8, 36, 3), "bottleneck", 60_192_808),
    "resnet20": _cifar("resnet20", 3, 269_722),
    "resnet32": _cifar("resnet32", 5, 464_154),
    "resnet44": _cifar("resnet44", 7, 658_586),
    "resnet56": _cifar("resnet56", 9, 853_018),
    "resnet110": _cifar("resnet110", 18, 1_727_962),
}


def get_model(name: str) -> ModelSpec:
    """Return the network of that name.

    Raises:
        InputError: There is none; the message has the nearest names.
    """
    if name not in MODELS:
        valid = ", ".join(MODELS)
        raise InputError(
            f"unknown model {name!r}{nearest(name, MODELS)}\nmodels: {valid}"
        )
    return MODELS[name]
