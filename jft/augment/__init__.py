"""Random changes of images on the device, each keyed by its example.

An image is uint8 [H, W, 3], its mask uint8 [H, W], and `key` the random key of one
image, unless a docstring gives another shape.
"""

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
