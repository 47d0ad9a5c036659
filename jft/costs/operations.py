"""The convolutions and matrix products of a compiled step, and whose they are."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from jft.costs.flops import flops
from jft.costs.hlo import Program
from jft.costs.unnamed import kernel_gradients

Kind = Literal["forward", "recomputed", "backward"]

# What jax.checkpoint adds between the names of modules.
_REMAT = ("checkpoint", "rematted_computation")


@dataclass(frozen=True)
class Operation:
    """One convolution or matrix product of a compiled program.

    Attributes:
        module: '/'-joined name of the module, `stage1/block0/conv1`; "" if it is in
            none of the network's stages.
        kind: Of the forward pass; of the forward pass computed again, to save memory;
            or of the backward pass.
        flops: Floating point operations, two for each multiply-add.
    """

    module: str
    kind: Kind
    flops: int


def operations(text: str, stages: Sequence[str]) -> list[Operation]:
    """Read the convolutions and matrix products out of a compiled step.

    Each is listed once, however often it runs: a loop that is not unrolled counts as
    one round. Under pmap or `shard_map` they are those of one device.

    Products of an optimizer such as Muon are in no stage. Where a device has one image,
    or the network one class, XLA leaves the head's without a name: they are in none
    either. What is in none and has no name is counted as backward.

    Args:
        text: `compiled.as_text()`, optimised HLO.
        stages: Of the network, as `ModelSpec.stages`.
    """
    program = Program(text)
    counts = {
        instruction.name: count
        for instruction in program.instructions.values()
        if (count := flops(instruction, program)) is not None
    }
    origins = {name: program.instructions[name].op_name for name in counts}
    kinds: dict[str, Kind] = {name: _kind(origin) for name, origin in origins.items()}
    modules = {name: _module(origin, stages) for name, origin in origins.items()}
    backward = {name for name, kind in kinds.items() if kind == "backward"}
    modules |= kernel_gradients(program, modules, backward)
    return [Operation(modules[n], kinds[n], count) for n, count in counts.items()]


def _kind(op_name: str) -> Kind:
    if "rematted_computation" in op_name:
        return "recomputed"
    # What XLA has rewritten until no name is left are gradients of kernels.
    return "backward" if "transpose(" in op_name or not op_name else "forward"


def _module(op_name: str, stages: Sequence[str]) -> str:
    """Read `jit(step)/jvp(ResNet)/ResNet.stem/stem/conv/conv_general_dilated`."""
    *parts, _ = op_name.split("/")
    starts = [i for i, part in enumerate(parts) if part in stages]
    if not starts:
        return ""
    # Flax also names the method that runs (ResNet.stem), JAX its transformations
    # (jit(relu)) and einsum its formula.
    named = (part for part in parts[starts[-1] :] if re.fullmatch(r"\w+", part))
    return "/".join(part for part in named if part not in _REMAT)
