"""A checkpoint without notes: its tensors determine the network."""

from pathlib import Path

import numpy as np
import pytest
from networks import shapes_of
from test_load import reference_file

from jft.errors import InputError
from jft.models import MODELS, ModelSpec, config_of
from jft.weights.layout import Layout
from jft.weights.names import layouts
from jft.weights.pretrained import load_pretrained
from jft.weights.recognise import recognise

PAIRS = [
    pytest.param(spec, layout, id=f"{spec.name}-{layout.names[0]}")
    for spec in MODELS.values()
    for layout in layouts(spec)
    if spec.decoder == "none" or layout.names[0] == "torchvision"
]


def tensors_of(spec: ModelSpec, layout: Layout) -> dict[str, np.ndarray]:
    """Return arrays that take no memory, of the shapes of a whole network."""
    shapes = shapes_of(spec.build(spec.num_classes), spec.preprocess.size)
    zero = np.zeros((), np.float32)
    return {
        layout.name(name, spec): layout_shape(
            layout, np.broadcast_to(zero, s.shape), name
        )
        for name, s in shapes.items()
    }


def layout_shape(layout: Layout, array: np.ndarray, name: str) -> np.ndarray:
    return layout.to_theirs(array, name) if "pre_logits" not in name else array


@pytest.mark.thorough
@pytest.mark.parametrize(("spec", "layout"), PAIRS)
def test_every_network_is_told_from_all_others(spec: ModelSpec, layout: Layout):
    assert recognise(tensors_of(spec, layout)) == config_of(spec)


@pytest.mark.parametrize(
    "name", ["resnet18", "resnext50_32x4d", "vgg11_bn", "resnet20"]
)
@pytest.mark.parametrize("prefix", ["", "model."])
def test_a_network_is_told_in_torchs_layout(name: str, prefix: str):
    spec = MODELS[name]
    tensors = tensors_of(spec, layouts(spec)[1])
    renamed = {prefix + name: array for name, array in tensors.items()}
    assert recognise(renamed) == config_of(spec)


def test_a_network_of_another_width_is_told():
    spec = MODELS["resnet50"].adapted(width=16)
    tensors = tensors_of(spec, layouts(spec)[1])
    assert recognise(tensors) == config_of(spec)
    tensors["layer1.0.conv2.weight"] = np.zeros((17, 17, 3, 3), np.float32)
    assert recognise(tensors) is None


def test_what_is_no_network_is_refused(tmp_path: Path):
    path = tmp_path / "a.npz"
    np.savez(path, a=np.zeros(3))
    with pytest.raises(InputError, match="its tensors fit no network of jft"):
        load_pretrained(weights=path)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("file", "name", "width"),
    [
        ("resnet32-d509ac18.th", "resnet32", 16),
        ("torchvision_layout/resnet18_w16.pth", "resnet18", 16),
        ("torchvision_layout/resnet50_w16.pth", "resnet50", 16),
    ],
)
def test_files_of_torch_tell_their_network(file: str, name: str, width: int):
    built = load_pretrained(weights=reference_file(file))
    assert (built.spec.name, built.spec.width) == (name, width)
    assert built.report.reinitialised == ()
