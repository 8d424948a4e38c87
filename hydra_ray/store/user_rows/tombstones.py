"""Tombstones in their table: what was deleted and stays so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import ColumnElement, Connection, delete, insert, select

from hydra_ray.records import UserKey
from hydra_ray.store.rows import among, of
from hydra_ray.store.tables import TOMBSTONES
from hydra_ray.store.types import Tombstone
from hydra_ray.store.user_rows.events import now


def leave(db: Connection, key: UserKey, item: str, digest: str = "") -> None:
    """Marks an item, or with `WHOLE_USER` a user, as deleted now; the digest is of what the item said."""
    put(db, [Tombstone(key, item, now(), digest)])


def put(db: Connection, tombstones: Iterable[Tombstone]) -> None:
    """Writes tombstones of another store, replacing those of the same users and items."""
    for one in tombstones:
        lift(db, one.key, one.item)
        db.execute(insert(TOMBSTONES), [{**one.key._asdict(), "item": one.item, "at": one.at, "digest": one.digest}])


def lift(db: Connection, key: UserKey, item: str) -> bool:
    """Removes a tombstone; tells whether there was one."""
    mine = (*of(TOMBSTONES, key), TOMBSTONES.c.item == item)
    return bool(db.execute(delete(TOMBSTONES).where(*mine)).rowcount)


def of_tenant(db: Connection, tenant: str) -> list[Tombstone]:
    """Return all tombstones of a tenant."""
    return _read(db, TOMBSTONES.c.tenant == tenant)


def find(db: Connection, keys: Sequence[UserKey]) -> list[Tombstone]:
    """Return the tombstones of some users, as many as one statement takes."""
    return _read(db, among(TOMBSTONES, keys))


def _read(db: Connection, which: ColumnElement[bool]) -> list[Tombstone]:
    c = TOMBSTONES.c
    query = select(c.tenant, c.user, c.item, c.at, c.digest).where(which)
    # Databases order texts in ways of their own.
    return sorted(Tombstone(UserKey(tenant, user), *about) for tenant, user, *about in db.execute(query))
