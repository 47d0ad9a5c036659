"""What became of the tensors of a checkpoint, and of the variables of a network."""

from dataclasses import dataclass

from jft.weights.names import IGNORED
from jft.weights.torch.entries import AVERAGED


@dataclass(frozen=True)
class LoadReport:
    """How a checkpoint went into a network; names are '/'-joined, sorted.

    Attributes:
        source: The file or the name that was asked for.
        sha256: Hex digest of the file's bytes; '' for random weights.
        loaded: Variables taken from the checkpoint.
        reinitialised: Variables that keep their random initial values.
        ignored: Tensors of the checkpoint that the network has no use for.
        entry: Which of several state dicts in the file was loaded; empty if the file
            has only one.
        prefix: What precedes the names of the network's tensors in the file.
        stem: How the first convolution was adapted to the channels of the images; empty
            if it is that of the file.
        rows: For each output of the head the one of the file it is, or None; empty if
            they are in the same order, or the head is new.
    """

    source: str
    sha256: str
    loaded: tuple[str, ...]
    reinitialised: tuple[str, ...]
    ignored: tuple[str, ...] = ()
    entry: str = ""
    prefix: str = ""
    stem: str = ""
    rows: tuple[int | None, ...] = ()

    def __str__(self) -> str:
        """Return in a line what was loaded from where, and what was not used."""
        if not self.loaded:
            return "random"
        parts = [f"{self.source}, {len(self.loaded)} tensors loaded"]
        if self.entry:
            averaged = " (averages)" if AVERAGED.fullmatch(self.entry) else ""
            parts.append(f"entry {self.entry!r}{averaged}")
        if self.prefix:
            parts.append(f"prefix {self.prefix!r}")
        if self.stem:
            parts.append(f"first convolution {self.stem}")
        if self.rows:
            kept = sum(row is not None for row in self.rows)
            parts.append(f"{kept} of {len(self.rows)} outputs kept by name")
        if unused := [name for name in self.ignored if not IGNORED.fullmatch(name)]:
            more = f" and {len(unused) - 3} more" if len(unused) > 3 else ""
            parts.append(f"not used: {', '.join(unused[:3])}{more}")
        return "; ".join(parts)
