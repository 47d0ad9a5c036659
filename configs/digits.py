"""Handwritten digits from the bundled ResNet-20: what `python -m jft.train` does.

Command:

    python -m jft.train --config configs/digits.py

Expected: PLACEHOLDER
"""

from jft.config import TrainConfig

config = TrainConfig()
