"""The bits of a run, by which another one is compared: losses and digests."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from jft import tree
from jft.runs.directory import DIGESTS, LOSSES, RunDirectory

SHORT = 16  # hex digits of a leaf's digest


class Trace:
    """The loss of every step, and after every epoch the digests of what has changed.

    Args:
        directory: That of the run; it gets `losses.f32`, float32 in the byte order of
            x86, and `digests.jsonl`, whose lines form a chain.
    """

    def __init__(self, directory: RunDirectory) -> None:
        self._directory = directory
        self._losses: list[np.float32] = []
        self._epochs: list[dict[str, Any]] = []
        self._leaves: dict[str, str] = {}

    def resume(self, step: int) -> None:
        """Take over what was recorded up to a step."""
        self._losses = [*self._directory.losses()[:step]]
        lines = self._directory.lines(DIGESTS)
        self._epochs = [line for line in lines if line["step"] <= step]
        for line in self._epochs:
            self._leaves |= line["leaves"]

    def add(self, loss: Any) -> None:
        """Record the loss of a step, summed over its examples."""
        self._losses.append(np.float32(loss))

    def end_epoch(self, epoch: int, step: int, state: Mapping[str, Any]) -> None:
        """Record the digests of a state, as nested mappings of arrays on the host."""
        digests = tree.leaf_digests(state)
        now = {name: digest[:SHORT] for name, digest in digests.items()}
        new = {n: d for n, d in now.items() if self._leaves.get(n) != d}
        before = self._epochs[-1]["chain"] if self._epochs else ""
        text = json.dumps([before, digests], sort_keys=True)
        chain = hashlib.sha256(text.encode()).hexdigest()
        line = {"epoch": epoch, "step": step, "chain": chain, "leaves": new}
        self._epochs.append(line)
        self._leaves |= new

    def save(self) -> None:
        """Write both files."""
        losses = np.array(self._losses, "<f4").tobytes()
        self._directory.write_bytes(LOSSES, losses)
        lines = "".join(json.dumps(line) + "\n" for line in self._epochs)
        self._directory.write_text(DIGESTS, lines)
