"""The first phase of a configuration, without a run around it."""

from jft import tree
from jft.config import TrainConfig
from jft.devices import Devices
from jft.freeze import norms
from jft.freeze.phases import plan_phases
from jft.optim.chain import DECAY_RULES
from jft.step import StepSpec, TrainState
from jft.tasks import Task
from jft.train.phase_rules import phase_rules
from jft.train.phases import Trainee, build_phases, first_state
from jft.weights.pretrained import Pretrained


def first_phase(
    config: TrainConfig,
    pretrained: Pretrained,
    devices: Devices,
    task: Task,
    steps_per_epoch: int,
) -> tuple[StepSpec, TrainState]:
    """Return what the first training step is made of, and the state before it."""
    spec = pretrained.spec
    modes = norms.parse(config.norm, spec)
    decay = tree.parse_rules(config.optim.decay_rules, what=DECAY_RULES)
    rules = phase_rules(config, spec, plan_phases(config, spec), modes, decay)
    trainee = Trainee(pretrained, task, devices.axis_name, steps_per_epoch)
    first, *_ = build_phases(config, rules, trainee)
    return first.step_spec, first_state(pretrained, first, config.seed)
