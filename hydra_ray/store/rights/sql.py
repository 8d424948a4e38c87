"""Rows of single users in a database: a table belongs to users if its rows begin with tenant and user."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, String, Table, delete, func, insert, null, select

from hydra_ray.records import HydraError, UserKey
from hydra_ray.store import profiles, turns
from hydra_ray.store.database import Database
from hydra_ray.store.rights.protocol import OUTLIVE, HeadEntry, Row, StoredItem, StoredText
from hydra_ray.store.rows import of
from hydra_ray.store.tables import HEADS, METADATA, USER_PREFERENCES
from hydra_ray.store.types import StoreError

_KEY = ("tenant", "user")
# Values that say "this was just written" to those who keep what they read: as new as the row.
_NEW = {"history_versions": "epoch", "heads": "stamp"}
# Columns that say when a row was written, in seconds since 1970 or as ISO 8601.
_WRITTEN_AT = ("stored_at", "said_at")
_ROWS = 1_000
# Whoever reads the store is waited for so long.
_COMPACT_S = 30.0


def user_tables() -> list[Table]:
    """Tables of which each row belongs to one user."""
    return [table for table in METADATA.sorted_tables if tuple(table.c.keys()[:2]) == _KEY]


class SqlUserRecords:
    """Tables of a database as `UserRecords`, which documents the methods.

    Args:
        database: Database with the tables of this version.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def rows(self, key: UserKey) -> dict[str, list[Row]]:
        found = dict[str, list[Row]]()
        with self._database.reading() as db:
            for table in user_tables():
                columns = [column for column in table.c if column.name not in _KEY]
                # History by its place; other tables in the order of their keys.
                order = [table.c[name] for name in ("place",) if name in table.c] or list(table.primary_key)
                query = select(*columns).where(*of(table, key)).order_by(*order)
                found[table.name] = [dict(row) for row in db.execute(query).mappings()]
        return found

    def counts(self, key: UserKey) -> dict[str, int]:
        with self._database.reading() as db:
            return {
                table.name: db.execute(select(func.count()).select_from(table).where(*of(table, key))).scalar_one()
                for table in user_tables()
            }

    def put_rows(self, key: UserKey, tables: Mapping[str, Sequence[Row]]) -> dict[str, int]:
        known = {table.name: table for table in user_tables()}
        for name, rows in tables.items():
            wrong = {column for row in rows for column in row if name in known and column not in known[name].c}
            if name not in known or wrong:
                what = f"column(s) {sorted(wrong)} of {name}" if name in known else f"table {name!r}"
                raise HydraError(f"{what}: this store has none; the rows may be of a newer version of hydra-ray")
        with self._database.writing() as db:
            turns.take(db, [key])
            for table in user_tables():
                if table.name in OUTLIVE:
                    db.execute(delete(table).where(*of(table, key)))
                elif db.execute(select(table.c.user).where(*of(table, key)).limit(1)).first() is not None:
                    who = f"user {key.user!r} of tenant {key.tenant!r}"
                    raise HydraError(f"{who}: something is known of them already ({table.name}): delete them first")
            for table in user_tables():
                rows = [{**row, **key._asdict()} for row in tables.get(table.name, ())]
                if table.name in _NEW:
                    rows = [{**row, _NEW[table.name]: uuid.uuid4().hex} for row in rows]
                if rows:
                    db.execute(insert(table), rows)
        return {name: len(rows) for name, rows in tables.items()}

    def head_entries(self, key: UserKey) -> list[HeadEntry]:
        c = HEADS.c
        mine = (*of(HEADS, key), c.head.is_not(None))
        query = select(c.version, c.role, c.written_at).where(*mine).order_by(c.version, c.role)
        with self._database.reading() as db:
            return [HeadEntry(*row) for row in db.execute(query)]

    def is_personalised(self, key: UserKey) -> bool:
        query = select(USER_PREFERENCES.c.personalisation).where(*of(USER_PREFERENCES, key))
        return self._database.read(lambda db: db.execute(query).scalar()) is not False

    def personalise(self, key: UserKey, wanted: bool) -> None:
        def work(db: Connection) -> None:
            turns.take(db, [key])
            db.execute(delete(USER_PREFERENCES).where(*of(USER_PREFERENCES, key)))
            if not wanted:
                profiles.forget_of_others(db, key)
                row = {**key._asdict(), "personalisation": False, "said_at": time.time()}
                db.execute(insert(USER_PREFERENCES), [row])

        self._database.write(work)

    def users(self) -> list[UserKey]:
        found = set[UserKey]()
        with self._database.reading() as db:
            for table in user_tables():
                found |= {UserKey(*row) for row in db.execute(select(table.c.tenant, table.c.user).distinct())}
        return sorted(found)

    def stored_items(self) -> list[StoredItem]:
        found = list[StoredItem]()
        with self._database.reading() as db:
            for table in user_tables():
                if not {"id", "ts"} <= set(table.c.keys()):
                    continue
                c = table.c
                written = next((c[name] for name in _WRITTEN_AT if name in c), null())
                for tenant, user, item_id, ts, at in db.execute(select(c.tenant, c.user, c.id, c.ts, written)):
                    found.append(StoredItem(UserKey(tenant, user), item_id, ts, _seconds(at)))
        return sorted(found, key=lambda one: (one.key, one.item_id))

    def texts(self) -> Iterator[StoredText]:
        for table in user_tables():
            columns = [one for one in table.c if one.name not in _KEY and isinstance(one.type, String)]
            if not columns:
                continue
            with self._database.reading() as db:
                query = select(table.c.tenant, table.c.user, *columns).execution_options(yield_per=_ROWS)
                for tenant, user, *values in db.execute(query):
                    for column, text in zip(columns, values, strict=True):
                        if text:
                            yield StoredText(UserKey(tenant, user), table.name, column.name, text)

    def compact(self) -> None:
        self._database.compact()
        if not self._database.empty_wal(_COMPACT_S):
            raise StoreError("others read the store: what was deleted stays in its write-ahead log; try again")


def _seconds(at: float | str | None) -> float | None:
    """Return seconds since 1970 of a time that a table keeps as such or as ISO 8601."""
    return datetime.fromisoformat(at).timestamp() if isinstance(at, str) else at
