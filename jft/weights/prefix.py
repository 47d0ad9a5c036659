"""Finds the network among the tensors of a checkpoint: the prefix of their names."""

from collections.abc import Iterator, Mapping

import numpy as np

from jft.errors import InputError
from jft.models import ModelSpec
from jft.weights.names import readable_layouts
from jft.weights.torch.entries import AVERAGED

# Of two copies of a network, averages go before these, and these before others: MoCo
# and BYOL train them, and others follow by momentum; DINO evaluates the teacher.
_PREFERRED = ("encoder_q", "base_encoder", "online_network", "teacher", "backbone")
_SEPARATORS = (".", "/")


class Part(Mapping[str, np.ndarray]):
    """The tensors of a checkpoint whose names begin with a prefix, without it.

    Args:
        tensors: All tensors.
        prefix: Ends with a separator; or is empty, for all of them.
    """

    def __init__(self, tensors: Mapping[str, np.ndarray], prefix: str) -> None:
        self._tensors = tensors
        self.prefix = prefix
        self.outside = tuple(n for n in tensors if not n.startswith(prefix))

    def __getitem__(self, name: str) -> np.ndarray:
        return self._tensors[self.prefix + name]

    def __contains__(self, name: object) -> bool:
        return f"{self.prefix}{name}" in self._tensors

    def __iter__(self) -> Iterator[str]:
        start = len(self.prefix)
        return (n[start:] for n in self._tensors if n.startswith(self.prefix))

    def __len__(self) -> int:
        return len(self._tensors) - len(self.outside)


def network_part(tensors: Mapping[str, np.ndarray], spec: ModelSpec) -> Part:
    """Return the tensors under the prefix with which most names fit a network's."""
    kernels = first_kernels(spec)
    if not kernels or not tensors:
        return Part(tensors, "")
    hits: dict[str, int] = {}
    for layout in readable_layouts(spec):
        names = [layout.name(kernel, spec) for kernel in kernels]
        for prefix in _prefixes(tensors, names[0]):
            count = sum(f"{prefix}{name}" in tensors for name in names)
            hits[prefix] = max(count, hits.get(prefix, 0))
    most = max(hits.values(), default=0)
    equal = (prefix for prefix, count in hits.items() if count == most)
    best = sorted(equal, key=lambda prefix: (_rank(prefix), prefix))
    if not best or "" in best:
        return Part(tensors, "")
    if len(best) > 1 and _rank(best[0]) == _rank(best[1]):
        shown = ", ".join(repr(prefix) for prefix in best[:8])
        raise InputError(
            f"contains {spec.name} several times, under {shown}: choose one with "
            f"FILE?key={best[0][:-1]}"
        )
    return Part(tensors, best[0])


def first_kernels(spec: ModelSpec) -> list[str]:
    """Return our name of the first kernel of each block, or of each VGG's layer."""
    blocks = [layer for layer in spec.layers if layer.startswith("stage")]
    return [f"params/{b}/conv{'1' if '/block' in b else ''}/kernel" for b in blocks]


def _prefixes(tensors: Mapping[str, np.ndarray], anchor: str) -> set[str]:
    found = {name.removesuffix(anchor) for name in tensors if name.endswith(anchor)}
    return {prefix for prefix in found if not prefix or prefix.endswith(_SEPARATORS)}


def _rank(prefix: str) -> tuple[bool, int]:
    parts = prefix.replace("/", ".").split(".")
    preferred = [i for i, name in enumerate(_PREFERRED) if name in parts]
    averaged = AVERAGED.fullmatch(prefix[:-1]) is not None
    return not averaged, min(preferred, default=len(_PREFERRED))
