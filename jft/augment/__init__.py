"""Images on the device: random changes keyed by example."""

from jft.augment.crop import centre
from jft.augment.image import augment
from jft.augment.mixing import mix
from jft.augment.resized import shrink
from jft.augment.views import VIEWS, averaged, check_views

__all__ = [
    "VIEWS",
    "augment",
    "averaged",
    "centre",
    "check_views",
    "mix",
    "shrink",
]
