"""The examples of a run: where images and labels come from, and how they are split."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from jft.data import folder
from jft.data.decode import Files, decode_all, fit
from jft.data.split import held_out
from jft.errors import InputError, nearest
from jft.preprocess import Preprocess

MAX_REJECTED_PERCENT = 1
IN_MEMORY_BYTES = 2 * 2**30


@dataclass(frozen=True, eq=False)
class Source:
    """Random access to the labelled examples of one split.

    Attributes:
        images: uint8 [N, S, S, 3] in 0..255: an array in memory, or `Files`.
        labels: int32 [N], positions in `class_names`.
        class_names: In label order.
    """

    images: npt.NDArray[np.uint8] | Files
    labels: npt.NDArray[np.int32]
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of examples N."""
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.uint8], int]:
        """Return the image uint8 [S, S, 3] and the label of example `index`."""
        return self.images[index], int(self.labels[index])


@dataclass(frozen=True)
class DataReport:
    """What was found and what became of it: `found = used + len(rejected)`.

    Attributes:
        found: Images found, over both splits.
        used: Those that became examples.
        rejected: The path within the data folder and the reason, of each that did not.
        skipped: Other entries met: not named like an image, hidden, or linked folders.
    """

    found: int
    used: int
    rejected: tuple[tuple[str, str], ...] = ()
    skipped: int = 0

    def to_json(self) -> str:
        """Return the report as JSON; ASCII, so that any file name can be written."""
        rejected = [{"path": path, "reason": why} for path, why in self.rejected]
        return json.dumps(asdict(self) | {"rejected": rejected}, indent=2) + "\n"


@dataclass(frozen=True, eq=False)
class Splits:
    """Both splits of a data set, of the same classes, and what identifies them.

    Attributes:
        report: What was found, used and rejected; see `require_readable`.
        fingerprint: Hex SHA-256 over split, path, label and size of each file found, or
            over the bytes of `digits`; where the folder lies does not matter.
        name: `digits`, or the name of the folder.
    """

    train: Source
    test: Source
    class_names: tuple[str, ...]
    report: DataReport
    fingerprint: str
    name: str


def open_splits(
    spec: str, preprocess: Preprocess, *, workers: int | None = None
) -> Splits:
    """Find, split and check the data that `spec` names; every file is decoded once.

    Images are kept if all fit in `IN_MEMORY_BYTES`, else read again at each access; the
    bytes are the same. Call `require_readable(splits)` before training.

    Args:
        spec: `digits` (scikit-learn's), or `folder:PATH`, where PATH holds a folder per
            class, or `train` and `val` (else `test`) with those. If no splits are
            given, 20 % of each class are held out, by a hash of the path.
        preprocess: Gives the size S, and for files the resize and crop.
        workers: Threads that decode; None for one per core.

    Raises:
        InputError: `spec` names no data, or the folder is not laid out as above.
    """
    root = find_folder(spec)
    if root is None:
        return _open_digits(preprocess)
    return _open_folder(root, preprocess, workers)


def find_folder(spec: str) -> Path | None:
    """Return the folder that `spec` names, or None for `digits`.

    Raises:
        InputError: `spec` is of neither form, or there is no such folder.
    """
    scheme, _, place = spec.partition(":")
    if spec == "digits":
        return None
    if scheme == "folder" and place:
        root = Path(os.path.expanduser(place))
        folder.require_folder(root)
        return root
    hint = nearest(scheme, ["digits", "folder"])
    hint = f"; did you mean 'folder:{spec}'?" if os.path.isdir(spec) else hint
    raise InputError(
        f"unknown data {spec!r}; valid are 'digits' and 'folder:PATH'{hint}"
    )


def require_readable(splits: Splits) -> None:
    """Raise `InputError` if over 1 % of the images were rejected, or all of a split."""
    report = splits.report
    bad = len(report.rejected)
    first = "".join(f"\n  {path!r}: {why}" for path, why in report.rejected[:5])
    if 100 * bad > MAX_REJECTED_PERCENT * report.found:
        raise InputError(
            f"{bad} of {report.found} images cannot be read, and at most "
            f"{MAX_REJECTED_PERCENT} % may be left out; repair or remove them "
            f"(data_report.json lists all):{first}"
        )
    if not (len(splits.train) and len(splits.test)):
        raise InputError("no image of a split can be read" + first)


def _open_digits(preprocess: Preprocess) -> Splits:
    """Return scikit-learn's 8 x 8 digits, resized to the square, in a fixed split."""
    try:
        from sklearn.datasets import load_digits  # pyright: ignore[reportMissingTypeStubs]
    except ImportError as error:
        raise InputError("'digits' needs: pip install scikit-learn") from error
    digits = cast(Any, load_digits())  # images [N, 8, 8] in 0..16, target [N]
    grey = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    labels = digits.target.astype(np.int32)
    mask = held_out([str(i) for i in range(len(labels))], labels.tolist())
    square = replace(preprocess, crop_fraction=1.0, interpolation="bilinear")
    images = np.stack([fit(image, square) for image in grey[..., None].repeat(3, -1)])
    names = tuple("0123456789")
    train, test = (Source(images[m], labels[m], names) for m in (~mask, mask))
    report = DataReport(found=len(labels), used=len(labels))
    digest = hashlib.sha256(grey.tobytes() + labels.tobytes() + mask.tobytes())
    return Splits(train, test, names, report, digest.hexdigest(), "digits")


def _open_folder(root: Path, preprocess: Preprocess, workers: int | None) -> Splits:
    """List, split, check and perhaps keep the images of a folder of class folders."""
    listings, names, skipped = folder.list_splits(root)
    found = sum(map(len, listings))
    keep = found * preprocess.size**2 * 3 <= IN_MEMORY_BYTES
    sources: list[Source] = []
    rejected: list[tuple[str, str]] = []
    for listing in listings:
        paths = [root / name for name, _ in listing]
        images, bad = decode_all(paths, preprocess, keep=keep, workers=workers)
        labels = [label for i, (_, label) in enumerate(listing) if i not in bad]
        sources.append(Source(images, np.array(labels, np.int32), names))
        rejected += [(listing[i][0], bad[i]) for i in sorted(bad)]
    report = DataReport(found, sum(map(len, sources)), tuple(rejected), skipped)
    (train, test), fingerprint = sources, folder.fingerprint(root, listings)
    return Splits(train, test, names, report, fingerprint, root.resolve().name)
