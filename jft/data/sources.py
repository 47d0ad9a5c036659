"""The examples of a run: which there are, which can be read, and how they are split."""

import dataclasses
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from jft.data.cache import Cache, temporary
from jft.data.geometry import Square
from jft.data.images import Source, read_all
from jft.data.listing import Dataset, Split, TaskName
from jft.data.spec import DataSpec, parse_spec
from jft.data.split import hold_out
from jft.errors import InputError, content
from jft.preprocess import LARGEST, Preprocess

MAX_REJECTED_PERCENT = 1
IN_MEMORY_BYTES = 2 * 2**30


@dataclass(frozen=True)
class DataReport:
    """What was found and what became of it: `found = used + len(rejected)`.

    Attributes:
        found: Images found, over both splits.
        used: Those that became examples.
        rejected: The name within the data and the reason, of each that did not.
        skipped: Other entries met: not named like an image, hidden, linked folders, or
            of a split that is not used.
        notes: Sentences about the files that a person has to know.
    """

    found: int
    used: int
    rejected: tuple[tuple[str, str], ...] = ()
    skipped: int = 0
    notes: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return the report as JSON; ASCII, so that any file name can be written."""
        rejected = [{"path": path, "reason": why} for path, why in self.rejected]
        return json.dumps(asdict(self) | {"rejected": rejected}, indent=2) + "\n"


@dataclass(frozen=True, eq=False)
class Splits:
    """Both splits of a data set, of the same classes, and what identifies them.

    Attributes:
        train: What is learned from.
        test: What is measured on.
        report: What was found, used and rejected; see `require_readable`.
        fingerprint: As in `Dataset`.
        name: As in `Dataset`.
    """

    train: Source
    test: Source
    report: DataReport
    fingerprint: str
    name: str

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the K outputs."""
        return self.train.class_names

    @property
    def task(self) -> TaskName:
        """What there is to learn."""
        return self.train.task


def list_data(spec: str | DataSpec) -> Dataset:
    """Find and split the data that `spec` names, and decode nothing.

    Args:
        spec: As `jft.data.spec` has it: `digits`, `folder:PATH`, `csv:FILE`, ...,
            parsed or not. Where there is no test split, a fifth is held out, by a hash
            of each key.

    Raises:
        InputError: `spec` names no data, or it is not laid out as its form asks.
    """
    parsed = parse_spec(spec) if isinstance(spec, str) else spec
    dataset = parsed.load()
    return dataset if "test" in dataset.splits else hold_out(dataset)


def open_splits(
    data: str | DataSpec | Dataset,
    preprocess: Preprocess,
    *,
    crop: float = 0.0,
    cache: str | None = None,
    processes: int = 0,
    workers: int | None = None,
) -> Splits:
    """Check the images of a data set; every file is decoded once.

    Images are kept if all fit in `IN_MEMORY_BYTES`, else read again at each access; the
    bytes are the same. Call `require_readable(splits)` before training.

    Args:
        data: From `list_data`, or what that takes.
        preprocess: Gives the size S, and for files the resize and crop.
        crop: Smallest fraction of a training image that a crop at random will keep, for
            which the images are larger than S: `preprocess.resized`; with masks, so
            large that such a crop has S pixels a side, but at most 2 S. 0: no crops.
        cache: Folder that keeps what was decoded, for later runs.
        processes: How many will read the images beside this one. They map a file into
            memory, of which there is one, instead of copying an array.
        workers: Threads that decode; None for one per core.

    Raises:
        InputError: As `list_data`; or the cache cannot be written.
    """
    dataset = data if isinstance(data, Dataset) else list_data(data)
    squares = _squares(dataset, preprocess, crop)
    found = sum(len(listing.keys) for listing in dataset.splits.values())
    channels = squares["train"].channels + (dataset.task == "segmentation")
    size = squares["train"].preprocess.size
    keep = found * size**2 * channels <= IN_MEMORY_BYTES
    folder = Path(cache).expanduser() if cache else None
    stored = Cache(folder) if folder else None
    if stored is None and keep and processes:
        stored = Cache(temporary(), own=True)
    read = {
        split: dataclasses.replace(
            read_all(listing, squares[split], keep=keep, workers=workers, cache=stored),
            class_names=dataset.class_names,
            task=dataset.task,
        )
        for split, listing in dataset.splits.items()
    }
    rejected = [
        (listing.keys[i], why)
        for split, listing in dataset.splits.items()
        for i, why in sorted(read[split].bad.items())
    ]
    used = found - len(rejected)
    return Splits(
        train=read["train"],
        test=read["test"],
        report=DataReport(found, used, tuple(rejected), dataset.skipped, dataset.notes),
        fingerprint=dataset.fingerprint,
        name=dataset.name,
    )


def _squares(
    dataset: Dataset, preprocess: Preprocess, crop: float
) -> dict[Split, Square]:
    """Return how the images of each split become squares."""
    whole = dataset.task == "segmentation"
    if dataset.framed:
        preprocess = dataclasses.replace(
            preprocess, crop_fraction=1.0, interpolation="bilinear"
        )
    if whole:
        preprocess = preprocess.with_crop("letterbox")
    test = Square(preprocess)
    if crop:
        size = preprocess.size
        enough = min(math.ceil(size / math.sqrt(crop)), 2 * size, LARGEST)
        side = enough if whole else preprocess.resized
        preprocess = dataclasses.replace(preprocess, size=side, crop_fraction=1.0)
    return {"train": Square(preprocess, fast=not whole), "test": test}


@content()
def require_readable(splits: Splits) -> None:
    """Raise `DataError` if over 1 % of the images were rejected, or all of a split.

    All of a split that counts, too: an image of weight 0 does not.
    """
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
    for name, source in (("train", splits.train), ("test", splits.test)):
        if not source.weights.any():
            raise InputError(f"all weights of {name} are 0: no image of it counts")
