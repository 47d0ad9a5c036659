"""The images and folders in a folder, without what systems and tools leave there."""

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from jft.data.describe import shown
from jft.data.names import is_system
from jft.errors import InputError, nearest

SYSTEM = "hidden or of the system"
LINKED = "linked folder"
# No .gif: in image folders these are animations, whose first frame is rarely meant.
EXTENSIONS = (
    *(".bmp", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".npy", ".pbm", ".pgm"),
    *(".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
)
MASK_EXTENSIONS = (*EXTENSIONS, ".gif")


def list_images(
    folder: Path, extensions: tuple[str, ...] = EXTENSIONS
) -> tuple[list[str], int]:
    """Return the sorted relative paths of images under a folder; count other entries.

    As `find_images`.
    """
    skipped = Counter[str]()
    return find_images(folder, skipped, extensions), skipped.total()


def find_images(
    folder: Path, skipped: Counter[str], extensions: tuple[str, ...] = EXTENSIONS
) -> list[str]:
    """Return the sorted relative paths of images under a folder.

    Names decide. Hidden entries, those of operating systems, and links to folders, as
    they may loop, are skipped.

    Args:
        folder: Where to look.
        skipped: Counts what is skipped, by the ending or the kind.
        extensions: How the names of images end, in lower case.
    """
    images: list[str] = []
    for parent, folders, files in os.walk(folder, onerror=refuse):
        inside = os.path.relpath(parent, folder)
        for name in files:
            if not is_system(name) and name.lower().endswith(extensions):
                images.append(os.path.normpath(os.path.join(inside, name)))
            else:
                skipped[kind(name)] += 1
        folders[:] = _visible(parent, folders, skipped)
    return sorted(images)


def _visible(
    parent: str | Path, folders: list[str], skipped: Counter[str]
) -> list[str]:
    """Return the folders that are looked into."""
    linked = [name for name in folders if os.path.islink(os.path.join(parent, name))]
    visible = [name for name in folders if not is_system(name) and name not in linked]
    skipped[SYSTEM] += len(folders) - len({*visible, *linked})
    skipped[LINKED] += len(linked)
    return visible


def kind(name: str) -> str:
    """Return the ending of a file's name, or that it is a system's."""
    if is_system(name):
        return SYSTEM
    return os.path.splitext(name)[1].lower()[:20] or "no ending"


def list_folders(folder: Path, skipped: Counter[str]) -> list[str]:
    """Return the sorted names of visible folders."""
    _, folders, files = next(os.walk(folder, onerror=refuse))
    skipped.update(map(kind, files))
    visible = sorted(name for name in folders if not is_system(name))
    skipped[SYSTEM] += len(folders) - len(visible)
    return visible


def holds_folders(folder: Path) -> bool:
    """Return whether a folder holds folders and no images."""
    _, folders, files = next(os.walk(folder, onerror=refuse))
    images = [f for f in files if not is_system(f) and f.lower().endswith(EXTENSIONS)]
    return not images and any(not is_system(name) for name in folders)


def listed(skipped: Mapping[str, int]) -> str:
    """Return the commonest kinds of skipped entries: `8 .heic, 2 .txt`."""
    kinds = [(kind, n) for kind, n in Counter(skipped).most_common() if n]
    more = f" and {sum(n for _, n in kinds[5:])} more" if kinds[5:] else ""
    return ", ".join(f"{n} {kind}" for kind, n in kinds[:5]) + more


def require_folder(folder: Path) -> None:
    """Raise `InputError` unless there is a folder that can be listed."""
    try:
        os.scandir(folder).close()
    except OSError as error:
        refuse(error)


def refuse(error: OSError) -> NoReturn:
    """Raise `InputError` for a folder that `os.walk` cannot list (and would skip)."""
    folder, why = Path(error.filename), os.strerror(error.errno or 0).lower()
    near = ""
    if not folder.exists() and folder.parent.is_dir():
        near = nearest(folder.name, os.listdir(folder.parent))
    raise InputError(f"cannot list folder {shown(folder)}: {why}{near}") from error
