"""What a run refuses beyond the range of each setting; none of it needs JAX."""

from collections.abc import Sequence

from jft.data.listing import TaskName
from jft.errors import InputError
from jft.freeze.phases import Phase
from jft.models import ModelSpec
from jft.types import HELD_OUT


def check_sweep(phases: Sequence[Phase], examples: int) -> None:
    """Check that enough images can be held out to choose among learning rates."""
    if any(phase.candidate for phase in phases) and examples < HELD_OUT:
        raise InputError(
            "phases: choosing among learning rates holds out one training image in "
            f"{HELD_OUT}, but there are {examples}"
        )


def with_decoder(spec: ModelSpec, task: TaskName, wanted: str) -> ModelSpec:
    """Return the network with a decoder if, and only if, the data has masks.

    Args:
        spec: The network, with the decoder that is asked for or is its own.
        task: What the data is for.
        wanted: The decoder that is asked for, or auto.
    """
    if task != "segmentation":
        if spec.decoder != "none":
            raise InputError(
                f"{spec.name} with a {spec.decoder} decoder learns from masks, and the "
                f"data has none: it is for {task}"
            )
        return spec
    if spec.decoder != "none":
        return spec
    if wanted == "none":
        raise InputError(
            "the data has masks, which need a decoder: leave --model.decoder at auto, "
            "or take fcn, deeplabv3 or unet"
        )
    return spec.adapted(decoder="unet")


def check_new_values(rule: str, frozen: Sequence[str]) -> None:
    """Check that no newly initialised value is frozen.

    Args:
        rule: The freeze rule.
        frozen: Names of the newly initialised parameters that it freezes.
    """
    if frozen:
        raise InputError(
            f"freeze {rule!r} would freeze new random values: {', '.join(frozen)}"
        )
