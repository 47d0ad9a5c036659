"""What features depend on, as one digest."""

import hashlib
import os
import platform
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from jft import tree
from jft.data.cache import DECODERS
from jft.data.images import Files, Source
from jft.data.listing import stamp
from jft.data.squares import Mapped
from jft.types import Params

FORMAT = 1  # raised whenever the same key would stand for other features


def key_of(images: str, variables: Params, **settings: Any) -> str:
    """Return a hex SHA-256 of all that features depend on.

    Args:
        images: Digest of the images, from `images_digest`.
        variables: Parameters and statistics of the parts before the cut.
        settings: All else, by name; values have a `repr` that shows them whole.
    """
    about = {
        "format": FORMAT,
        "images": images,
        "variables": tree.digest(variables),
        "machine": machine(),
        **settings,
    }
    return hashlib.sha256(repr(sorted(about.items())).encode()).hexdigest()


def images_digest(source: Source, step: int = 1) -> str:
    """Return a hex SHA-256 of the pixels of every `step`-th image.

    Pixels in memory count as they are, and those of a `--cache` by their checksums.
    Images that are read again at each access count by what shows that their files have
    changed, as in `jft.data.cache`.
    """
    digest, images = hashlib.sha256(), source.images
    if isinstance(images, np.ndarray):
        digest.update(repr((images.shape, images.dtype)).encode())
        digest.update(np.ascontiguousarray(images[::step]).data)
    elif isinstance(images, Mapped):
        digest.update(repr(source.keys[::step]).encode())
        digest.update(images.sums[images.indices][::step].tobytes())
    else:
        digest.update("\0".join(_stamps(images, step)).encode(errors="surrogateescape"))
    return digest.hexdigest()


def _stamps(files: Files, step: int) -> Sequence[str]:
    versions = [f"{name} {_version(name)}" for name in DECODERS]
    indices = files.indices[::step].tolist()
    names = [f"{files.keys[i]} {stamp(files.parts, i)}" for i in indices]
    return [*versions, repr(files.square), *names]


def _version(package: str) -> str:
    try:
        return version(package)
    except ModuleNotFoundError:
        return ""


@cache
def machine() -> Mapping[str, Any]:
    """Return what changes the last bits of the same program."""
    return {
        "jaxlib": version("jaxlib"),
        "flags": os.environ.get("XLA_FLAGS", ""),
        "cores": _cores(),
        "processor": _processor(),
    }


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    named = (line.partition(":")[2].strip() for line in lines if "model name" in line)
    return next(named, platform.processor())
