"""The networks by name. Reading this table imports no JAX; building a network does."""

from jft.models.spec import ModelSpec
from jft.models.table import CIFAR_PREPROCESS, MODELS, config_of, configured, get_model
from jft.models.training import TrainMode

__all__ = [
    "CIFAR_PREPROCESS",
    "MODELS",
    "ModelSpec",
    "TrainMode",
    "config_of",
    "configured",
    "get_model",
]
