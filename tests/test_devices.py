"""Where steps run: which devices are taken, and batches that do not fit them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from jft.devices import CPU_FLAG, get_devices, start_jax, tune_cpu


def test_auto_takes_all_devices_if_there_are_several():
    assert get_devices("auto").kind == "pmap"
    assert len(get_devices("auto").devices) == 8
    assert get_devices("auto", 1).kind == "jit"
    assert get_devices("jit").axis_name is None
    assert str(get_devices("pmap", 2)).startswith("2 x cpu")


def test_pmap_gives_each_device_a_consecutive_part():
    devices = get_devices("pmap", 4)
    placed = devices.put({"id": np.arange(8)})["id"]
    parts = {s.device: s.data.ravel().tolist() for s in placed.addressable_shards}
    assert [parts[d] for d in devices.devices] == [[0, 1], [2, 3], [4, 5], [6, 7]]


@pytest.mark.parametrize("kind", ["jit", "pmap"])
def test_what_is_fetched_is_a_copy_of_what_was_replicated(kind):
    devices = get_devices(kind)
    tree = {"a": np.arange(6.0, dtype=np.float32).reshape(2, 3), "b": np.int32(7)}
    placed = devices.replicate(tree)
    fetched = devices.fetch(placed)
    np.testing.assert_array_equal(fetched["a"], tree["a"])
    assert fetched["b"] == 7
    assert fetched["a"].flags.writeable
    step = devices.compile(lambda state, batch: (state, batch), donate=True)
    step(placed, devices.put({"x": np.zeros(8, np.float32)}))
    assert placed["a"].is_deleted()
    np.testing.assert_array_equal(tree["a"], fetched["a"])


def test_a_donated_replica_leaves_the_original():
    devices = get_devices("jit", 1)
    original = {"a": jax.numpy.ones(1000)}
    step = devices.compile(lambda state, _: state, donate=True)
    step(devices.replicate(original), 0)
    assert original["a"].sum() == 1000


def test_the_cpu_flag_respects_what_the_user_says(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=x")
    tune_cpu()
    assert os.environ["XLA_FLAGS"] == f"--xla_dump_to=x {CPU_FLAG}"
    tune_cpu()
    assert os.environ["XLA_FLAGS"].count("ynn") == 1
    monkeypatch.setattr("jft.devices.version", lambda name: "9.9.9")
    monkeypatch.setenv("XLA_FLAGS", "")
    tune_cpu()
    assert os.environ["XLA_FLAGS"] == ""


CACHE_SETTINGS = (
    "jax_compilation_cache_dir",
    "jax_compilation_cache_max_size",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_compilation_cache_include_metadata_in_key",
)


@pytest.fixture
def cache_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Begin without a compilation cache; restore its settings at the end."""
    before = {name: getattr(jax.config, name) for name in CACHE_SETTINGS}
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.setenv("JFT_CACHE", str(tmp_path / "cache"))
    yield tmp_path / "cache" / "compiled"
    for name, value in before.items():
        jax.config.update(name, value)


def test_compiled_programs_are_kept_in_the_cache_folder(cache_settings: Path):
    start_jax()
    assert jax.config.jax_compilation_cache_dir == str(cache_settings)
    assert jax.config.jax_compilation_cache_max_size == 2**30


def test_a_compilation_cache_of_the_users_is_left_alone(cache_settings: Path):
    jax.config.update("jax_compilation_cache_dir", "/somewhere")
    start_jax()
    assert jax.config.jax_compilation_cache_dir == "/somewhere"
    assert not cache_settings.exists()


def test_no_program_is_kept_where_nothing_can_be_written(cache_settings: Path):
    cache_settings.parent.write_text("a file, not a folder")
    start_jax()
    assert jax.config.jax_compilation_cache_dir is None


PROGRAM = """
import json, jax, jax.monitoring, sys
from jft import devices
events = []
jax.monitoring.register_event_listener(lambda name, **_: events.append(name))
devices.COMPILE_SECONDS = 0.0
devices.start_jax()
result = jax.jit(lambda x: (x @ x.T).sum())(jax.numpy.ones((3, 2)))
hits = events.count("/jax/compilation_cache/cache_hits")
print(json.dumps({"result": float(result), "hits": hits}))
"""


@pytest.mark.process
def test_a_second_process_compiles_nothing_again(tmp_path: Path):
    unset = ("JAX_COMPILATION_CACHE_DIR", "XLA_FLAGS")
    env = {k: v for k, v in os.environ.items() if k not in unset}
    env |= {"JFT_CACHE": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[1])}

    def run() -> dict[str, float]:
        command = [sys.executable, "-c", PROGRAM]
        done = subprocess.run(command, env=env, capture_output=True, check=True)
        return json.loads(done.stdout)

    first, second = run(), run()
    assert first["hits"] == 0
    assert second["hits"] >= 1
    assert second["result"] == first["result"] == 18
