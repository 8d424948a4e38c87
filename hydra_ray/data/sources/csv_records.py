"""Reads CSV and its kin (tabs, semicolons), with the names of the fields in the first line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from itertools import chain, count
from typing import TYPE_CHECKING

from hydra_ray.data.bad_records import BadRecords
from hydra_ray.data.errors import DataError, RecordError, shown
from hydra_ray.data.fields import Fields, Layout
from hydra_ray.data.sources.files import DataFile
from hydra_ray.data.sources.streams import head_of, opened

if TYPE_CHECKING:
    from _csv import Reader

# CSV has no numbers and no null: what pandas and numpy write where a value is missing.
_MISSING = frozenset({"", "nan", "NaN", "NaT", "<NA>"})
_DELIMITERS = ",;\t"
# A cell may be as long as a text is; the csv module's own bound is 128 KiB.
_LONGEST_CELL = 1 << 30


def read_csv_records(file: DataFile, layout: Layout, bad: BadRecords) -> Iterator[Fields]:
    """The records of a file in its order; all values are text, those of empty cells missing.

    A record's place is the line it begins in: texts in quotes may go on for more.

    Args:
        file: The file.
        layout: What the records look like.
        bad: Takes lines with too many or too few cells.

    Raises:
        DataError: The file cannot be read, has no usable header, or ends within a quoted text.
    """
    csv.field_size_limit(_LONGEST_CELL)
    with opened(file) as stream:
        head_of(stream, file)
        lines = enumerate(io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline=""))
        above, first = next(((number, line) for number, line in lines if line.strip()), (0, ""))
        if not first:
            # Without a header there is no record, whatever else there is not.
            return
        rows = csv.reader(
            chain([first], (line for _, line in lines)), delimiter=max(_DELIMITERS, key=first.count), strict=True
        )
        yield from _rows(rows, above, _header(rows, above + 1, file, layout), file, layout.needs, bad)


def _header(rows: Reader, line: int, file: DataFile, layout: Layout) -> list[str]:
    try:
        names = [cell.strip() for cell in next(rows)]
    except csv.Error as error:
        raise DataError(f"{file.name}, line {line}: the names of the columns are not CSV ({error}).") from None
    if twice := [name for name in names if name and names.count(name) > 1]:
        raise DataError(f'{file.name}, line {line}: two columns are called "{shown(twice[0])}". Rename one.')
    for name in layout.required:
        if name not in names and name not in file.partition:
            found = ", ".join(map(shown, names))
            raise DataError(f'{file.name}: no column "{name}". {layout.needs} The file has: {found}.')
    return names


def _rows(rows: Reader, above: int, names: list[str], file: DataFile, needs: str, bad: BadRecords) -> Iterator[Fields]:
    for _ in count():
        place = f"{file.name}, line {above + rows.line_num + 1}"
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end of data" in str(error):
                raise DataError(f"{place}: a text in quotes begins here and does not end. Close the quotes.") from None
            bad.read += 1
            bad.add(RecordError(f"{place}: not CSV ({error}).", place, f"is not CSV ({error})"))
            continue
        # A line of blanks is as good as an empty one.
        if len(cells) > 1 or "".join(cells).strip():
            bad.read += 1
            with bad.aside():
                yield _fields(cells, names, place, needs)


def _fields(cells: list[str], names: list[str], place: str, needs: str) -> Fields:
    if len(cells) != len(names):
        told = f"has {len(cells)} cells where the header has {len(names)}"
        raise RecordError(f"{place} {told}. Put texts that hold the delimiter in quotes.", place, told)
    values = {name: None if cell in _MISSING else cell for name, cell in zip(names, cells, strict=True)}
    if any("\udc80" <= sign <= "\udcff" for cell in cells if not cell.isascii() for sign in cell):
        raise RecordError(f"{place} is not UTF-8. Save the file as UTF-8.", place, "is not UTF-8")
    return Fields(values, place, needs, typed=False)
