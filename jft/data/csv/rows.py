"""The rows of a CSV or TSV file, with the numbers of their lines."""

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

from jft.data.describe import few, read_text
from jft.data.values import number
from jft.errors import InputError, nearest

DELIMITERS = ",\t;"
_EXCEL = re.compile(r"sep=(.)[\r\n]")  # Excel's own line, above the names


@dataclass(frozen=True)
class Rows:
    """A table as text.

    Attributes:
        file: Its path, for messages.
        header: The names of its columns.
        cells: One list of cells for each row, as long as the header.
        lines: The line of the file at which each row ends, from 1.
        comma: Whether numbers may have a decimal comma.
    """

    file: str
    header: list[str]
    cells: list[list[str]]
    lines: list[int]
    comma: bool = False

    def number(self, cell: str) -> float:
        """Return the number in a cell; NaN if there is none."""
        return number(cell.replace(",", ".") if self.comma else cell)

    def column(self, name: str) -> int:
        """Return the index of the column of that name; `InputError` without one."""
        if (count := self.header.count(name)) != 1:
            why = "no column" if count == 0 else f"{count} columns called"
            raise InputError(
                f"{self.file!r} has {why} {name!r}; valid are "
                f"{', '.join(self.header)}{nearest(name, self.header)}"
            )
        return self.header.index(name)


def read_rows(path: Path, encoding: str = "utf-8", decimal: str = "") -> Rows:
    """Read a table; the most frequent of comma, tab, semicolon in line 1 divides cells.

    Empty lines are skipped. A line `sep=;` at the start names the delimiter instead.

    Args:
        path: The file.
        encoding: Of its text, one of Python's.
        decimal: `,` or `.`; empty allows both where semicolons divide cells, as Excel
            writes them in countries with a decimal comma.
    """
    remedy = "encoding=NAME is an option: encoding=cp1252 for Excel in Europe"
    text = read_text(path, encoding, remedy)
    first = next((line for line in re.split("[\r\n]", text) if line), "")
    excel = _EXCEL.match(text)
    delimiter = excel[1] if excel else max(DELIMITERS, key=first.count)
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        strict=True,
        skipinitialspace=delimiter != "\t",
    )
    found: list[tuple[int, list[str]]] = []
    try:
        found.extend((reader.line_num, row) for row in reader if any(row))
        del found[: 1 if excel else 0]
    except csv.Error as error:
        raise InputError(f"{str(path)!r}, line {reader.line_num}: {error}") from error
    if len(found) < 2:
        raise InputError(
            f"{str(path)!r} has {len(found)} lines; at least 2 are needed: the names "
            "of the columns, and a row"
        )
    header = [name.strip() for name in found[0][1]]
    wrong = [
        f"line {line}: {len(row)} cells, {str(row)[:60]}"
        for line, row in found[1:]
        if len(row) != len(header)
    ]
    if wrong:
        raise InputError(
            f"{str(path)!r}: {len(wrong)} rows do not have {len(header)} cells, as the "
            f"first line has{few(wrong)}"
        )
    return Rows(
        file=str(path),
        header=header,
        cells=[row for _, row in found[1:]],
        lines=[line for line, _ in found[1:]],
        comma=decimal == "," or (decimal == "" and delimiter == ";"),
    )
