"""Reads Parquet: any column type that has a plain value, and damaged files as one line."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hydra_ray.data.bad_records import BadRecords
from hydra_ray.data.errors import DataError, shown
from hydra_ray.data.fields import Fields, Layout, Rounded
from hydra_ray.data.sources.files import DataFile, one_line
from hydra_ray.data.sources.streams import COMPRESSED, opened

_EPOCH = datetime(1970, 1, 1)
# Whole numbers from here on share a float of so many bits with their neighbours.
_EXACT = {16: 2**11, 32: 2**24, 64: 2**53}


def read_parquet_records(file: DataFile, layout: Layout, bad: BadRecords) -> Iterator[Fields]:
    """The records of a file in its order, with the fields that the layout names.

    Times are ISO text: in UTC with their offset where the column has a time zone, else without one.

    Args:
        file: The file.
        layout: What the records look like.
        bad: Counts the records.

    Raises:
        DataError: The file is damaged, whenever this shows, or lacks a column.
    """
    number = 0
    try:
        with pq.ParquetFile(_source(file), page_checksum_verification=True) as parquet:
            names = parquet.schema_arrow.names
            for name in layout.required:
                if name not in names and name not in file.partition:
                    told = f'no column "{name}". {layout.needs} The file has: {", ".join(map(shown, names))}.'
                    raise DataError(f"{file.name}: {told}")
            if twice := [name for name in layout.fields if names.count(name) > 1]:
                raise DataError(f'{file.name}: two columns are called "{twice[0]}". Rename one.')
            for batch in parquet.iter_batches(columns=[name for name in layout.fields if name in names]):
                columns = {name: _values(batch.column(name)) for name in batch.schema.names}
                for row in range(batch.num_rows):
                    number += 1
                    bad.read += 1
                    values = {name: column[row] for name, column in columns.items()}
                    yield Fields(values, f"{file.name}, row {number}", layout.needs)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, FileNotFoundError):
            raise DataError(f"{file.name}: no such file.") from None
        where = f", after row {number}" if number else ""
        raise DataError(
            f"{file.name}: not a Parquet file, or a damaged one{where} ({one_line(error)}). Write or download it again."
        ) from None


def _source(file: DataFile) -> Any:
    if file.path.lower().endswith(tuple(COMPRESSED)):
        # Parquet is read from its end.
        with opened(file) as stream:
            return pa.BufferReader(stream.read())
    return file.filesystem.open_input_file(file.path)


def _values(column: pa.Array) -> list[Any]:
    """Plain values: None, text, bytes, numbers, lists, objects."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if pa.types.is_timestamp(kind):
        return [_moment(value, kind.tz is not None) for value in _whole(column, pa.timestamp("us", kind.tz))]
    if pa.types.is_date(kind):
        return [
            None if value is None else _day(value) for value in column.cast(pa.date32()).cast(pa.int32()).to_pylist()
        ]
    if pa.types.is_temporal(kind):
        return column.cast(pa.string()).to_pylist()
    if isinstance(kind, pa.UuidType):
        return [None if value is None else str(value) for value in column.to_pylist()]
    if pa.types.is_floating(kind):
        exact = _EXACT[kind.bit_width]
        return [Rounded(v) if v is not None and abs(v) >= exact else v for v in column.to_pylist()]
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        try:
            return column.to_pylist()
        except UnicodeDecodeError:
            # Which record it is comes out when its field is read.
            return column.cast(pa.large_binary()).to_pylist()
    return column.to_pylist()


def _whole(column: pa.Array, kind: pa.DataType) -> list[int | None]:
    # Nanoseconds are more than Python's times hold.
    return column.cast(kind, safe=False).cast(pa.int64()).to_pylist()


def _moment(microseconds: int | None, zoned: bool) -> str | None:
    if microseconds is None:
        return None
    try:
        moment = _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        return _beyond(microseconds, "microseconds")
    return (moment.replace(tzinfo=UTC) if zoned else moment).isoformat()


def _day(days: int) -> str:
    try:
        return (_EPOCH + timedelta(days=days)).date().isoformat()
    except OverflowError:
        return _beyond(days, "days")


def _beyond(amount: int, unit: str) -> str:
    # No date: whoever needs one says so with the record's place.
    return f"{amount} {unit} from 1970"
