"""What a run depends on besides its configuration, weights and data."""

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

LONGEST_DIFF = 100_000  # characters
PACKAGES = (
    *("jft", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain"),
    *("numpy", "pillow", "safetensors", "scikit-learn"),
)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide the numbers."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def environment() -> dict[str, Any]:
    """Return what a run depends on besides its configuration and data."""
    return {
        "command": sys.argv,
        "versions": versions(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else None,
        "working_folder": os.getcwd(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "git": git_state(Path(__file__).parent),
    }


def git_state(folder: Path) -> dict[str, Any] | None:
    """Return commit, cleanliness and changes of a checkout; None without git."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(folder), *words]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        diff = git("diff", "HEAD")
        state = {"commit": git("rev-parse", "HEAD"), "dirty": bool(diff)}
        return state | ({"diff": diff[:LONGEST_DIFF]} if diff else {})
    except (OSError, subprocess.SubprocessError):
        return None
