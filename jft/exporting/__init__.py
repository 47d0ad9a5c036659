"""A run's network as a file for another library, with what travels along."""

from jft.exporting.exported import Exported as Exported
from jft.exporting.timm_config import timm_config as timm_config
from jft.exporting.write import convert_weights as convert_weights
from jft.exporting.write import export_run as export_run
