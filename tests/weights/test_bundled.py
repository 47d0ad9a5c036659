"""The network that comes with jft, and the nets that others trained: real numbers."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

import jft
from jft import tree
from jft.config import BUNDLED_WEIGHTS, from_dict, rules
from jft.console.cli import load_recipe
from jft.data.sources import Source, open_splits
from jft.devices import get_devices
from jft.evaluate.source import evaluate_source
from jft.models import CIFAR_PREPROCESS
from jft.step import make_eval_step
from jft.tasks import Classification
from jft.weights.files import read_tensors
from jft.weights.find import find_weights
from jft.weights.pretrained import Pretrained, load_pretrained

SHARED = Path(__file__).parents[3] / "shared" / "data"


CIFAR_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)


def bundled_file() -> Path:
    location = find_weights(BUNDLED_WEIGHTS).location
    assert isinstance(location, Path)
    return location


@pytest.fixture(scope="module")
def cifar10(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """Return the 10,000 test images, as JPEG files unpack to them."""
    archive = SHARED / "cifar10" / "test.tar"
    if not archive.is_file():
        pytest.skip("needs ../shared/data")
    folder = tmp_path_factory.mktemp("cifar10")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    # A data folder has two splits; both are these images, and one is used.
    (folder / "train").symlink_to(folder / "test")
    return open_splits(f"folder:{folder}", CIFAR_PREPROCESS).test


def accuracy(pretrained: Pretrained, source: Source) -> float:
    """Return top-1 over a source, on all the test's devices."""
    devices = get_devices("pmap")
    model = pretrained.model.clone(axis_name=devices.axis_name)
    task = Classification(class_names=CIFAR_CLASSES)
    step = make_eval_step(model, task, pretrained.preprocess)
    found = evaluate_source(
        devices.compile(step),
        devices.replicate(pretrained.variables),
        source,
        devices,
        batch_size=400,
    )
    metrics = task.summarise(*found)
    assert metrics["n"] == 10_000
    return metrics["accuracy"]


def test_the_bundled_file_says_what_it_is():
    path = bundled_file()
    assert path.stat().st_size <= 1.2e6
    metadata = read_tensors(path).metadata
    assert metadata["model"] == "resnet20"
    assert metadata["jft"] == jft.__version__
    assert tuple(json.loads(metadata["class_names"])) == CIFAR_CLASSES
    assert float(metadata["accuracy"]) >= 0.86
    assert metadata["test_images"] == "10000"
    recipe = from_dict(json.loads(metadata["recipe"]))
    configs = Path(__file__).parents[2] / "configs"

    written = load_recipe(str(configs / "pretrain_cifar10.py"))
    assert {**rules(recipe), "devices": "auto"} == rules(written)


def test_the_bundled_network_loads_whole():
    pretrained = load_pretrained("resnet20")
    assert pretrained.report.reinitialised == ()
    assert pretrained.class_names == CIFAR_CLASSES
    assert pretrained.preprocess == CIFAR_PREPROCESS
    metadata = read_tensors(bundled_file()).metadata
    assert tree.digest(pretrained.variables) == metadata["params_digest"]
    with pytest.raises((TypeError, ValueError), match=r"immutable|assignment"):
        pretrained.variables["params"]["head"]["bias"] = np.zeros(10)


@pytest.mark.thorough
@pytest.mark.real_data
def test_the_bundled_network_has_the_accuracy_that_it_states(cifar10: Source):
    stated = read_tensors(bundled_file()).metadata["accuracy"]
    # Other devices add up in another order, which may turn an example that is tied.
    assert accuracy(load_pretrained("resnet20"), cifar10) == pytest.approx(
        float(stated), abs=3e-4
    )


@pytest.mark.thorough
@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "file", "expected"),
    [
        ("resnet20", "resnet20-12fca82f.th", 0.8103),
        ("resnet32", "resnet32-d509ac18.th", 0.8256),
    ],
)
def test_nets_that_others_trained_have_their_accuracy(
    cifar10: Source, name: str, file: str, expected: float
):
    pretrained = load_pretrained(name, str(SHARED / "weights" / file))
    assert accuracy(pretrained, cifar10) == pytest.approx(expected, abs=2e-4)


@pytest.mark.slow
def test_the_default_run_reads_digits():
    from jft.train.loop import fit

    config = jft.TrainConfig(devices="jit")
    assert fit(config).metrics["accuracy"] >= 0.98
