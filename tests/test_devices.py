"""Where steps run: which devices are taken, and batches that do not fit them."""

import jax
import numpy as np
import pytest

from jft.devices import CPU_FLAG, get_devices, tune_cpu


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
    import os

    assert os.environ["XLA_FLAGS"] == f"--xla_dump_to=x {CPU_FLAG}"
    tune_cpu()
    assert os.environ["XLA_FLAGS"].count("ynn") == 1
    monkeypatch.setattr("jft.devices.version", lambda name: "9.9.9")
    monkeypatch.setenv("XLA_FLAGS", "")
    tune_cpu()
    assert os.environ["XLA_FLAGS"] == ""
