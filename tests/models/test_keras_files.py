"""Keras loads the files that are written for it, and computes what we do."""

from pathlib import Path

import keras_networks
import numpy as np
import pytest
from networks import variables_of

from jft import tree
from jft.models import MODELS
from jft.weights.export import find_layout, layout_in, to_layout, write_weights

NAMES = [name for name in MODELS if name.startswith("keras_")] + ["vgg16", "vgg19"]


@pytest.mark.oracle
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_keras_loads_what_is_written(name: str, tmp_path: Path):
    pytest.importorskip("torch")
    keras = pytest.importorskip("keras")
    spec, side, classes = MODELS[name], 224 if name.startswith("vgg") else 64, 7
    model = spec.build(classes)
    variables = variables_of(model)
    images = np.random.default_rng(1).normal(size=(2, side, side, 3))
    images = images.astype(np.float32)
    ours = np.asarray(model.apply(variables, images))
    for ending in (".weights.h5", ".h5"):
        path = tmp_path / f"net{ending}"
        layout = layout_in(path, find_layout("keras", spec), spec)
        write_weights(path, to_layout(tree.flatten(variables), layout, spec), {})
        real = keras_networks.keras_model(name, classes, (side, side))
        real.load_weights(path)
        theirs = keras.ops.convert_to_numpy(real(images, training=False))
        assert np.abs(ours - theirs).max() <= 1e-4 * np.abs(theirs).max(), ending
