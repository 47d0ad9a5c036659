"""The networks of keras.applications, with weights from names."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import reference
from real_networks import Real, Tensors

# Before Keras is first imported. Not on JAX, so that XLA's convolutions are not
# compared with themselves.
os.environ.setdefault("KERAS_BACKEND", "torch")

KERAS = {
    "keras_resnet50": "ResNet50",
    "keras_resnet101": "ResNet101",
    "keras_resnet152": "ResNet152",
    "keras_resnet50v2": "ResNet50V2",
    "keras_resnet101v2": "ResNet101V2",
    "keras_resnet152v2": "ResNet152V2",
    "vgg16": "VGG16",
    "vgg19": "VGG19",
}
"""What keras.applications calls the networks that it has."""


def build(library: str, name: str, classes: int, dtype: str = "float32") -> Real:
    """Return the network that Keras has under one of our names.

    Args:
        library: "keras", or "keras3" with the names of Keras 3's own files.
        name: One of `KERAS`.
        classes: Outputs, K.
        dtype: Of its weights and features.
    """
    real = keras_network(lambda *shape: keras_model(name, classes, shape), dtype)
    return real if library == "keras" else numbered(real)


def import_keras() -> Any:
    """Return Keras."""
    import keras

    return keras


def keras_model(name: str, classes: int, shape: tuple[int, ...]) -> Any:
    """Return a network of keras.applications for images [H, W, 3]."""
    return getattr(import_keras().applications, KERAS[name])(
        weights=None,
        input_shape=(*shape, 3),
        classes=classes,
        classifier_activation=None,
    )


def keras_network(make: Callable[[int, int], Any], dtype: str = "float32") -> Real:
    """Give a Keras network the weights that their paths fix.

    Args:
        make: Builds it for images of a height and a width.
        dtype: Of its weights and features.
    """
    keras = import_keras()

    def filled(tensors: Tensors, height: int = 224, width: int = 224) -> Any:
        keras.config.set_dtype_policy(dtype)
        model = make(height, width)
        fill(model, tensors)
        return model

    def logits(x: np.ndarray) -> np.ndarray:
        result = filled(tensors, *x.shape[1:3])(x, training=False)
        return keras.ops.convert_to_numpy(result)

    model = make(224, 224)
    tensors = reference.tensors({w.path: tuple(w.shape) for w in model.weights})
    parameters = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    return Real(parameters, tensors, logits, lambda new: checkpoint(filled(new)))


def fill(model: Any, tensors: Tensors) -> None:
    """Give a model all its weights, by their paths, and no others."""
    assert {weight.path for weight in model.weights} == set(tensors)
    for weight in model.weights:
        assert weight.shape == tensors[weight.path].shape, weight.path
        weight.assign(tensors[weight.path])


def checkpoint(model: Any) -> Tensors:
    """Return a model's weights by their paths."""
    convert = import_keras().ops.convert_to_numpy
    return {weight.path: convert(weight.value) for weight in model.weights}


def numbered(real: Real) -> Real:
    """Return a Keras network with leaves named as Keras 3 does, by their order."""
    order: dict[str, int] = {}
    names: dict[str, str] = {}
    for name in real.tensors:
        layer = name.rpartition("/")[0]
        order[layer] = order.get(layer, -1) + 1
        names[name] = f"{layer}/{order[layer]}"

    def load(tensors: Tensors) -> Tensors:
        assert set(tensors) == set(names.values())
        loaded = real.load({name: tensors[names[name]] for name in names})
        return {names[name]: value for name, value in loaded.items()}

    tensors = {names[name]: value for name, value in real.tensors.items()}
    return Real(real.parameters, tensors, real.logits, load)
