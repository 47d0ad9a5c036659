"""What a convolution or a matrix product computes: twice its multiply-adds."""

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

from jft.costs.hlo import Instruction, Program

Shape = tuple[int, ...]

_WINDOW = re.compile(r"window=\{([^}]*)\}")
_LABELS = re.compile(r"dim_labels=(\w+)_(\w+)->(\w+)")
# `lhs_contracting_dims={1}` of a dot, `"lhs_contracting_dimensions":["1"]` of a call.
_CONTRACTED = re.compile(r"lhs_contracting_dim\w+\"?[=:][{\[]([^}\]]*)")


def flops(instruction: Instruction, program: Program) -> int | None:
    """Return the floating point operations of a convolution or matrix product.

    A multiply-add counts two, and only those that touch the input count, as in XLA's
    `HloCostAnalysis`: taps on padding or in the holes of a dilation are free. Calls of
    cuDNN (`__cudnn$conv...`) and cuBLAS are read from what XLA's tests show of their
    text; this has not been tested on a GPU yet. None for any other instruction.
    """
    how = instruction.attributes
    if instruction.opcode not in ("convolution", "dot", "custom-call"):
        return None
    if contracted := _CONTRACTED.search(how):
        data, _, result = _shapes(instruction, program)
        axes = re.findall(r"\d+", contracted[1])
        return 2 * math.prod(result) * math.prod(data[int(axis)] for axis in axes)
    if labels := _LABELS.search(how):
        data, kernel, result = _shapes(instruction, program)
        # cuDNN's gradients have the window and labels of the forward convolution.
        if "$convBackwardInput" in how:
            data, result = result, data
        elif "$convBackwardFilter" in how:
            kernel, result = result, kernel
        return _convolution(data, kernel, result, labels.groups(), how)
    return None


def _shapes(instruction: Instruction, program: Program) -> tuple[Shape, Shape, Shape]:
    first, second, *_ = (program.instructions[name] for name in instruction.operands)
    return (
        dimensions(first.shape),
        dimensions(second.shape),
        dimensions(instruction.shape),
    )


def dimensions(shape: str) -> Shape:
    """Read `f32[4,8]{1,0}`; of a tuple the first part, the others being scratch."""
    sizes = shape[shape.index("[") + 1 : shape.index("]")]
    return tuple(int(size) for size in sizes.split(",") if size)


def _convolution(
    data: Shape, kernel: Shape, result: Shape, labels: Sequence[str], how: str
) -> int:
    of_data, of_kernel, of_result = labels
    window = _WINDOW.search(how)
    fields = dict(part.split("=") for part in window[1].split()) if window else {}
    pairs = (
        taps(
            data[of_data.index(axis)],
            result[of_result.index(axis)],
            {name: value.split("x")[i] for name, value in fields.items()},
        )
        for i, axis in enumerate(sorted(set(of_result) - set("bf")))
    )
    # `i` of the kernel is the inputs of one group, so groups need no further thought.
    inputs, outputs = kernel[of_kernel.index("i")], result[of_result.index("f")]
    return 2 * result[of_result.index("b")] * inputs * outputs * math.prod(pairs)


def taps(data: int, result: int, window: Mapping[str, str]) -> int:
    """Count along one axis the pairs of output and kernel pixel that meet an input.

    Args:
        data: Pixels of the input.
        result: Pixels of the output.
        window: Fields of HLO's window for this axis: `size`, and where they are not
            trivial `stride`, `pad` (as "1_2"), `lhs_dilate` and `rhs_dilate`.
    """
    pad = int(window.get("pad", "0_0").split("_")[0])
    holes = int(window.get("lhs_dilate", "1"))
    # [result, size], in pixels of the dilated input.
    position = np.add.outer(
        np.arange(result) * int(window.get("stride", "1")) - pad,
        np.arange(int(window["size"])) * int(window.get("rhs_dilate", "1")),
    )
    pixel, hole = np.divmod(position, holes)
    return int(np.sum((hole == 0) & (pixel >= 0) & (pixel < data)))
