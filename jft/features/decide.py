"""Whether features are kept for a phase, and where: bytes against FLOPs."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jft.features import store
from jft.features.cut import Cut
from jft.features.extract import features_of
from jft.models.network import Network
from jft.preprocess import Preprocess
from jft.types import Params

# Features that a part computes with fewer FLOPs per byte are faster computed again than
# read: a core has about 20 GFLOP/s, copies 2 GB/s, and a disk gives 0.2 GB/s; what
# computes faster than a CPU is fed over a bus.
FLOPS_PER_BYTE = {"memory": 10, "disk": 100}
ACCELERATOR_FLOPS_PER_BYTE = 2_000
Where = Literal["memory", "disk", "off"]


@dataclass(frozen=True)
class Choice:
    """Where the features of a phase are kept, and why.

    Attributes:
        where: In memory, in files of the cache folder, or nowhere.
        reason: Why nowhere.
        cut: Where the network is cut; None if nowhere.
        shape: Of the features of one image.
        bytes: Of all features together, of the test images too.
        image_flops: FLOPs that one image takes up to the cut, counted by XLA before
            it optimises.
    """

    where: Where
    reason: str = ""
    cut: Cut | None = None
    shape: tuple[int, ...] = ()
    bytes: int = 0
    image_flops: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        after = self.cut.after if self.cut else ""
        return {**asdict(self), "cut": after, "shape": list(self.shape)}


@dataclass(frozen=True)
class Wish:
    """What a phase's features are wanted for.

    Attributes:
        setting: auto, memory, disk or off.
        forced: Whether the numbers depend on it, as with `--views`.
        rows: Images whose features are kept, each version counted.
        uses: Passes over the training images.
    """

    setting: Literal["auto", "memory", "disk", "off"]
    forced: bool
    rows: int
    uses: int


def choose(
    wish: Wish,
    reason: str | None,
    cut: Cut | None,
    measure: Callable[[Cut], tuple[tuple[int, ...], int]],
    platform: str,
) -> Choice:
    """Decide where a phase's features are kept.

    Args:
        wish: What they are wanted for.
        reason: Why they cannot be kept, from `why_not`.
        cut: Where the network can be cut; None if it cannot.
        measure: Returns the shape of an image's features, and the FLOPs before them.
        platform: Of the devices, as `cpu`.
    """
    if wish.setting == "off":
        return Choice("off", "--features off")
    if reason:
        return Choice("off", reason)
    if cut is None:
        return Choice("off", "the first part of the network is trained or updated")
    shape, flops = measure(cut)
    size = 4 * int(np.prod(shape)) * wish.rows
    density = flops / (4 * int(np.prod(shape)))
    where, why = _where(wish, size, density, platform)
    if where == "off":
        return Choice("off", why)
    return Choice(where, "", cut, shape, size, flops)


def _where(wish: Wish, size: int, density: float, platform: str) -> tuple[Where, str]:
    if wish.setting in ("memory", "disk"):
        return wish.setting, ""
    fits: dict[Where, bool] = {
        "disk": size <= store.space(),
        "memory": size <= memory() // 2,
    }
    if wish.forced:
        return ("disk" if fits["disk"] else "memory"), ""
    if wish.uses < 2:
        return "off", "each image is used once"
    for where, there in fits.items():
        least = FLOPS_PER_BYTE[where]
        if platform != "cpu":
            least = ACCELERATOR_FLOPS_PER_BYTE
        if there and density >= least:
            return where, ""
    if not any(fits.values()):
        return "off", f"{size / 1e9:.1f} GB of features fit neither disk nor memory"
    return "off", f"{size / 1e9:.1f} GB of features take as long to read as to compute"


def memory() -> int:
    """Return the free bytes of the machine's memory; 0 where that is unknown."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 0
    free = next((x for x in lines if x.startswith("MemAvailable:")), "0 0")
    return int(free.split()[1]) * 1024


def measured(
    model: Network, variables: Params, preprocess: Preprocess, cut: Cut
) -> tuple[tuple[int, ...], int]:
    """Return the shape of the features of an image, and the FLOPs of computing them.

    Args:
        model: The network.
        variables: Its parameters and statistics, or their shapes.
        preprocess: Gives the size and channels of the images.
        cut: Where the network is cut.
    """
    size = preprocess.size
    image = jax.ShapeDtypeStruct((1, size, size, len(preprocess.mean)), jnp.uint8)

    def compute(variables: Params, image: jax.Array) -> jax.Array:
        return features_of(model, variables, image, preprocess, cut)

    lowered = jax.jit(compute).lower(variables, image)
    flops = (lowered.cost_analysis() or {}).get("flops", 0.0)
    shape: Any = lowered.out_info
    return tuple(shape.shape[1:]), int(flops)
