"""Random access to the examples of a TensorFlow data set, without TensorFlow."""

import bisect
import itertools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jft.data.decode import DecodeError
from jft.data.listing import File
from jft.data.parquet.rows import Groups, find_groups
from jft.data.tfds.prepared import Prepared
from jft.data.webdataset.files import file_stamp
from jft.errors import InputError, nearest


def open_builder(prepared: Prepared) -> Any:
    """Return TFDS's builder of what is prepared; nothing is asked over the network."""
    import tensorflow_datasets as tfds

    try:
        # Without file_format, which TFDS 4.9.10 refuses where it is not the first.
        return tfds.builder_from_directory(prepared.folder)
    except Exception as error:  # a bad features.json raises kinds of all sorts
        raise InputError(
            f"{str(prepared.folder)!r}: TFDS cannot read it: {error}"
        ) from error


@dataclass(frozen=True)
class Piece:
    """Some neighbouring records of a file.

    Attributes:
        file: Its name.
        skip: The first of them.
        take: How many.
        total: How many the file should have.
    """

    file: str
    skip: int
    take: int
    total: int


def find_pieces(prepared: Prepared, builder: Any, split: str) -> tuple[Piece, ...]:
    """Return where the records of a split are, which may have TFDS's slicing syntax."""
    try:
        instructions: Any = builder.info.splits[split].file_instructions
    except Exception as error:  # ValueError, AssertionError, KeyError by turns
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"tfds:{prepared.name}: no split {split!r} ({first}); splits are "
            f"{list(prepared.splits)}, and parts of them such as "
            f"'train[:80%]' or 'train+test'{nearest(split, prepared.splits)}"
        ) from error
    usual, wanted = builder.info.file_format.file_suffix, prepared.file_format
    pieces = tuple(
        Piece(
            Path(one.filename).name.replace(f".{usual}", f".{wanted}"),
            one.skip,
            one.take,
            one.examples_in_shard,
        )
        for one in instructions
        if one.take
    )
    totals = {piece.file: piece.total for piece in pieces}
    for file, total in totals.items():
        _require_records(prepared.folder / file, prepared.file_format, total)
    if not pieces:
        raise InputError(f"tfds:{prepared.name}: split {split!r} has no example")
    return pieces


def _require_records(path: Path, file_format: str, total: int) -> None:
    """Raise `InputError` unless a file has as many records as it should."""
    if not path.is_file():
        raise InputError(f"{str(path)!r} is missing")
    try:
        count = _count(path, file_format)
    except InputError:
        raise
    except Exception as error:  # array_record raises kinds of all sorts, some empty
        why = str(error) or "it is damaged"
        raise InputError(f"cannot read {str(path)!r}: {why}") from error
    if count != total:
        raise InputError(
            f"{str(path)!r} has {count:,} records, and dataset_info.json gives "
            f"{total:,}; prepare the data set again"
        )


def _count(path: Path, file_format: str) -> int:
    if file_format == "parquet":
        return len(find_groups(path.parent, (path.name,)))
    from array_record.python.array_record_module import ArrayRecordReader

    reader = ArrayRecordReader(os.fspath(path))
    try:
        return reader.num_records()
    finally:
        reader.close()


class Records:
    """The serialised examples of a split: `len` and `[i]`.

    Attributes:
        prepared: The data set.
        pieces: Where they are.
    """

    def __init__(self, prepared: Prepared, pieces: tuple[Piece, ...]) -> None:
        self.prepared = prepared
        self.pieces = pieces
        self._ends = [*itertools.accumulate(piece.take for piece in pieces)]
        self._source: Any = None

    def __len__(self) -> int:
        """Return the number of examples."""
        return self._ends[-1]

    def __getitem__(self, index: int) -> bytes:
        """Return one example.

        Raises:
            DecodeError: It can no longer be read.
        """
        try:
            if self._source is None:
                self._source = self._open()
            record = self._source[index]
        except (OSError, LookupError, ValueError, RuntimeError) as error:
            raise DecodeError(f"its record cannot be read: {error}") from error
        if not record:  # what the reader returns of some files that are cut short
            raise DecodeError("its record cannot be read: it is empty")
        return record

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process needs: no open files."""
        return {**self.__dict__, "_source": None}

    def keys(self) -> tuple[str, ...]:
        """Return the name of each example: that of its file, and its index in that."""
        form = f".{self.prepared.file_format}"  # the same names in either form
        return tuple(
            f"{piece.file.replace(form, '')}/{i}"
            for piece in self.pieces
            for i in range(piece.skip, piece.skip + piece.take)
        )

    def stamp(self, index: int) -> str:
        """Return what changes with one example, which is not read."""
        number = bisect.bisect_right(self._ends, index)
        piece = self.pieces[number]
        position = piece.skip + piece.take - (self._ends[number] - index)
        return f"{file_stamp(self.prepared.folder / piece.file)} {position}"

    def _open(self) -> Any:
        if self.prepared.file_format == "parquet":
            return _ParquetRecords(self.prepared.folder, self.pieces)
        from array_record.python.array_record_data_source import ArrayRecordDataSource

        files = [os.fspath(self.prepared.folder / piece.file) for piece in self.pieces]
        return ArrayRecordDataSource(
            [
                f"{file}[{piece.skip}:{piece.skip + piece.take}]"
                for file, piece in zip(files, self.pieces, strict=True)
            ]
        )


class _ParquetRecords:
    """The records of Parquet files, of which TFDS's own reader takes no parts."""

    def __init__(self, folder: Path, pieces: tuple[Piece, ...]) -> None:
        self._parts: list[tuple[Groups, int, int]] = [
            (find_groups(folder, (piece.file,)), piece.skip, piece.take)
            for piece in pieces
        ]

    def __getitem__(self, index: int) -> bytes:
        for groups, skip, take in self._parts:
            if index < take:
                return groups.value(skip + index, "data")
            index -= take
        raise IndexError(index)


class Features:
    """Some features of the examples, undecoded where they are images."""

    def __init__(self, records: Records, names: tuple[str, ...]) -> None:
        self.records = records
        self.names = names
        self._parser: Any = None

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return the features of one example by their names.

        Raises:
            DecodeError: Its record can no longer be read, or has no such features.
        """
        import tensorflow_datasets as tfds

        if self._parser is None:
            features = open_builder(self.records.prepared).info.features
            some = {name: features[name] for name in self.names}
            skip = {
                name: tfds.decode.SkipDecoding()
                for name, feature in some.items()
                if isinstance(feature, tfds.features.Image)
            }
            self._parser = tfds.features.FeaturesDict(some), skip
        parser, skip = self._parser
        record = self.records[index]
        try:
            found = parser.deserialize_example_np(record, decoders=skip)
        except Exception as error:  # what a record that is not a proto raises varies
            raise DecodeError(f"its record cannot be understood: {error}") from error
        for name in skip:
            if not isinstance(found[name], bytes):
                raise DecodeError(f"its record has no {name!r}")
        return found

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process needs: TFDS's own objects are made again."""
        return {**self.__dict__, "_parser": None}


@dataclass(frozen=True, eq=False)
class FeatureFiles:
    """The files of an image feature.

    Attributes:
        features: Reads the feature.
        name: What it is called.
    """

    features: Features
    name: str

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.features.records)

    def __getitem__(self, index: int) -> File:
        """Return the bytes of one file."""
        return bytes(self.features[index][self.name])

    def stamp(self, index: int) -> str:
        """Return what changes with one file, which is not read."""
        return f"{self.name} {self.features.records.stamp(index)}"
