"""Where jft keeps what a later run can use again."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder of downloads and compiled programs; it need not exist.

    `$JFT_CACHE`, else `$XDG_CACHE_HOME/jft`, else `~/.cache/jft`.
    """
    if own := os.environ.get("JFT_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jft"
