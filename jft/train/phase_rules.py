"""What each phase does with every parameter and normalisation layer of a network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax.core import FrozenDict

from jft import tree
from jft.config import TrainConfig
from jft.errors import Problems
from jft.features.cut import Cut, cut_of
from jft.freeze import norms, rules
from jft.freeze.phases import Phase
from jft.models.protocol import Architecture
from jft.models.training import TrainMode
from jft.optim import chain


@dataclass(frozen=True)
class PhaseRules:
    """What one phase trains.

    Attributes:
        phase: What was asked for.
        lr_mults: Tree like the parameters of learning-rate multipliers; 0 is frozen.
        norms: Mode of each layer that has statistics.
        mode: How the network runs in training.
        decay: What the weight decay of each parameter is multiplied by, by name.
    """

    phase: Phase
    lr_mults: FrozenDict[str, Any]
    norms: dict[str, str]
    mode: TrainMode
    decay: Mapping[str, float]

    def trained(self) -> list[str]:
        """Return the names of the parameters and statistics that training changes."""
        mults = tree.flatten(self.lr_mults)
        return [f"params/{name}" for name, mult in mults.items() if mult] + [
            f"batch_stats/{layer}/{leaf}"
            for layer, mode in self.norms.items()
            if mode != "stored"
            for leaf in ("mean", "var")
        ]

    def cut(self, stages: Sequence[str]) -> Cut | None:
        """Return where the network can be cut: what comes before never changes.

        Args:
            stages: Names of its parts in depth order.
        """
        return cut_of(stages, self.trained(), self.mode)


def phase_rules(
    config: TrainConfig,
    spec: Architecture,
    phases: Sequence[Phase],
    modes: Mapping[str, str],
    decay: tree.Rules,
) -> tuple[PhaseRules, ...]:
    """Return what each phase does with every part of a network.

    Args:
        config: The configuration.
        spec: The network.
        phases: From `plan_phases`.
        modes: From `norms.parse`.
        decay: The rules of `optim.decay_rules`.

    Raises:
        InputError: A rule names parameters that the network does not have, or leaves
            nothing to train.
    """
    image = jax.ShapeDtypeStruct((1, spec.smallest, spec.smallest, 3), jnp.float32)
    init = spec.build(spec.num_classes, mode=TrainMode(drop_path=config.drop_path)).init
    shapes = jax.eval_shape(init, jax.random.key(0), image)
    layers = norms.with_statistics(shapes.get("batch_stats") or {})
    names = list(tree.flatten(shapes["params"]))
    problems = Problems()
    factors = problems.attempt(chain.decay_factors, decay, names) or {}

    def rules_of(phase: Phase) -> PhaseRules:
        slower = config.optim.layer_decay
        mults = FrozenDict(phase.spec.lr_mults(shapes["params"], spec, slower))
        chosen = norms.choose(modes, mults, layers)
        mode = TrainMode(
            stored=norms.in_mode(chosen, "stored"),
            adapt=norms.in_mode(chosen, "adapt"),
            frozen=rules.frozen_layers(mults, spec),
            dropout=config.dropout,
            drop_path=config.drop_path,
            dtype=config.dtype,
            remat=config.remat,
        )
        return PhaseRules(phase, mults, chosen, mode, factors)

    made = [problems.attempt(rules_of, phase) for phase in phases]
    problems.require_none()
    return tuple(rules for rules in made if rules)
