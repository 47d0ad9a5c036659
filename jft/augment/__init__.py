"""Images on the device: normalisation, and random changes keyed by example."""

from jft.augment.image import augment, normalise
from jft.augment.mixing import mix

__all__ = ["augment", "mix", "normalise"]
