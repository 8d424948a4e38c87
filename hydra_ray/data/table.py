"""Reads plain records {user_id, input, output, ts, item_id?, rejected?} from JSON, CSV or Parquet."""

from __future__ import annotations

from pathlib import Path

from hydra_ray.data.answers import check_answer
from hydra_ray.data.bad_records import BadRecords
from hydra_ray.data.dataset import Dataset
from hydra_ray.data.dated import read_date
from hydra_ray.data.fields import Fields, Layout
from hydra_ray.data.sources.read import read_source
from hydra_ray.data.split import Record, Split
from hydra_ray.tasks import Task

_COLUMNS = ("user_id", "input", "output", "ts")
_RECORDS = Layout('Records need "user_id", "input", "output" and "ts".', (*_COLUMNS, "item_id", "rejected"), _COLUMNS)


def read_records(path: Path | str, task: Task, split: Split, skip_bad: float) -> Dataset:
    """Reads the users of one split.

    Args:
        path: A file, folder, glob or URI.
        task: The task that the records are of.
        split: Split that says who is in it, and which of their records become queries.
        skip_bad: How many bad records may be left out; below 1, which share.

    Raises:
        DataError: Names the file, the line or row (counted from 1) and the field of what cannot be used.
    """
    bad = BadRecords(skip_bad)
    users: dict[str, list[Record]] = {}
    for fields in read_source(path, "data.path", _RECORDS, bad):
        with bad.aside():
            name, record = fields.user(bad.left_out), _record(fields, task)
            if split.holds(name):
                users.setdefault(name, []).append(record)
    bad.settle(str(path))
    return split.dataset(users, bad.left_out, texts=not task.closed)


def _record(fields: Fields, task: Task) -> Record:
    ts = read_date(fields, "ts")
    if ts is None:
        raise fields.missing("ts")
    output = fields.text("output")
    check_answer(fields, "output", output, task)
    item_id, rejected = fields.identity("item_id"), _rejected(fields, output, task)
    return Record(fields.text("input"), output, ts, item_id, place=fields.place, rejected=rejected)


def _rejected(fields: Fields, output: str, task: Task) -> str | None:
    """The answer that the user would not have; an empty one counts as absent."""
    rejected = fields.optional("rejected") or None
    if rejected is None:
        return None
    check_answer(fields, "rejected", rejected, task)
    if (task.parse(rejected) or rejected) == (task.parse(output) or output):
        raise fields.error('has the same answer as "output" and as "rejected". Leave "rejected" out.')
    return rejected
