"""The compiled steps: pure functions of (state, batch)."""

from jft.step.measuring import make_eval_step as make_eval_step
from jft.step.measuring import make_predict_step as make_predict_step
from jft.step.state import StepSpec as StepSpec
from jft.step.state import TrainState as TrainState
from jft.step.training import gradients as gradients
from jft.step.training import make_train_step as make_train_step
from jft.step.training import merge as merge
from jft.step.training import prepare as prepare
from jft.step.training import total as total
from jft.step.training import trained as trained
