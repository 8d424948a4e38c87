"""Rows of all tables, streamed in the order of users: memory holds a few, whatever the size of the store."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Column, Connection, Table, collate, func, insert, select
from sqlalchemy.sql.elements import ColumnElement

from hydra_ray.store.tables import DELETIONS, HEADS, HISTORY_VERSIONS, METADATA

Row = dict[str, Any]

# About so much of memory, and rows, at a time.
_BYTES, _ROWS = 8 << 20, 2_000


def all_tables() -> list[Table]:
    """Return the tables that are kept and moved: all but the turns of writers, which mean nothing elsewhere."""
    return [table for table in METADATA.sorted_tables if table is not DELETIONS]


def user_tables() -> list[Table]:
    """Return the tables whose rows are each of one user."""
    return [table for table in all_tables() if list(table.c.keys())[:2] == ["tenant", "user"]]


def stream(db: Connection, table: Table, *which: ColumnElement[bool]) -> Iterator[Row]:
    """Yield a table's rows as plain values, users in the order of their code points.

    Args:
        db: Connection in a transaction, whose state is read.
        table: Table.
        which: Conditions.
    """
    query = select(table).where(*which).order_by(*(_by_code_point(db, one) for one in table.primary_key))
    for row in db.execute(query.execution_options(yield_per=500)).mappings():
        yield dict(row)


def count(db: Connection, table: Table) -> int:
    """Return a table's number of rows."""
    return db.execute(select(func.count()).select_from(table)).scalar() or 0


def put(db: Connection, table: Table, rows: Iterable[Row]) -> int:
    """Insert rows; return their number.

    Versions of histories and stamps of heads are made anew, since whoever has kept something under the old ones must
    not take it for what is written now.
    """
    written = 0
    for batch in in_batches(rows):
        db.execute(insert(table), [_renewed(table, row) for row in batch])
        written += len(batch)
    return written


def in_batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Yield rows in lists of bounded size."""
    batch, filled = list[Row](), 0
    for row in rows:
        batch.append(row)
        filled += 64 + sum(len(value) for value in row.values() if isinstance(value, str | bytes))
        if filled >= _BYTES or len(batch) == _ROWS:
            yield batch
            batch, filled = [], 0
    if batch:
        yield batch


def users_of(tables: Sequence[tuple[Table, Iterator[Row]]]) -> Iterator[tuple[tuple[str, str], dict[str, list[Row]]]]:
    """Yield each user with their rows by table, from streams that are all in the order of users."""
    waiting = {table.name: (next(rows, None), rows) for table, rows in tables}
    while True:
        heads = [(row["tenant"], row["user"]) for row, _ in waiting.values() if row is not None]
        if not heads:
            return
        user, found = min(heads), dict[str, list[Row]]()
        for name, (row, rows) in waiting.items():
            while row is not None and (row["tenant"], row["user"]) == user:
                found.setdefault(name, []).append(row)
                row = next(rows, None)
            waiting[name] = row, rows
        yield user, found


def _by_code_point(db: Connection, column: Column) -> ColumnElement:
    # PostgreSQL sorts by the rules of its locale; SQLite, and Python, by code points.
    is_text = column.type.python_type is str
    return collate(column, "C") if is_text and db.dialect.name == "postgresql" else column


def _renewed(table: Table, row: Row) -> Row:
    if table is HISTORY_VERSIONS:
        return {**row, "epoch": uuid.uuid4().hex}
    return {**row, "stamp": uuid.uuid4().hex} if table is HEADS else row
