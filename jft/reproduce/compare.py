"""Two runs to the bit: up to which step they are the same, and why not beyond."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from jft import config as configs
from jft.runs.directory import DIGESTS, RunDirectory

IDENTICAL, UNTIL, DIFFERS = "bit-identical", "identical until", "differs"
# What is known to change bits, the likeliest first (docs/runs.md).
RANKED = ("jaxlib", "jax", "flax", "optax", "numpy", "grain", "pillow", "simplejpeg")


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Attributes:
        verdict: bit-identical, identical until, or differs.
        steps: Steps from the start whose losses are the same to the bit.
        leaf: The first array of the state whose digest differs, at the first epoch
            where one does; None if there is none.
        epoch: That epoch, from 1.
        causes: What differs in settings, inputs and environment, the likeliest cause
            first.
    """

    verdict: str
    steps: int
    leaf: str | None
    epoch: int | None
    causes: list[str]

    @property
    def status(self) -> int:
        """The exit status: 0 bit-identical, 1 identical until a step, 2 differs."""
        return (IDENTICAL, UNTIL, DIFFERS).index(self.verdict)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return it for a reader."""
        if self.verdict == IDENTICAL:
            return [f"{IDENTICAL}: {self.steps} steps and the final parameters"]
        lines = [DIFFERS if self.verdict == DIFFERS else f"{UNTIL} step {self.steps}"]
        if self.leaf:
            lines.append(f"the first difference after epoch {self.epoch}: {self.leaf}")
        causes = self.causes or ["nothing that the manifests list is different"]
        return [*lines, *(f"- {cause}" for cause in causes)]


def compare(first: RunDirectory, second: RunDirectory) -> Comparison:
    """Compare the recorded bits of two runs.

    Raises:
        DamageError: A file of one is damaged or missing.
    """
    steps = equal_steps(first.losses(), second.losses())
    epoch, leaf = first_leaf(first.lines(DIGESTS), second.lines(DIGESTS))
    results = [each.read("result.json") or {} for each in (first, second)]
    digests = {result.get("params_digest") for result in results}
    whole = len(first.losses()) == len(second.losses()) == steps
    if whole and leaf is None and len(digests) == 1:
        verdict = IDENTICAL
    else:
        verdict = UNTIL if steps else DIFFERS
    causes = [] if verdict == IDENTICAL else list(differences(first, second))
    return Comparison(verdict, steps, leaf, epoch, causes)


def equal_steps(first: Any, second: Any) -> int:
    """Return how many elements two float32 arrays begin with that are the same bits."""
    n = min(len(first), len(second))
    same = np.asarray(first[:n]).view("<u4") == np.asarray(second[:n]).view("<u4")
    return n if same.all() else int(same.argmin())


def first_leaf(
    first: list[dict[str, Any]], second: list[dict[str, Any]]
) -> tuple[int | None, str | None]:
    """Return the first epoch after which a leaf differs, and the first such leaf.

    Args:
        first: The lines of `digests.jsonl`, each with the leaves that have changed.
        second: Those of the other run.
    """
    leaves: tuple[dict[str, str], dict[str, str]] = {}, {}
    for a, b in zip(first, second, strict=False):
        leaves[0].update(a["leaves"])
        leaves[1].update(b["leaves"])
        if a["chain"] == b["chain"]:
            continue
        for name in {**leaves[0], **leaves[1]}:
            if leaves[0].get(name) != leaves[1].get(name):
                return a["epoch"], name
    return None, None


def differences(first: RunDirectory, second: RunDirectory) -> Iterator[str]:
    """Yield what differs between two runs, the likeliest cause of other bits first."""
    a, b = (each.read("manifest.json") or {} for each in (first, second))
    inputs = (("data", "fingerprint"), ("weights", "sha256"))
    for what, name in inputs:
        yield from _different(f"{what} {name}", a[what][name], b[what][name])
    ignored = ("data:", "weights:")  # their content is compared above
    for change in configs.difference(first.config(), second.config()):
        if not change.startswith(ignored):
            yield f"config {change}"
    old, new = a["sessions"][-1], b["sessions"][-1]
    for name in RANKED[:2]:
        yield from _version(name, old, new)
    for name in ("devices", "cores", "cpu_count", "xla_flags"):
        yield from _different(name, old[name], new[name])
    for name in dict.fromkeys((*RANKED[2:], *sorted(old["versions"]))):
        if name not in RANKED[:2]:
            yield from _version(name, old, new)
    for name in ("platform", "git"):
        yield from _different(name, old[name], new[name])


def _version(name: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[str]:
    yield from _different(name, a["versions"].get(name), b["versions"].get(name))


def _different(name: str, a: Any, b: Any) -> Iterator[str]:
    if a != b:
        yield f"{name}: {str(a)[:200]} -> {str(b)[:200]}"
