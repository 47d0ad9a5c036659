"""The beginning of a run: pretrained variables, freeze rule, optimizer, first state."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax.core import FrozenDict

from jft import freeze, optim
from jft.config import TrainConfig
from jft.devices import Devices
from jft.pretrained import Pretrained
from jft.step import StepSpec, TrainState
from jft.tasks import Classification


@dataclass(frozen=True)
class Start:
    """A run before its first step.

    Attributes:
        state: Initial state, on the host.
        step_spec: What the training step is made of.
        pretrained: The network with its preprocessing and how its weights loaded.
        counts: Parameters and frozen parameters per stage.
    """

    state: TrainState
    step_spec: StepSpec
    pretrained: Pretrained
    counts: list[freeze.StageCount]


def begin(
    config: TrainConfig,
    pretrained: Pretrained,
    devices: Devices,
    *,
    steps_per_epoch: int,
) -> Start:
    """Build the initial state and the parts of the training step.

    Raises:
        InputError: The freeze rule does not fit the network.
    """
    spec = pretrained.spec
    params = pretrained.variables["params"]
    freezing = freeze.FreezeSpec.parse(config.freeze, spec)
    frozen = FrozenDict(freezing.frozen(params))
    rate = optim.learning_rate(
        config.optim,
        steps=steps_per_epoch * config.epochs,
        steps_per_epoch=steps_per_epoch,
    )
    optimizer = optim.optimizer(config.optim, rate, frozen)
    model = pretrained.model.clone(
        stored=freeze.stored_norms(frozen), axis_name=devices.axis_name
    )
    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=FrozenDict(pretrained.variables.get("batch_stats") or {}),
        opt_state=optimizer.init(params),
        key=jax.random.key_data(jax.random.key(config.seed)),
    )
    step_spec = StepSpec(
        model=model,
        task=Classification(label_smoothing=config.label_smoothing),
        optimizer=optimizer,
        rate=rate,
        frozen=frozen,
        preprocess=pretrained.preprocess,
        augment=config.augment,
        steps_per_epoch=steps_per_epoch,
    )
    counts = freeze.summarise(params, frozen, spec)
    return Start(jax.device_get(state), step_spec, pretrained, counts)
