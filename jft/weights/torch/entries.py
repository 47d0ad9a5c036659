"""Which of the dicts in a checkpoint is the network's state dict."""

import re
from collections import deque
from typing import Any

from jft.errors import InputError
from jft.weights.torch.names import Entries, Tensor

AVERAGED = re.compile(r"(?:.*[._])?ema(?:[._].*)?", re.IGNORECASE)
"""Names of averaged weights, as timm and torchvision write them: model_ema, ..."""

# Where training scripts put the state dict, beside the optimizer and the epoch. timm
# too prefers averages, then these two.
_NAMES = (
    *("state_dict_ema", "model_ema", "ema", "state_dict", "model"),
    *("model_state_dict", "params", "weights", "teacher"),
)
_DEEPEST = 4
_MOST_TENSORS = 10_000  # ten times those of the deepest networks

StateDicts = dict[str, dict[str, Tensor]]
"""The dicts that hold tensors, by the '.'-joined keys that lead to them."""


def state_dicts(value: Any) -> StateDicts:
    """Return every dict of tensors in an object, the shallowest first."""
    if not isinstance(value, Entries):
        kind = "tensor" if isinstance(value, Tensor) else type(value).__name__
        raise InputError(
            f"contains a {kind}; it must be a dict of tensors (a state dict)"
        )
    found: StateDicts = {}
    # A memo lets a small file name one dict any number of times: look at it once.
    seen, waiting = {id(value)}, deque([("", value, 0)])
    while waiting:
        path, entries, depth = waiting.popleft()
        tensors = {k: leaf for k, leaf in entries.items() if isinstance(leaf, Tensor)}
        if len(tensors) > _MOST_TENSORS:
            raise InputError(
                f"holds {len(tensors)} tensors in one dict, at most {_MOST_TENSORS} "
                "are read"
            )
        if tensors:
            found[path] = tensors
        for name, inner in entries.items():
            new = isinstance(inner, Entries) and id(inner) not in seen
            if new and depth < _DEEPEST:
                seen.add(id(inner))
                waiting.append((f"{path}.{name}".lstrip("."), inner, depth + 1))
    if not found:
        shown = _listed(sorted(value)) or "nothing"
        raise InputError(f"contains no dict of tensors; at the top it has {shown}")
    return found


def choose(found: StateDicts, key: str = "") -> str:
    """Return the path of the network's state dict.

    Averaged weights go before raw ones, as in timm; then the usual names, those further
    out first; then the dict with most tensors.

    Args:
        found: From `state_dicts`.
        key: The path that the user asks for, or its last part; any other key does not
            choose.

    Raises:
        InputError: Several fit equally well.
    """
    if asked := [path for path in found if key and f".{path}".endswith(f".{key}")]:
        return asked[0]
    averaged = [path for path in found if AVERAGED.fullmatch(path)]
    named = [p for name in _NAMES for p in found if name in p.split(".")]
    usual = [path for path in named if path in averaged] or averaged or named
    if usual:
        first = usual[0].partition(".")[0]
        inside = [path for path in usual if path.partition(".")[0] == first]
        return max(inside, key=lambda path: len(found[path]))
    most = max(map(len, found.values()))
    largest = sorted(path for path, tensors in found.items() if len(tensors) == most)
    if len(largest) > 1:
        raise InputError(
            f"contains several state dicts ({_listed(largest)}); choose one with "
            f"FILE?key={largest[0]:.40}"
        )
    return largest[0]


def _listed(names: list[str]) -> str:
    return ", ".join(f"{name!r:.40}" for name in names[:8])
