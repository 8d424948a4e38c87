"""Reads plain records {user_id, input, output, ts, item_id?} from JSONL or Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hydra_ray.data.dated import read_date
from hydra_ray.data.errors import DataError, Fields
from hydra_ray.data.jsonl import read_jsonl
from hydra_ray.data.split import Record, Split
from hydra_ray.records import Dataset
from hydra_ray.tasks import Task

_COLUMNS = ("user_id", "input", "output", "ts")
_NEEDS = 'Records need "user_id", "input", "output" and "ts".'


def read_records(path: Path, task: Task, split: Split) -> Dataset:
    """Reads the users of one split.

    Args:
        path: A .jsonl or .parquet file.
        task: The task that the records are of.
        split: Who is in it, and which of their records become queries.

    Raises:
        DataError: Names the file, the line or row (counted from 1) and the field that cannot be used.
    """
    users: dict[str, list[Record]] = {}
    for fields in _rows(path):
        name, record = fields.text("user_id"), _record(fields, task)
        if split.holds(name):
            users.setdefault(name, []).append(record)
    return split.dataset(users, texts=not task.closed)


def _record(fields: Fields, task: Task) -> Record:
    ts = read_date(fields, "ts")
    if ts is None:
        raise fields.missing("ts")
    output = fields.text("output")
    if task.closed and task.parse(output) is None:
        raise fields.error(f'has "{output}" as "output", which is not among the answers: {", ".join(task.labels)}.')
    return Record(fields.text("input"), output, ts, fields.optional("item_id"), place=fields.place)


def _rows(path: Path) -> Iterator[Fields]:
    if path.suffix not in (".jsonl", ".parquet"):
        raise DataError(f"{path.name}: records are read from .jsonl and .parquet files. Convert the file to one.")
    if not path.is_file():
        raise DataError(f"{path}: no such file. Point data.path at the file of records.")
    return read_jsonl(path, _NEEDS) if path.suffix == ".jsonl" else _parquet(path)


def _parquet(path: Path) -> Iterator[Fields]:
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise DataError(f"{path.name}: not a Parquet file ({error}).") from None
    with file:
        names = file.schema_arrow.names
        for name in _COLUMNS:
            if name not in names:
                raise DataError(f'{path.name}: no column "{name}". {_NEEDS} The file has: {", ".join(names)}.')
        number = 0
        for batch in file.iter_batches(columns=[name for name in (*_COLUMNS, "item_id") if name in names]):
            for values in pa.table({name: _plain(batch[name]) for name in batch.schema.names}).to_pylist():
                number += 1
                yield Fields(values, f"{path.name}, row {number}", _NEEDS)


def _plain(column: pa.Array) -> pa.Array:
    # Dates and times read as text, like those of JSONL; those of a time zone with its offset at that moment.
    return column.cast(pa.string()) if pa.types.is_temporal(column.type) else column
