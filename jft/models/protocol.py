"""What training needs of a network, so that it may be anybody's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from jft.models.training import TrainMode

if TYPE_CHECKING:
    import jax

    from jft.preprocess import Preprocess


class Architecture(Protocol):
    """What freezing and training need of a network before it is built.

    `ModelSpec` describes the networks that jft knows by name, and `OwnModel` a Flax
    module of your own.
    """

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    @property
    def stages(self) -> tuple[str, ...]:
        """The parts in depth order, the top-level names of the parameters."""
        ...

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers in depth order: stages, or what is inside them."""
        ...

    @property
    def normalising(self) -> tuple[str, ...]:
        """The stages with batch normalisation."""
        ...

    @property
    def normalised(self) -> bool:
        """Whether it has any normalisation, of batches or of groups."""
        ...

    @property
    def num_classes(self) -> int:
        """Usual outputs of the head."""
        ...

    @property
    def preprocess(self) -> Preprocess:
        """How pixels usually become its input."""
        ...

    @property
    def smallest(self) -> int:
        """The smallest side of an image, in pixels, that it can see."""
        ...

    def build(
        self, num_classes: int, *, mode: TrainMode = ..., axis_name: str | None = None
    ) -> Any:
        """Return the Flax module, a `StagedModule`."""
        ...


class StagedModule(Protocol):
    """A Flax module with named parts, which `make_train_step` and `fit` can train.

    `Network` is one; a module of your own needs the same fields and call signature.
    `jft.fit` sets the fields `num_classes`, `axis_name` and `mode` with `clone`.
    """

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the parts in depth order, the top-level names of the parameters.

        The last one is `head`.
        """
        ...

    @property
    def num_classes(self) -> int:
        """Outputs of the head, K."""
        ...

    @property
    def axis_name(self) -> str | None:
        """Mapped axis over which batch statistics are computed, if any."""
        ...

    @property
    def mode(self) -> TrainMode:
        """How it runs in training.

        Normalisation layers in `mode.stored` must use stored statistics and not update
        them, as `jft.models.norm.BatchNorm` does. Dropout and stochastic depth are
        optional: with both at 0, the default, no `keys` are passed.
        """
        ...

    def __call__(
        self,
        x: jax.Array,
        *,
        train: bool = False,
        weight: jax.Array | None = None,
        keys: jax.Array | None = None,
    ) -> jax.Array:
        """Return logits [B, K] float32, of masks [B, H, W, K].

        Args:
            x: Normalised images [B, H, W, 3] float32.
            train: Use batch statistics, and drop features.
            weight: [B] float32, 0 for padding, which batch statistics leave out.
            keys: [B] random keys, one per example.
        """
        ...

    def clone(self, **changes: Any) -> Any:
        """Return the module with some fields changed, as every Flax module does."""
        ...

    def apply(self, variables: Any, *args: Any, **kwargs: Any) -> Any:
        """Call the module with variables, as `flax.linen.Module.apply`."""
        ...
