"""The few aliases that signatures share. Axes: B batch, H height, W width, C channels,
K classes.
"""

from collections.abc import Mapping
from typing import Any

import jax

# Nested mappings with '/'-addressable leaves: {"stage1": {"block0": {"conv1": ...}}}.
Params = Mapping[str, Any]

# image [B, H, W, C] uint8; label [B] int32; weight [B] float32, 0 on padding;
# id [B] int32, the example's index in its source.
Batch = Mapping[str, jax.Array]

# Sums over examples, and the count they are to be divided by.
Metrics = Mapping[str, jax.Array]
