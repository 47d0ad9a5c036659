"""What benchmarks/parity.py has measured: every network, and as the tables are now."""

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from networks import shapes_of

from jft.models import MODELS
from jft.weights.names import layouts

TOLERANCE = 1e-4  # of the largest logit


@functools.cache
def measured() -> dict[str, dict[str, Any]]:
    """Return what was found with the real libraries, by network."""
    results = Path(__file__).parents[2] / "benchmarks" / "results" / "parity.json"
    return json.loads(results.read_text())["networks"]


@pytest.mark.parametrize("name", list(MODELS))
def test_checkpoints_have_the_tensors_that_the_other_libraries_have(name: str):
    """Of every network, the names and shapes alone."""
    spec = MODELS[name]
    shapes = shapes_of(spec.build(spec.num_classes))
    for library, row in measured()[name]["libraries"].items():
        layout = next(found for found in layouts(spec) if library in found.names)
        theirs: dict[str, tuple[int, ...]] = {}
        for ours, leaf in shapes.items():
            there = layout.name(ours, spec)
            empty = np.broadcast_to(np.float32(0), leaf.shape)
            theirs[there] = layout.to_theirs(empty, ours).shape
            if layout.torch and ours.endswith("/var"):
                theirs[there.replace("running_var", "num_batches_tracked")] = ()
        assert reference.digest(theirs) == row["tensors"], library


def test_every_network_was_measured_against_a_real_library():
    networks = measured()
    assert list(networks) == list(MODELS)
    for name, network in networks.items():
        assert network["parameters"] == MODELS[name].parameters
        assert network["libraries"], name
        for library, row in network["libraries"].items():
            assert len(row["differences"]) == 3, (name, library)
            assert row["worst"] <= TOLERANCE, (name, library)
            assert row["round_trip"] == "identical", (name, library)
