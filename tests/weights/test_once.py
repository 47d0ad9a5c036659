"""From a name to a network: found once, opened once, without JAX until it is built."""

import subprocess
import sys
from pathlib import Path

import pytest

from jft.config import ModelConfig
from jft.models import configured
from jft.weights import files
from jft.weights.find import find_weights
from jft.weights.opened import open_weights
from jft.weights.pretrained import build
from jft.weights.ranges import FileRange


@pytest.fixture
def opens(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return a list that takes the path of every weights file that is opened."""
    paths: list[Path] = []
    original = FileRange.open

    def counting(path: Path) -> FileRange:
        paths.append(path)
        return original(path)

    monkeypatch.setattr(files.FileRange, "open", counting)
    return paths


def test_a_file_is_opened_once_from_its_name_to_the_network(opens: list[Path]):
    found = find_weights("resnet20-cifar10")
    assert opens == []
    assert found.model == ModelConfig(name="resnet20")
    opened = open_weights(found)
    network = opened.network(ModelConfig())
    assert network.name == "resnet20"
    spec = configured(network)
    preprocess = opened.preprocess_for(spec)
    built = build(opened, spec, preprocess, 10, class_names=opened.class_names)
    assert built.report.reinitialised == ()
    assert built.report.sha256 == opened.sha256
    assert opens == [found.location]


@pytest.mark.process
def test_opening_a_file_imports_no_jax():
    code = (
        "import sys\n"
        "from jft.weights.find import find_weights\n"
        "from jft.weights.opened import open_weights\n"
        "opened = open_weights(find_weights('resnet20-cifar10'))\n"
        "print(opened.model.name, 'jax' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout == "resnet20 False\n"
