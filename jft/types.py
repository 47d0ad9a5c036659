"""The few aliases that signatures share. Axes: B batch, H height, W width, C channels,
K classes.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jax

# Nested mappings with '/'-addressable leaves: {"stage1": {"block0": {"conv1": ...}}}.
Params = Mapping[str, Any]

# image [B, H, W, C] uint8; label [B] or [B, K] int32, [B, K] float32, or [B, H, W]
# uint8; weight [B] float32, 0 on padding; id [B] int32, which separates the draws
# of examples.
Batch = Mapping[str, "jax.Array"]

# Sums over examples, and the weight they are to be divided by.
Metrics = Mapping[str, "jax.Array"]

# The class index, in a mask, of what counts neither in the loss nor in the metrics.
VOID = 255

# One training example in so many is held out where phases try several learning rates.
HELD_OUT = 10
