"""Optimised HLO text as a graph: one instruction a line, read once."""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

# `%x = f32[4]{0} add(%a, %b), metadata={...}`. A result may be a tuple of shapes, which
# has spaces in it, so its end is where a word opens the list of operands.
_INSTRUCTION = re.compile(
    r"\s+(?P<root>ROOT )?%(?P<name>\S+) = (?P<shape>.+?) (?P<opcode>[a-z][\w-]*)"
    r"\((?P<operands>[^)]*)\)(?P<attributes>.*)"
)
_COMPUTATION = re.compile(r"(?:ENTRY )?%(\S+) .*\{$")
_OP_NAME = re.compile(r'op_name="([^"]*)"')
_BODY = re.compile(r"\b(?:calls|to_apply)=%([\w.-]+)")


@dataclass(frozen=True)
class Instruction:
    """One line of a program.

    Attributes:
        name: Unique in the program.
        computation: Name of the computation that contains it.
        shape: Type, dimensions and layout of its result, as written: `f32[4,8]{1,0}`.
        opcode: What it does: convolution, fusion, parameter, ...
        operands: Names of the instructions whose results it takes; of a parameter or
            a constant, its number or value.
        attributes: The rest of the line.
        op_name: Where in the traced program it comes from, `jit(step)/jvp(ResNet)/...`;
            empty where XLA did not keep that.
    """

    name: str
    computation: str
    shape: str
    opcode: str
    operands: tuple[str, ...]
    attributes: str
    op_name: str

    @property
    def body(self) -> str:
        """The computation that it runs on its operands, if it is a fusion or call."""
        if self.opcode != "call" and "calls=" not in self.attributes:
            return ""
        found = _BODY.search(self.attributes)
        return found[1] if found else ""


class Program:
    """The instructions of a compiled program, in order, and what each is made from.

    Attributes:
        instructions: Every instruction of every computation, by name.
    """

    def __init__(self, text: str) -> None:
        """Read `compiled.as_text()`, in time linear in its length."""
        self.instructions: dict[str, Instruction] = {}
        self._results: dict[str, Instruction] = {}
        self._callers: dict[str, list[Instruction]] = defaultdict(list)
        computation = ""
        for line in text.splitlines():
            if found := _INSTRUCTION.match(line):
                instruction = _instruction(found, computation)
                self.instructions[instruction.name] = instruction
                self._callers[instruction.body].append(instruction)
                if found["root"]:
                    self._results[computation] = instruction
            elif found := _COMPUTATION.match(line):
                computation = found[1]

    def before(self, instruction: Instruction) -> Iterator[Instruction]:
        """Yield what an instruction's result is made from, into fusions and out again.

        Nothing comes before a constant, nor before a parameter of the program or of
        a loop's body.
        """
        if instruction.opcode == "parameter":
            number = int(instruction.operands[0])
            for caller in self._callers.get(instruction.computation, ()):
                yield self.instructions[caller.operands[number]]
        elif instruction.body:
            yield self._results[instruction.body]
        else:
            known = (self.instructions.get(name) for name in instruction.operands)
            yield from (operand for operand in known if operand)


def _instruction(found: re.Match[str], computation: str) -> Instruction:
    op_name = _OP_NAME.search(found["attributes"])
    return Instruction(
        name=found["name"],
        computation=computation,
        shape=found["shape"],
        opcode=found["opcode"],
        # Every fifth is written with a comment before it.
        operands=tuple(o.rpartition("%")[2] for o in found["operands"].split(", ")),
        attributes=found["attributes"],
        op_name=op_name[1] if op_name else "",
    )
