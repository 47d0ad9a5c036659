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
    from jft.predict.predictor import Predictor as Predictor
    from jft.train.callbacks import Callback as Callback
    from jft.train.loop import fit as fit
    from jft.train.result import Result as Result
    from jft.weights.pretrained import Pretrained as Pretrained
    from jft.weights.pretrained import load_pretrained as load_pretrained
    from jft.weights.published import list_models as list_models
    from jft.weights.published import list_weights as list_weights

_HOMES = {
    "AugmentConfig": "jft.config",
    "Callback": "jft.train.callbacks",
    "InputError": "jft.errors",
    "ModelConfig": "jft.config",
    "OptimConfig": "jft.config",
    "Predictor": "jft.predict.predictor",
    "Pretrained": "jft.weights.pretrained",
    "Result": "jft.train.result",
    "TaskConfig": "jft.config",
    "TrainConfig": "jft.config",
    "fit": "jft.train.loop",
    "list_models": "jft.weights.published",
    "list_weights": "jft.weights.published",
    "load_pretrained": "jft.weights.pretrained",
}

__all__ = [
    "AugmentConfig",
    "Callback",
    "InputError",
    "ModelConfig",
    "OptimConfig",
    "Predictor",
    "Pretrained",
    "Result",
    "TaskConfig",
    "TrainConfig",
    "fit",
    "list_models",
    "list_weights",
    "load_pretrained",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'jft' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
