"""Reads plain records {user_id, input, output, ts, item_id?} from JSONL or Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from hydra_ray.data.errors import DataError, Fields
from hydra_ray.records import Dataset, HistoryItem, Query, User, UserKey
from hydra_ray.tasks import Task

_COLUMNS = ("user_id", "input", "output", "ts")
_NEEDS = 'Records need "user_id", "input", "output" and "ts".'


class _Record(NamedTuple):
    input: str
    output: str
    ts: str
    item_id: str | None


def read_records(
    path: Path,
    task: Task,
    split: str,
    *,
    queries_per_user: int,
    dev_share: float,
    seed: int,
    tenant: str = "default",
) -> Dataset:
    """Reads the users of one split; each user's latest records become the queries.

    A query sees the records before it: equal dates do not count as before. One record of every user
    stays history, so somebody with a single record has no query.

    Args:
        path: A .jsonl or .parquet file.
        task: The task that the records are of.
        split: "train" or "dev".
        queries_per_user: Most records of a user that become queries.
        dev_share: Share of users in split "dev", chosen by a hash of seed and user id, so that more data
            leaves everybody where they are.
        seed: Seed of the split.
        tenant: Tenant of all users.

    Raises:
        DataError: Names the file, the line or row (counted from 1) and the field that cannot be used.
    """
    if split not in ("train", "dev"):
        raise DataError(f'{path.name}: records have the splits "train" and "dev", not "{split}". Set data.split.')
    users: dict[str, list[_Record]] = {}
    for fields in _rows(path):
        name, record = fields.text("user_id"), _record(fields, task)
        if _in_dev(name, dev_share, seed) == (split == "dev"):
            users.setdefault(name, []).append(record)

    golds: dict[str, str] = {}
    visible: dict[str, frozenset[str]] = {}
    people = []
    for name, records in users.items():
        records.sort(key=lambda record: record.ts)
        first_query = max(1, len(records) - queries_per_user)
        key = UserKey(tenant, name)
        history = tuple(
            HistoryItem(f"{name}-{position}", record.input, record.output, record.ts, record.item_id)
            for position, record in enumerate(records[:first_query])
        )
        queries = []
        for position, record in enumerate(records[first_query:], first_query):
            query = Query(f"{name}-{position}", key, record.input, record.ts, record.item_id)
            before = frozenset(item.id for item in history if (item.ts or "") < record.ts)
            if len(before) < len(history):
                visible[query.id] = before
            golds[query.id] = record.output
            queries.append(query)
        people.append(User(key, history, tuple(queries)))
    return Dataset(tuple(people), golds, visible)


def _in_dev(user: str, dev_share: float, seed: int) -> bool:
    digest = blake2b(f"{seed}:{user}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < dev_share * 2**64


def _record(fields: Fields, task: Task) -> _Record:
    ts = fields.optional("ts")
    if not ts:
        raise fields.missing("ts")
    output = fields.text("output")
    if task.closed and task.parse(output) is None:
        raise fields.error(f'has "{output}" as "output", which is not among the answers: {", ".join(task.labels)}.')
    return _Record(fields.text("input"), output, ts, fields.optional("item_id"))


def _rows(path: Path) -> Iterator[Fields]:
    readers = {".jsonl": _jsonl, ".parquet": _parquet}
    if path.suffix not in readers:
        raise DataError(f"{path.name}: records are read from .jsonl and .parquet files. Convert the file to one.")
    if not path.is_file():
        raise DataError(f"{path}: no such file. Point data.path at the file of records.")
    return readers[path.suffix](path)


def _jsonl(path: Path) -> Iterator[Fields]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            place = f"{path.name}, line {number}"
            if not line.strip():
                continue
            try:
                value = json.loads(line.decode("utf-8"))
            except UnicodeDecodeError as error:
                raise DataError(f"{place}: byte {error.start} is not UTF-8. Save the file as UTF-8.") from None
            except json.JSONDecodeError as error:
                raise DataError(f"{place}: not JSON at column {error.colno} ({error.msg}). {_NEEDS}") from None
            yield Fields.of(value, place, _NEEDS)


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
    # Dates and times read as text that sorts by time, like those of JSONL.
    return column.cast(pa.string()) if pa.types.is_temporal(column.type) else column
