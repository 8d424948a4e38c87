"""Tombstones in their table: what was deleted and stays so."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, delete, insert, select

from hydra_ray.records import UserKey
from hydra_ray.store.rows import among, chunks, of
from hydra_ray.store.tables import TOMBSTONES
from hydra_ray.store.types import Tombstone
from hydra_ray.store.user_rows.events import now


def leave(db: Connection, key: UserKey, item: str) -> None:
    """Marks an item, or with `WHOLE_USER` a user, as deleted now."""
    lift(db, key, item)
    db.execute(insert(TOMBSTONES), [{**key._asdict(), "item": item, "at": now()}])


def lift(db: Connection, key: UserKey, item: str) -> bool:
    """Removes a tombstone; tells whether there was one."""
    mine = (*of(TOMBSTONES, key), TOMBSTONES.c.item == item)
    return bool(db.execute(delete(TOMBSTONES).where(*mine)).rowcount)


def of_tenant(db: Connection, tenant: str) -> list[Tombstone]:
    """Return all tombstones of a tenant, users and items in order."""
    c = TOMBSTONES.c
    query = select(c.user, c.item, c.at).where(c.tenant == tenant).order_by(c.user, c.item)
    return [Tombstone(UserKey(tenant, user), item, at) for user, item, at in db.execute(query)]


def find(db: Connection, keys: Iterable[UserKey]) -> dict[UserKey, set[str]]:
    """Return the deleted items of some users, `WHOLE_USER` among them for a deleted user; others are left out."""
    c, found = TOMBSTONES.c, dict[UserKey, set[str]]()
    for some in chunks(keys):
        for tenant, user, item in db.execute(select(c.tenant, c.user, c.item).where(among(TOMBSTONES, some))):
            found.setdefault(UserKey(tenant, user), set()).add(item)
    return found
