"""The rules of a run: nested frozen dataclasses that print, save and compare."""

from jft.config.check import batch_parts as batch_parts
from jft.config.check import check as check
from jft.config.check import check_batch as check_batch
from jft.config.check import coerced as coerced
from jft.config.compare import LOGISTICS as LOGISTICS
from jft.config.compare import difference as difference
from jft.config.compare import fingerprint as fingerprint
from jft.config.compare import flat as flat
from jft.config.compare import from_dict as from_dict
from jft.config.compare import rules as rules
from jft.config.compare import to_dict as to_dict
from jft.config.schema import BUNDLED_WEIGHTS as BUNDLED_WEIGHTS
from jft.config.schema import LOSSES as LOSSES
from jft.config.schema import AugmentConfig as AugmentConfig
from jft.config.schema import ClassLoss as ClassLoss
from jft.config.schema import MaskLoss as MaskLoss
from jft.config.schema import ModelConfig as ModelConfig
from jft.config.schema import NumberLoss as NumberLoss
from jft.config.schema import OptimConfig as OptimConfig
from jft.config.schema import TaskConfig as TaskConfig
from jft.config.schema import TrainConfig as TrainConfig
