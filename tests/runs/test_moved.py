"""Data and weights of a run are found after the run has moved with them."""

import shutil
from pathlib import Path

import pytest

from jft import config as configs
from jft.config import TrainConfig
from jft.errors import InputError
from jft.predict.interpolate import _open_again
from jft.runs.directory import RunDirectory
from jft.runs.moved import found_data, found_weights


def make(project: Path, data: str, weights: str) -> RunDirectory:
    """Write what a run that was started in a folder leaves of its paths."""
    run = RunDirectory(project / "runs" / "one")
    run.path.mkdir(parents=True)
    config = TrainConfig(data=data, weights=weights)
    run.write("config.json", configs.to_dict(config))
    sessions = [{"working_folder": str(project)}]
    known = {"folder": str(run.path), "sessions": sessions}
    run.write("manifest.json", known)
    (project / "images").mkdir()
    (project / "net.pth").write_bytes(b"x")
    return run


@pytest.mark.parametrize("absolute", [False, True])
def test_paths_follow_the_run(absolute: bool, tmp_path: Path):
    old, new = tmp_path / "old", tmp_path / "new"
    prefix = f"{old}/" if absolute else ""
    run = make(old, f"folder:{prefix}images?train=a&test=b", f"{prefix}net.pth?key=ema")
    # From another working folder than that of the run.
    assert found_data(run) == f"folder:{old}/images?train=a&test=b"
    assert found_weights(run) == f"{old}/net.pth?key=ema"
    shutil.move(old, new)
    moved = RunDirectory(new / "runs" / "one")
    assert found_data(moved) == f"folder:{new}/images?train=a&test=b"
    assert found_weights(moved) == f"{new}/net.pth?key=ema"
    shutil.rmtree(new / "images")
    assert found_data(moved) == f"folder:{prefix}images?train=a&test=b"


def test_names_are_no_paths(tmp_path: Path):
    run = make(tmp_path / "project", "digits", "torchvision:resnet50")
    assert found_data(run) == "digits"
    assert found_weights(run) == "torchvision:resnet50"


def test_weights_that_are_gone_are_asked_for(tmp_path: Path):
    run = make(tmp_path / "project", "digits", "net.pth")
    (tmp_path / "project" / "net.pth").unlink()
    with pytest.raises(InputError, match="if they have moved, give --weights"):
        _open_again(run, None)
    with pytest.raises(InputError, match=r"no weights 'there\.pth'"):
        _open_again(run, "there.pth")
