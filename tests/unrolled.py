"""Learning rates and optimizers written out by hand: NumPy in float64, leaf by leaf.

And a small network's parameters, with gradients for them, to run both on.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from flax.core import FrozenDict

from jft import tree
from jft.config import OptimConfig

Flat = dict[str, np.ndarray]

STEPS, EPOCH = 20, 4
SHAPES = {
    "stem/conv/kernel": (2, 3),
    "stem/norm/scale": (3,),
    "stem/norm/bias": (3,),
    "stage1/conv/kernel": (2, 1, 3, 4),  # as a matrix taller than wide
    "stage1/norm/scale": (4,),
    "stage1/norm/bias": (4,),
    "stage2/conv/kernel": (1, 1, 4, 5),  # wider than tall
    "stage2/norm/scale": (5,),
    "head/kernel": (5, 2),
    "head/bias": (2,),
}


def values(seed: int) -> Flat:
    rng = np.random.default_rng(seed)
    return {n: rng.normal(size=s).astype(np.float32) for n, s in SHAPES.items()}


# A head's bias starts at zero, where there is no trust ratio.
START = values(0) | {"head/bias": np.zeros(2, np.float32)}
# Whose gradients are so small that the epsilons of Adam and lamb show.
FAINT = "stage2/norm/scale"
TARGETS = [values(seed) for seed in range(1, STEPS + 1)]


def gradient(params: Flat, step: int) -> Flat:
    """Return gradients of a quadratic, a third as large every other step."""
    size = np.float32(0.3 if step % 2 else 1.0)
    return {
        name: (leaf - TARGETS[step][name])
        * (size * np.float32(1e-6) if name == FAINT else size)
        for name, leaf in params.items()
    }


def nested(flat: Mapping[str, Any]) -> FrozenDict[str, Any]:
    return FrozenDict(tree.unflatten(flat))


def as_numpy(params: Any) -> Flat:
    return {name: np.asarray(leaf) for name, leaf in tree.flatten(params).items()}


def quickly(function: Callable[..., Any]) -> Any:
    """Return the function compiled without optimisation, in half the time."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


# What is done to a gradient, in order, from the papers.
USUAL = ("clip", "direction", "decay", "pull", "share", "rate", "plateau")
ORDER = {
    **dict.fromkeys(("sgd", "adamw", "lion", "muon"), USUAL),
    "lamb": ("clip", "direction", "decay", "pull", "trust", "share", "rate", "plateau"),
    "lars": ("clip", "decay", "pull", "trust", "share", "rate", "plateau", "direction"),
}


def rate_at(config: OptimConfig, step: int, *, steps: int, epoch: int) -> float:
    """Return the learning rate; an epoch has `epoch` steps."""
    peak = config.learning_rate
    warmup = round(config.warmup_epochs * epoch)
    if config.schedule == "one-cycle":
        rise = warmup or math.floor(0.3 * steps)
        if step < rise:
            return peak / 25 + (peak - peak / 25) * (1 - half_cosine(step / rise))
        done = min((step - rise) / max(steps - rise, 1), 1.0)
        return peak / 250_000 + (peak - peak / 250_000) * half_cosine(done)
    if step < warmup:
        return peak * step / warmup
    done = min((step - warmup) / max(steps - warmup, 1), 1.0)
    if config.schedule == "cosine":
        return peak * half_cosine(done)
    if config.schedule == "linear":
        return peak * (1 - done)
    if config.schedule == "step":
        return peak * config.drop_factor ** (step // (config.drop_epochs * epoch))
    return peak


def half_cosine(done: float) -> float:
    return (1 + math.cos(math.pi * done)) / 2


def orthogonal(matrix: np.ndarray) -> np.ndarray:
    """Return five steps of Muon's Newton-Schulz iteration; `matrix` is [I, O]."""
    x = matrix / (np.sqrt(np.sum(matrix**2)) + 1e-8)
    for _ in range(5):
        # The products are the smaller ones of the two ways to write the same.
        if x.shape[0] <= x.shape[1]:
            a = x @ x.T
            x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
        else:
            a = x.T @ x
            x = 3.4445 * x + x @ (-4.7750 * a + 2.0315 * a @ a)
    return x


@dataclass
class Unrolled:
    """An optimizer, one step at a time, with a memory of its own for every leaf.

    Attributes:
        config: Its settings.
        decay: Factors of weight decay by name; 0 where absent. Without decay, lars and
            lamb have no trust ratio.
        loaded: Names that L2-SP pulls back.
        order: What is done to a gradient, in order.
        smallest: The least that lion took the sign of, over the largest of its leaf.
        common_count: Whether bias correction counts the run's steps, not the leaf's.
    """

    config: OptimConfig
    decay: Mapping[str, float]
    loaded: frozenset[str]
    order: tuple[str, ...]
    common_count: bool = False
    memory: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    pretrained: Flat = field(default_factory=dict)
    done: int = 0
    clipped: list[bool] = field(default_factory=list)
    smallest: float = math.inf
    losses: list[float] = field(default_factory=list)
    best: float = math.inf
    bad: int = 0
    factor: float = 1.0

    def update(
        self, params: Flat, grads: Flat, shares: Mapping[str, float], loss: float = 0.0
    ) -> Flat:
        """Return the parameters after a step; those without a share stay."""
        trained = [name for name, share in shares.items() if share]
        for name in set(self.memory) - set(trained):
            del self.memory[name], self.counts[name]
        for name in trained:
            if name not in self.memory:
                zeros = np.zeros(params[name].shape)
                start = self.pretrained.setdefault(name, params[name].astype(float))
                self.memory[name] = {"first": zeros, "second": zeros, "start": start}
                self.counts[name] = self.done if self.common_count else 0
            self.counts[name] += 1
        if self.config.schedule == "plateau":
            self._judge(loss)
        moves = {name: grads[name].astype(np.float64) for name in trained}
        for part in self.order:
            moves = getattr(self, f"_{part}")(moves, params, shares)
        self.done += 1
        return params | {name: params[name] - move for name, move in moves.items()}

    def _clip(self, moves: Flat, params: Flat, shares: Mapping[str, float]) -> Flat:
        limit = self.config.clip_norm or math.inf
        norm = math.sqrt(sum(float(np.sum(move**2)) for move in moves.values()))
        self.clipped.append(norm > limit)
        scale = limit / norm if norm > limit else 1.0
        return {name: move * scale for name, move in moves.items()}

    def _decay(self, moves: Flat, params: Flat, shares: Mapping[str, float]) -> Flat:
        strength = self.config.weight_decay
        return {
            name: move + strength * self.decay.get(name, 0.0) * params[name]
            for name, move in moves.items()
        }

    def _pull(self, moves: Flat, params: Flat, shares: Mapping[str, float]) -> Flat:
        return {
            name: move + self.config.l2_sp * (params[name] - self.memory[name]["start"])
            if name in self.loaded
            else move
            for name, move in moves.items()
        }

    def _trust(self, moves: Flat, params: Flat, shares: Mapping[str, float]) -> Flat:
        coefficient = {"lamb": 1.0, "lars": 0.001}[self.config.name]

        def ratio(name: str) -> float:
            if not self.decay.get(name):
                return 1.0
            weight = float(np.sqrt(np.sum(params[name] ** 2)))
            move = float(np.sqrt(np.sum(moves[name] ** 2)))
            return coefficient * weight / move if weight and move else 1.0

        return {name: move * ratio(name) for name, move in moves.items()}

    def _share(self, moves: Flat, params: Flat, shares: Mapping[str, float]) -> Flat:
        return {name: move * shares[name] for name, move in moves.items()}

    def _rate(self, moves: Flat, params: Flat, shares: Mapping[str, float]) -> Flat:
        rate = rate_at(self.config, self.done, steps=STEPS, epoch=EPOCH)
        return {name: move * rate for name, move in moves.items()}

    def _plateau(self, moves: Flat, params: Flat, shares: Mapping[str, float]) -> Flat:
        return {name: move * self.factor for name, move in moves.items()}

    def _judge(self, loss: float) -> None:
        self.losses.append(loss)
        if len(self.losses) < EPOCH:
            return
        mean, self.losses = sum(self.losses) / EPOCH, []
        # optax's default: an improvement is one of more than a ten thousandth.
        if mean < self.best * (1 - 1e-4):
            self.best, self.bad = mean, 0
        else:
            self.bad += 1
        if self.bad == self.config.drop_epochs:
            self.factor, self.bad = self.factor * self.config.drop_factor, 0

    def _direction(
        self, moves: Flat, params: Flat, shares: Mapping[str, float]
    ) -> Flat:
        rules: dict[str, Callable[[str, np.ndarray], np.ndarray]] = {
            "sgd": self._trace,
            "lars": self._trace,
            "adamw": self._adam,
            "lamb": lambda name, grad: self._adam(name, grad, 1e-6),
            "lion": self._lion,
            "muon": self._muon,
        }
        rule = rules[self.config.name]
        return {name: rule(name, grad) for name, grad in moves.items()}

    def _trace(self, name: str, grad: np.ndarray) -> np.ndarray:
        memory = self.memory[name]
        memory["first"] = self.config.momentum * memory["first"] + grad
        return memory["first"]

    def _adam(self, name: str, grad: np.ndarray, epsilon: float = 1e-8) -> np.ndarray:
        memory, count = self.memory[name], self.counts[name]
        memory["first"] = 0.9 * memory["first"] + 0.1 * grad
        memory["second"] = 0.999 * memory["second"] + 0.001 * grad**2
        mean = memory["first"] / (1 - 0.9**count)
        return mean / (np.sqrt(memory["second"] / (1 - 0.999**count)) + epsilon)

    def _lion(self, name: str, grad: np.ndarray) -> np.ndarray:
        memory = self.memory[name]
        blend = 0.9 * memory["first"] + 0.1 * grad
        memory["first"] = 0.99 * memory["first"] + 0.01 * grad
        smallest = np.abs(blend).min() / (np.abs(blend).max() or 1.0)
        self.smallest = min(self.smallest, float(smallest))
        return np.sign(blend)

    def _muon(self, name: str, grad: np.ndarray) -> np.ndarray:
        if not name.endswith("/kernel") or name.startswith("head/"):
            return self._adam(name, grad)
        memory, count, beta = self.memory[name], self.counts[name], self.config.momentum
        memory["first"] = beta * memory["first"] + (1 - beta) * grad
        ahead = beta * memory["first"] / (1 - beta ** (count + 1))
        ahead = ahead + (1 - beta) * grad / (1 - beta**count)
        matrix = ahead.reshape(-1, grad.shape[-1])
        scale = 0.2 * math.sqrt(max(matrix.shape))
        return scale * orthogonal(matrix).reshape(grad.shape)
