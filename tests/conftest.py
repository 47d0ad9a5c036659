"""Strict JAX for every test: several devices, no silent promotion, no warnings."""

import os
import tempfile

# Before the first import of jax, which reads them once.
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
# Most tests compile the same few programs again. The processes of one session, those
# that tests start among them, share what they compiled.
if "PYTEST_XDIST_WORKER" not in os.environ:
    _cache = tempfile.TemporaryDirectory(prefix="jft-tests-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _cache.name
    os.environ["JFT_CACHE"] = f"{_cache.name}/jft"  # of features
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

from jft.devices import tune_cpu

tune_cpu()

import jax  # noqa: E402
import pytest  # noqa: E402

from jft import models  # noqa: E402
from jft.models import CIFAR_PREPROCESS, ModelSpec  # noqa: E402
from jft.models.variants import ResNetVariant  # noqa: E402

jax.config.update("jax_numpy_dtype_promotion", "strict")
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
