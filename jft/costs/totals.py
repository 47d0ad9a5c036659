"""What the modules and stages of a network cost."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jft.costs.operations import Operation


@dataclass(frozen=True)
class Cost:
    """Floating point operations of the convolutions and matrix products of a part.

    Attributes:
        forward: Of the forward pass.
        recomputed: Of the forward pass, computed again to save memory.
        backward: Of the backward pass: the gradients of inputs and of kernels.
    """

    forward: int = 0
    recomputed: int = 0
    backward: int = 0


def module_costs(operations: Iterable[Operation]) -> dict[str, Cost]:
    """Add operations up by module; "" is what is in none."""
    return _add_up((operation.module, operation) for operation in operations)


def stage_costs(
    operations: Iterable[Operation], stages: Sequence[str]
) -> dict[str, Cost]:
    """Add operations up by stage, in depth order; the last, "", is what is in none."""
    costs = _add_up((op.module.split("/")[0], op) for op in operations)
    return {stage: costs.get(stage, Cost()) for stage in (*stages, "")}


def _add_up(parts: Iterable[tuple[str, Operation]]) -> dict[str, Cost]:
    sums: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for part, operation in parts:
        sums[part][operation.kind] += operation.flops
    return {part: Cost(**kinds) for part, kinds in sums.items()}
