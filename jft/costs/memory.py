"""How many bytes a compiled step takes on the device."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Memory:
    """Bytes on one device while a compiled program runs.

    Attributes:
        arguments: What it is called with.
        outputs: What it returns.
        temporaries: What it needs in between.
        aliased: Outputs that are written over donated arguments.
    """

    arguments: int
    outputs: int
    temporaries: int
    aliased: int

    @property
    def total(self) -> int:
        """Bytes in total."""
        return self.arguments + self.outputs + self.temporaries - self.aliased


def memory(compiled: Any) -> Memory | None:
    """Return what XLA has reserved for a compiled program.

    None if the backend does not report it.
    """
    stats = compiled.memory_analysis()
    if stats is None:
        return None
    return Memory(
        arguments=stats.argument_size_in_bytes,
        outputs=stats.output_size_in_bytes,
        temporaries=stats.temp_size_in_bytes,
        aliased=stats.alias_size_in_bytes,
    )
