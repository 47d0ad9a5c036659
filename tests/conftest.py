"""Strict JAX for every test: several devices, no silent promotion, no warnings."""

import os

# Before the first import of jax, which reads them once.
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

from jft.devices import tune_cpu

tune_cpu()

import tempfile  # noqa: E402

import jax  # noqa: E402
import pytest  # noqa: E402

from jft import models  # noqa: E402
from jft.models import CIFAR_PREPROCESS, ModelSpec  # noqa: E402
from jft.models.variants import ResNetVariant  # noqa: E402

jax.config.update("jax_numpy_dtype_promotion", "strict")
# Most tests compile the same few programs again: a cache that lasts one session.
_cache = tempfile.TemporaryDirectory(prefix="jft-tests-")
jax.config.update("jax_compilation_cache_dir", _cache.name)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)

TINY = ModelSpec(
    name="tiny",
    stage_sizes=(1, 1),
    variant=ResNetVariant(block="basic", stem="cifar", shortcut="pad"),
    width=4,
    parameters=1406,
    num_classes=10,
    preprocess=CIFAR_PREPROCESS,
)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> ModelSpec:
    """Make a network of two small stages known by the name "tiny"."""
    monkeypatch.setitem(models.MODELS, "tiny", TINY)
    return TINY
