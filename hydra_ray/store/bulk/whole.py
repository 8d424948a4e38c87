"""Whole stores: copied to files, back, and into other databases."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, Table, delete, text

from hydra_ray.atomic import replacing
from hydra_ray.records import HydraError
from hydra_ray.store.bulk.parquet import ParquetTables, new_folder, write_tables
from hydra_ray.store.bulk.rows import Row, all_tables, count, put, stream
from hydra_ray.store.connections.target import StoreTarget
from hydra_ray.store.database import Database
from hydra_ray.store.schema import open_database, revisions

RowsOf = Callable[[Table], Iterator[Row]]


def back_up(target: StoreTarget, path: Path) -> dict[str, int]:
    """Copy a store as it is at this moment, while others go on writing: SQLite to a file, others to a Parquet folder.

    Args:
        target: Store.
        path: File or folder that is not there yet.

    Returns:
        Rows by table.

    Raises:
        HydraError: There is something at `path`, or it cannot be written.
    """
    with opened(target) as database, database.reading("backed up") as db:
        if database.dialect != "sqlite":
            with new_folder(path) as folder:
                return write_tables(folder, ((table, stream(db, table)) for table in all_tables()), _about())
        if path.exists():
            raise HydraError(f"{path}: is there already; choose another name, or remove it first")
        try:
            with replacing(path) as part:
                with closing(sqlite3.connect(part)) as copy:
                    db.connection.driver_connection.backup(copy)  # type: ignore[union-attr]
                descriptor = os.open(part, os.O_RDONLY)
                os.fsync(descriptor)
                os.close(descriptor)
        except (OSError, sqlite3.Error) as error:
            raise HydraError(f"{path}: cannot be written: {error}") from error
        return {table.name: count(db, table) for table in all_tables()}


def restore(target: StoreTarget, path: Path, replace: bool) -> dict[str, int]:
    """Fill a store with what `back_up` wrote, of whatever database; all of it in one transaction.

    Args:
        target: Store to fill.
        path: File or folder. It stays as it is.
        replace: Whether all that the store holds is removed first.

    Returns:
        Rows by table.

    Raises:
        HydraError: The store is not empty and is not to be replaced, or the backup is damaged.
    """
    if path.is_dir():
        parquet = ParquetTables(path, all_tables())
        with opened(target) as database:
            return _fill(database, parquet.rows, replace)
    if not path.is_file():
        raise HydraError(f"{path}: there is no such file or folder; `hydra-ray store backup` writes one")
    # A copy is opened: opening would bring an older backup up to date.
    with tempfile.TemporaryDirectory(prefix="hydra-ray-") as folder:
        copy = Path(folder) / "users.db"
        try:
            read_only = f"{path.resolve().as_uri()}?mode=ro"
            with closing(sqlite3.connect(read_only, uri=True)) as source, closing(sqlite3.connect(copy)) as to:
                source.backup(to)
        except sqlite3.Error as error:
            raise HydraError(f"{path}: cannot be read: {error}") from None
        return migrate(StoreTarget.of(f"sqlite:///{copy}"), target, replace)


def migrate(source: StoreTarget, target: StoreTarget, replace: bool) -> dict[str, int]:
    """Copy all of a store into another one, of whatever kinds, and count what arrived; the source stays as it is.

    Args:
        source: Store to read, in the state that it has at this moment.
        target: Store to fill, in one transaction.
        replace: Whether all that the target holds is removed first.

    Returns:
        Rows by table.

    Raises:
        HydraError: Both are the same, or the target is not empty and is not to be replaced.
    """
    if source.url == target.url:
        raise HydraError(f"store.url: {target.scheme} store and the one to fill are the same; name another URL")
    with opened(source) as read, opened(target) as written, read.reading() as db:
        return _fill(written, partial(stream, db), replace)


@contextmanager
def opened(target: StoreTarget) -> Iterator[Database]:
    """Open a database for as long as the block runs.

    Raises:
        HydraError: The store is none of SQL.
    """
    if target.scheme not in ("sqlite", "postgresql"):
        raise HydraError(f"store.url: {target.scheme}: only stores in SQLite and PostgreSQL can be copied and checked")
    with closing(open_database(target)) as database:
        yield database


def _fill(database: Database, rows_of: RowsOf, replace: bool) -> dict[str, int]:
    tables = all_tables()
    with database.writing("filled") as db:
        _lock(db, tables)
        had = next((table.name for table in tables if count(db, table)), None)
        if had is not None and not replace:
            raise HydraError(
                f"store.url: {database.shown} is not empty (table {had}): --replace removes what it holds, or name an "
                "empty one"
            )
        for table in reversed(tables):
            db.execute(delete(table))
        written = {table.name: put(db, table, rows_of(table)) for table in tables}
        arrived = {table.name: count(db, table) for table in tables}
        if arrived != written:
            raise HydraError(f"store.url: {database.shown}: {arrived} arrived of {written}; nothing was kept")
        return written


def _lock(db: Connection, tables: list[Table]) -> None:
    # Who writes meanwhile waits. SQLite has one lock for all.
    if db.dialect.name == "postgresql":
        names = ", ".join(db.dialect.identifier_preparer.format_table(table) for table in tables)
        db.execute(text(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE"))


def _about() -> dict[str, str]:
    return {"what": "backup", "revision": revisions()[-1]}
