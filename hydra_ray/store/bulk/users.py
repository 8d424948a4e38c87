"""Users in bulk, out of a store and into another one: all that is kept of each, as Parquet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from sqlalchemy import Connection, Table, delete, select, union

from hydra_ray.records import HydraError, UserKey
from hydra_ray.store import turns
from hydra_ray.store.bulk.parquet import ParquetTables, new_folder, write_tables
from hydra_ray.store.bulk.rows import Row, all_tables, put, stream, user_tables, users_of
from hydra_ray.store.bulk.whole import opened
from hydra_ray.store.connections.target import StoreTarget
from hydra_ray.store.rows import among
from hydra_ray.store.schema import revisions

# Users of one transaction, unless one of them alone has more rows.
_USERS, _ROWS = 200, 5_000


def export_users(target: StoreTarget, folder: Path, tenant: str | None, users: Sequence[str]) -> dict[str, int]:
    """Write all that is kept of users to a folder of Parquet files, in the state of one moment.

    Args:
        target: Store.
        folder: Folder that is not there yet.
        tenant: Tenant whose users are exported; None exports those of all tenants.
        users: Only these of the tenant; empty is all.

    Returns:
        Rows by table.

    Raises:
        HydraError: There is something at `folder`, it cannot be written, or there is nobody to export.
    """
    with opened(target) as database, database.reading("exported") as db, new_folder(folder) as partial:
        tables = user_tables()
        # Completions of nobody are no user's: they stay.
        which = {
            table: [table.c.user != "", *([] if tenant is None else [table.c.tenant == tenant])] for table in tables
        }
        if users:
            which = {table: [*conditions, table.c.user.in_(users)] for table, conditions in which.items()}
        about = {"what": "users", "revision": revisions()[-1], "tenant": tenant}
        counts = write_tables(partial, ((table, stream(db, table, *which[table])) for table in tables), about)
        if not any(counts.values()):
            raise HydraError(
                f"store.url: {database.shown} knows nobody of tenant {tenant!r} {list(users) or ''}".rstrip()
            )
        return counts


def import_users(target: StoreTarget, folder: Path, replace: bool) -> int:
    """Put exported users into a store, each as a whole; users who are not in the folder keep what they have.

    Args:
        target: Store.
        folder: What `export_users` or `back_up` wrote.
        replace: Whether users who are in the store already are replaced.

    Returns:
        Number of users.

    Raises:
        HydraError: The folder is damaged, or has users who are there already and are not to be replaced. In the second
            case nobody is written.
    """
    tables, parquet = user_tables(), ParquetTables(folder, all_tables())
    with opened(target) as database:
        if not replace:
            for keys in _batches_of_keys(parquet, tables):
                found = database.read(lambda db, keys=keys: _known(db, tables, keys))  # type: ignore[misc]
                if found:
                    raise HydraError(
                        f"{folder}: user {found[0].user!r} of tenant {found[0].tenant!r} is in {database.shown} "
                        "already; --replace has what is imported take the place of what is there"
                    )
        imported = 0
        for batch in _batches(parquet, tables):
            database.write(lambda db, batch=batch: _write(db, tables, batch))  # type: ignore[misc]
            imported += len(batch)
        return imported


def _batches(parquet: ParquetTables, tables: Sequence[Table]) -> Iterator[dict[UserKey, dict[str, list[Row]]]]:
    batch, rows = dict[UserKey, dict[str, list[Row]]](), 0
    with ExitStack() as stack:
        streams = [(table, stack.enter_context(closing(parquet.rows(table)))) for table in tables]
        for user, found in users_of(streams):
            key = UserKey(*user)
            if key.is_nobody:
                # A backup holds completions of nobody, too.
                continue
            batch[key] = found
            rows += sum(map(len, found.values()))
            if len(batch) == _USERS or rows >= _ROWS:
                yield batch
                batch, rows = {}, 0
    if batch:
        yield batch


def _batches_of_keys(parquet: ParquetTables, tables: Sequence[Table]) -> Iterator[list[UserKey]]:
    for batch in _batches(parquet, tables):
        yield list(batch)


def _known(db: Connection, tables: Sequence[Table], keys: Sequence[UserKey]) -> list[UserKey]:
    queries = [select(table.c.tenant, table.c.user).where(among(table, keys)) for table in tables]
    return sorted(UserKey(*row) for row in db.execute(union(*queries)))


def _write(db: Connection, tables: Sequence[Table], batch: dict[UserKey, dict[str, list[Row]]]) -> None:
    keys = list(batch)
    turns.take(db, keys)
    for table in tables:
        db.execute(delete(table).where(among(table, keys)))
        put(db, table, (row for rows in batch.values() for row in rows.get(table.name, ())))
