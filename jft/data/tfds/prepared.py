"""Where TensorFlow Datasets keeps a prepared data set, found without importing it."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jft.data.describe import few
from jft.errors import InputError, nearest

RANDOM_ACCESS = ("array_record", "parquet")
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_INFO, _FEATURES = "dataset_info.json", "features.json"


@dataclass(frozen=True)
class Prepared:
    """A data set that TFDS has prepared.

    Attributes:
        folder: Holds its files.
        name: Name, configuration and version, such as `cifar10/3.0.2`.
        file_format: `array_record` or `parquet`.
        splits: Names of its splits.
    """

    folder: Path
    name: str
    file_format: str
    splits: tuple[str, ...]


def find_prepared(path: str, options: Mapping[str, str]) -> Prepared:
    """Find a data set by its name.

    Args:
        path: `NAME`, `NAME:CONFIG` or `NAME/CONFIG`, and a version may follow.
        options: `dir` is where TFDS keeps its data; else `TFDS_DATA_DIR` or
            `~/tensorflow_datasets`.
    """
    usual = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    root = Path(options.get("dir", usual)).expanduser()
    parts = [part for part in re.split(r"[:/]", path) if part]
    version = parts.pop() if len(parts) > 1 and _VERSION.fullmatch(parts[-1]) else None
    if not 1 <= len(parts) <= 2 or any(part.startswith(".") for part in parts):
        raise InputError(f"tfds:{path}: valid is NAME, NAME:CONFIG, NAME:CONFIG:1.2.3")
    folder = root.joinpath(*parts)
    versions = _versions(folder)
    if not versions and len(parts) == 1:
        configs = sorted(c.name for c in _folders(folder) if _versions(c))
        if len(configs) > 1:
            listed = few([f"tfds:{parts[0]}:{config}" for config in configs], 20)
            raise InputError(f"tfds:{path} has several configurations:{listed}")
        folder = folder.joinpath(*configs)
        versions = _versions(folder)
    if not versions or (version and version not in versions):
        raise InputError(_missing(root, parts, version, versions))
    return _read(root, folder / (version or versions[-1]))


def _folders(folder: Path) -> list[Path]:
    try:
        return [entry for entry in folder.iterdir() if entry.is_dir()]
    except OSError:
        return []


def _versions(folder: Path) -> list[str]:
    """Return the versions prepared in a folder, the newest last."""
    names = [
        entry.name
        for entry in _folders(folder)
        if _VERSION.fullmatch(entry.name) and (entry / _INFO).is_file()
    ]
    return sorted(names, key=lambda name: [int(part) for part in name.split(".")])


def _missing(
    root: Path, parts: list[str], version: str | None, versions: list[str]
) -> str:
    name = "/".join(parts)
    if versions:
        return f"tfds:{name} has no version {version} in {str(root)!r}, but {versions}"
    near = nearest(parts[0], [folder.name for folder in _folders(root)])
    full = f"{name}:{version}" if version else name
    return (
        f"tfds:{name} is not prepared in {str(root)!r}{near}. This prepares it there "
        "(it downloads, and most data sets need TensorFlow for it, which reading does "
        "not):\n  pip install tensorflow-cpu\n"
        f"  python -c \"import tensorflow_datasets as tfds; tfds.builder('{full}', "
        f"data_dir='{root}', file_format='array_record').download_and_prepare()\"\n"
        "dir=FOLDER sets another folder"
    )


def _read(root: Path, folder: Path) -> Prepared:
    """Read TFDS's description of the files."""
    name = folder.relative_to(root).as_posix()
    try:
        info: Any = json.loads((folder / _INFO).read_bytes())
        formats = [info.get("fileFormat") or "tfrecord"]
        formats += info.get("alternativeFileFormats", [])
        splits = tuple(str(split["name"]) for split in info["splits"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"{str(folder / _INFO)!r} cannot be read: {error}") from error
    if not (folder / _FEATURES).is_file():
        raise InputError(f"{str(folder)!r} has no {_FEATURES}; prepare it with TFDS 4")
    good = [one for one in RANDOM_ACCESS if one in formats]
    if not good:
        raise InputError(
            f"tfds:{name} is stored as {formats[0]}, which can be read only from front "
            "to back. This converts it in place; some packages that the command "
            "needs are old, so give it an environment of its own:\n"
            "  pip install tensorflow-datasets tensorflow-cpu apache-beam mlcroissant\n"
            f"  tfds convert_format --dataset_version_dir='{folder}' "
            "--out_file_format=array_record"
        )
    return Prepared(folder, name, good[0], splits)
