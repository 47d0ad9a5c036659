"""The same step under jit on one device or pmap over several, behind one interface."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

import jax
import numpy as np

from jft.config.folders import cache_folder

AXIS = "devices"
LAG = 2  # steps whose results are still on the device while the next is dispatched

# jaxlib sends CPU convolutions to YNNPACK, whose weight gradients are slower than XLA's
# own; benchmarks/cpu_step.py compares whole steps. A flag that a version of XLA does
# not know aborts the process, hence the list.
CPU_FLAG = "--xla_cpu_experimental_ynn_fusion_type=-individual_convolution"
CPU_FLAG_VERSIONS = ("0.10.", "0.12.")


def tune_cpu() -> None:
    """Choose XLA's faster convolutions on CPU; call it before any backend starts.

    Leaves `XLA_FLAGS` alone if it already has an option for YNNPACK.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if "ynn" not in flags and version("jaxlib").startswith(CPU_FLAG_VERSIONS):
        os.environ["XLA_FLAGS"] = f"{flags} {CPU_FLAG}".strip()


# Programs that compile faster than this are not kept: reading them is no faster.
COMPILE_SECONDS = 0.1
COMPILED_BYTES = 2**30  # the programs used least recently are removed


def start_jax() -> None:
    """Prepare JAX for a command; call it before any backend starts.

    Convolutions on CPU are those of `tune_cpu`, and compiled programs are kept in the
    user's cache folder for the next process, in at most 1 GiB.
    `JAX_COMPILATION_CACHE_DIR` names another folder, `JAX_ENABLE_COMPILATION_CACHE=0`
    keeps none.
    """
    tune_cpu()
    if jax.config.values["jax_compilation_cache_dir"] is not None:
        return
    folder = cache_folder() / "compiled"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if not os.access(folder, os.W_OK):
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", COMPILED_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", COMPILE_SECONDS)
    # The plan reads the names of modules from a compiled step, so programs that differ
    # in nothing else are two.
    jax.config.update("jax_compilation_cache_include_metadata_in_key", True)


@dataclass(frozen=True)
class Devices:
    """Where steps run.

    Attributes:
        kind: "jit" for one device, "pmap" for several.
        devices: The devices in use.
    """

    kind: Literal["jit", "pmap"]
    devices: tuple[jax.Device, ...]  # pyright: ignore[reportInvalidTypeForm]

    @property
    def axis_name(self) -> str | None:
        """The mapped axis that steps add up over; None on one device."""
        return AXIS if self.kind == "pmap" else None

    def compile(
        self, step: Callable[[Any, Any], Any], *, donate: bool = False
    ) -> Callable[[Any, Any], Any]:
        """Compile `step(state, batch)`; with `donate` the state's memory is reused."""
        donated = (0,) if donate else ()
        if self.kind == "jit":
            return jax.jit(step, donate_argnums=donated)
        return jax.pmap(step, AXIS, devices=self.devices, donate_argnums=donated)

    def compile_ahead(
        self, step: Callable[[Any, Any], Any], state: Any, batch: Any
    ) -> jax.stages.Compiled:
        """Compile `step(state, batch)` before it runs; it reuses the state's memory.

        Args:
            step: Returns the new state and something else.
            state: Arrays, or their shapes and dtypes, of one device.
            batch: The same of the whole batch.
        """
        n = len(self.devices)

        def shape(leaf: Any, *axes: int) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(axes, leaf.dtype)

        if self.kind == "jit":
            args = jax.tree.map(lambda x: shape(x, *x.shape), (state, batch))
        else:
            args = (
                jax.tree.map(lambda x: shape(x, n, *x.shape), state),
                jax.tree.map(lambda x: shape(x, n, len(x) // n, *x.shape[1:]), batch),
            )
        compiled: Any = self.compile(step, donate=True)
        return compiled.lower(*args).compile()

    def put(self, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        """Send a batch; under pmap each device gets an equal, consecutive part."""
        if self.kind == "jit":
            return jax.device_put(dict(batch), self.devices[0])
        n = len(self.devices)
        parts = {k: v.reshape(n, len(v) // n, *v.shape[1:]) for k, v in batch.items()}
        return jax.device_put(parts, self._sharding())

    def replicate(self, tree: Any) -> Any:
        """Copy a tree to every device; donating the copy does not change the tree."""
        if self.kind == "jit":
            return jax.device_put(tree, self.devices[0], may_alias=False)
        n = len(self.devices)
        copies = jax.tree.map(
            lambda leaf: np.broadcast_to(np.asarray(leaf), (n, *np.shape(leaf))), tree
        )
        return jax.device_put(copies, self._sharding())

    def fetch(self, tree: Any) -> Any:
        """Return the first device's copy of a replicated tree, as NumPy arrays.

        The arrays are copies: on CPU a view would see a donated buffer change.
        """
        if self.kind == "pmap":
            # Indexing [0] would gather from all devices; a shard is already there.
            tree = jax.tree.map(lambda leaf: leaf.addressable_shards[0].data, tree)
            return jax.tree.map(lambda leaf: np.array(leaf)[0], tree)
        return jax.tree.map(np.array, tree)

    def _sharding(self) -> jax.sharding.Sharding:
        mesh = jax.sharding.Mesh(np.array(self.devices), (AXIS,))
        return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(AXIS))

    def __str__(self) -> str:
        """Name the devices: `8 x TFRT_CPU (pmap)`."""
        kind = self.devices[0].device_kind
        return f"{len(self.devices)} x {kind} ({self.kind})"


def get_devices(
    kind: Literal["auto", "jit", "pmap"], count: int | None = None
) -> Devices:
    """Return the devices a run uses.

    Args:
        kind: "jit" takes the first device, "pmap" all of them, "auto" pmap if there
            are several.
        count: Use only this many devices; None takes all.
    """
    found = tuple(jax.local_devices()[:count])
    if kind == "jit" or (kind == "auto" and len(found) == 1):
        return Devices("jit", found[:1])
    return Devices("pmap", found)
