"""Finds the module of gradients that XLA left without a name."""

import math
from collections import defaultdict
from collections.abc import Mapping, Set

from jft.costs.flops import dimensions
from jft.costs.hlo import Instruction, Program


def kernel_gradients(
    program: Program, modules: Mapping[str, str], backward: Set[str]
) -> dict[str, str]:
    """Return the modules of those gradients of kernels that have lost their name.

    XLA rewrites the gradient of a kernel as another convolution and a transpose of
    its result. The name stays with the transpose, which for a 1x1 kernel moves on and
    vanishes in the optimizer's arithmetic. What still identifies its module: it
    convolves what the module convolves, and has as many elements as the kernel.

    Args:
        program: The compiled step.
        modules: For each convolution and matrix product, by the instruction's name,
            the module; "" where that is not known.
        backward: Those of the backward pass, and those without a name.

    Returns:
        Modules by the instruction's name, of those without a name that were found.
    """

    def made_of(data: Instruction) -> frozenset[tuple[str, bool]]:
        sources = _sources(data, program, modules)
        return frozenset((modules[name], name in backward) for name in sources)

    def is_kernel(operand: Instruction) -> bool:
        return not made_of(operand) or any(late for _, late in made_of(operand))

    # What convolves the same, which are at most a shortcut and a block's first
    # convolution, and the elements of its kernel.
    takers: dict[frozenset[tuple[str, bool]], dict[str, int]] = defaultdict(dict)
    for name in modules.keys() - backward:
        # The first is the data, except the few that XLA swaps.
        data, kernel = sorted(_operands(name, program), key=is_kernel)
        takers[made_of(data)][modules[name]] = _elements(kernel)
    owners: dict[str, str] = {}
    for name in (n for n in backward if not program.instructions[n].op_name):
        size = _elements(program.instructions[name])
        for data in _operands(name, program):
            kernels = takers.get(made_of(data), {})
            # A depthwise kernel's gradient is computed with zeros beside it.
            fits = [module for module, n in kernels.items() if size % n == 0]
            if fits:
                owners[name] = max(fits, key=kernels.__getitem__)
    return owners


def _operands(name: str, program: Program) -> list[Instruction]:
    names = program.instructions[name].operands[:2]
    return [program.instructions[name] for name in names]


def _elements(instruction: Instruction) -> int:
    return math.prod(dimensions(instruction.shape))


def _sources(
    data: Instruction, program: Program, modules: Mapping[str, str]
) -> set[str]:
    """Return the convolutions and matrix products whose results `data` is made from.

    Sums are not followed: a batch's statistics, or the norm of all gradients by which
    SAM scales, would lead everywhere.
    """
    found, seen, waiting = set[str](), set[str](), [data]
    while waiting:
        here = waiting.pop()
        if here.name in modules:
            found.add(here.name)
        elif here.name not in seen and here.opcode != "reduce":
            seen.add(here.name)
            waiting.extend(program.before(here))
    return found
