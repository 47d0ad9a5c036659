"""What names mean: which are of a split, and which are not data at all."""

import re
from collections.abc import Iterable

from jft.data.listing import Split

TRAIN_WORDS = ("train", "training", "trn")
# In this order: where there are several, the first is measured on.
TEST_WORDS = (
    *("val", "valid", "validation", "validate", "dev", "eval", "evaluation"),
    *("test", "testing", "tst", "holdout"),
)
_SYSTEM = {
    *("@eadir", "@tmp", "#recycle", "#snapshot", "@recycle", "@recently-snapshot"),
    *("__macosx", "lost+found", "$recycle.bin", "system volume information"),
    *("recycler", "found.000", "__pycache__", "thumbs.db", "ehthumbs.db"),
    *("desktop.ini", "icon\r", "network trash folder", "temporary items"),
}


def is_system(name: str) -> bool:
    """Return whether an operating system or a tool made a file or folder, or hid it.

    >>> [is_system(name) for name in ("@eaDir", ".ipynb_checkpoints", "cats")]
    [True, True, False]
    """
    return name.startswith(".") or name.lower() in _SYSTEM


def split_word(name: str) -> str | None:
    """Return the last word in a name that means a split, in lower case.

    >>> [split_word(name) for name in ("seg_train", "TestImages", "valset", "latest")]
    ['train', 'test', 'val', None]
    """
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
    words = [word.lower().removesuffix("set") for word in words]
    meant = [word for word in words if word in (*TRAIN_WORDS, *TEST_WORDS)]
    return meant[-1] if meant else None


def split_of(words: Iterable[str]) -> dict[str, Split]:
    """Return which of these split words is `train`, and which one is `test`."""
    found = {*words}
    test = next((word for word in TEST_WORDS if word in found), None)
    splits: dict[str, Split] = {word: "train" for word in found & {*TRAIN_WORDS}}
    return splits if test is None else {**splits, test: "test"}
