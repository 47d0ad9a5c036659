"""A Flax module of your own, in place of a network that jft knows by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, cast

from jft import tree
from jft.errors import InputError
from jft.models.training import TrainMode
from jft.preprocess import Crop, Preprocess

PREFIX = "object:"  # of `ModelConfig.name` of a run whose module comes from Python
FIELDS = ("num_classes", "axis_name", "mode")  # what `clone` must be able to set
_PLAIN = TrainMode()
_PROTOCOL = "jft.models.protocol.StagedModule describes what it needs"


@dataclass(frozen=True, eq=False)
class OwnModel:
    """A Flax module of your own, for `jft.fit(config, model=...)`.

    The module follows `jft.models.protocol.StagedModule`. A module given alone is one
    with random initial values and the preprocessing of ImageNet's networks.

    Attributes:
        module: The Flax module.
        variables: Initial {"params": ..., "batch_stats": ...}; None draws them with
            the seed of the run. What the head lacks or has in another shape is new.
        preprocess: How pixels become its input; `image_size` and `crop` of the run
            change it.
    """

    module: Any
    variables: Mapping[str, Any] | None = None
    preprocess: Preprocess = field(default_factory=Preprocess)

    @classmethod
    def of(cls, model: Any) -> OwnModel:
        """Return what is one already, or a module alone as one.

        Raises:
            InputError: It is not a Flax module that follows the protocol.
        """
        return model if isinstance(model, cls) else cls(model)

    def adapted(self, image_size: int | None, crop: Crop | Literal["auto"]) -> OwnModel:
        """Return it for images of a size and of a crop, as in `TrainConfig`."""
        preprocess = self.preprocess
        if image_size is not None:
            preprocess = dataclasses.replace(preprocess, size=image_size)
        if crop != "auto":
            preprocess = preprocess.with_crop(crop)
        return dataclasses.replace(self, preprocess=preprocess)

    def __post_init__(self) -> None:
        """Raise InputError if the module does not follow the protocol."""
        module, preprocess = self.module, cast(Any, self.preprocess)
        if isinstance(module, type):
            raise InputError(
                f"model= must be a module, got the class {module.__name__}: give "
                f"{module.__name__}(...)"
            )
        settable = getattr(module, "__dataclass_fields__", {})
        missing = [name for name in FIELDS if name not in settable]
        missing += [n for n in ("stages", "init", "apply") if not hasattr(module, n)]
        if missing:
            raise InputError(
                f"model= must be a Flax module of named parts; {self.name} has no "
                f"{', '.join(missing)} ({_PROTOCOL})"
            )
        if not isinstance(preprocess, Preprocess):
            raise InputError(
                f"preprocess must be a jft.Preprocess, got {preprocess!r:.80}"
            )
        if self.stages[-1:] != ("head",):
            raise InputError(
                f"stages of {self.name} must end with 'head', got {self.stages!r}"
            )

    @property
    def name(self) -> str:
        """The name of its class."""
        return type(self.module).__name__

    @property
    def config_name(self) -> str:
        """`ModelConfig.name` of a run with it."""
        return f"{PREFIX}{self.name}"

    @property
    def stages(self) -> tuple[str, ...]:
        """Its parts in depth order, the top-level names of its parameters."""
        return tuple(self.module.stages)

    @property
    def layers(self) -> tuple[str, ...]:
        """Its layers in depth order: the stages, which nothing subdivides."""
        return self.stages

    @property
    def normalising(self) -> tuple[str, ...]:
        """The stages that have batch statistics."""
        names = [n.split("/") for n in self.shapes if n.startswith("batch_stats/")]
        return tuple(
            stage for stage in self.stages if any(n[1] == stage for n in names)
        )

    @property
    def normalised(self) -> bool:
        """Whether any parameter is in a module with norm in its name."""
        modules = [name.rpartition("/")[0] for name in self.shapes]
        return any("norm" in module for module in modules)

    @property
    def num_classes(self) -> int:
        """Outputs of the head as it was given."""
        return self.module.num_classes

    @property
    def smallest(self) -> int:
        """The side of its images: nothing is known of smaller ones."""
        return self.preprocess.size

    @cached_property
    def shapes(self) -> dict[str, Any]:
        """Shape and dtype of each variable, with the head as it was given, by name.

        Raises:
            InputError: `stages` are not the top-level names of the parameters.
        """
        shapes = shapes_of(self.module, self.preprocess.size)
        parts = dict.fromkeys(
            n.split("/")[1] for n in shapes if n.startswith("params/")
        )
        if sorted(parts) != sorted(self.stages):
            raise InputError(
                f"stages of {self.name} must be the top-level names of its parameters "
                f"in depth order, got {', '.join(self.stages)}\n"
                f"parameters: {', '.join(parts)}"
            )
        return shapes

    def build(
        self,
        num_classes: int,
        *,
        mode: TrainMode = _PLAIN,
        axis_name: str | None = None,
    ) -> Any:
        """Return the module, set up as `ModelSpec.build` does."""
        return self.module.clone(
            num_classes=num_classes, mode=mode, axis_name=axis_name
        )


def shapes_of(module: Any, size: int) -> dict[str, Any]:
    """Return shape and dtype of each variable of a module by name.

    Args:
        module: The Flax module.
        size: Side of the images in pixels.
    """
    import jax
    import jax.numpy as jnp

    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    return tree.flatten(jax.eval_shape(module.init, jax.random.key(0), image))
