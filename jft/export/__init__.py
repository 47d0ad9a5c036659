"""A run's network as a file for another library, with what travels along."""

from jft.export.exported import Exported as Exported
from jft.export.timm_config import timm_config as timm_config
from jft.export.write import convert_weights as convert_weights
from jft.export.write import export_run as export_run
