"""jft: fine-tuning of pretrained vision networks in JAX.

The public names are loaded when they are first used: importing jft imports no JAX.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jft.config import AugmentConfig as AugmentConfig
    from jft.config import ModelConfig as ModelConfig
    from jft.config import OptimConfig as OptimConfig
    from jft.config import TaskConfig as TaskConfig
    from jft.config import TrainConfig as TrainConfig
    from jft.errors import InputError as InputError
    from jft.freeze.rules import FreezeSpec as FreezeSpec
    from jft.models import TrainMode as TrainMode
    from jft.models.own import OwnModel as OwnModel
    from jft.optim.chain import make_optimizer as make_optimizer
    from jft.predict.predictor import Predictor as Predictor
    from jft.preprocess import Preprocess as Preprocess
    from jft.run import Run as Run
    from jft.runs.saved import ModelCard as ModelCard
    from jft.runs.saved import save_model as save_model
    from jft.step import StepSpec as StepSpec
    from jft.step import TrainState as TrainState
    from jft.step import make_train_step as make_train_step
    from jft.tasks import Task as Task
    from jft.train.callbacks import Callback as Callback
    from jft.train.early_stopping import EarlyStopping as EarlyStopping
    from jft.train.loop import fit as fit
    from jft.train.printer import Printer as Printer
    from jft.train.result import Result as Result
    from jft.weights.pretrained import Pretrained as Pretrained
    from jft.weights.pretrained import load_pretrained as load_pretrained
    from jft.weights.published import list_models as list_models
    from jft.weights.published import list_weights as list_weights

_HOMES = {
    "AugmentConfig": "jft.config",
    "Callback": "jft.train.callbacks",
    "EarlyStopping": "jft.train.early_stopping",
    "FreezeSpec": "jft.freeze.rules",
    "InputError": "jft.errors",
    "ModelCard": "jft.runs.saved",
    "ModelConfig": "jft.config",
    "OptimConfig": "jft.config",
    "OwnModel": "jft.models.own",
    "Predictor": "jft.predict.predictor",
    "Preprocess": "jft.preprocess",
    "Pretrained": "jft.weights.pretrained",
    "Printer": "jft.train.printer",
    "Result": "jft.train.result",
    "Run": "jft.run",
    "StepSpec": "jft.step",
    "Task": "jft.tasks",
    "TaskConfig": "jft.config",
    "TrainConfig": "jft.config",
    "TrainMode": "jft.models",
    "TrainState": "jft.step",
    "fit": "jft.train.loop",
    "list_models": "jft.weights.published",
    "list_weights": "jft.weights.published",
    "load_pretrained": "jft.weights.pretrained",
    "make_optimizer": "jft.optim.chain",
    "make_train_step": "jft.step",
    "save_model": "jft.runs.saved",
}

__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'jft' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
