"""Histories of users in tables, and the version that tells what changed in one since it was read."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, bindparam, delete, func, insert, select, update

from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.store import profiles
from hydra_ray.store.rows import among, chunks, of
from hydra_ray.store.tables import HISTORY, HISTORY_VERSIONS
from hydra_ray.store.types import HistoryChange, HistoryVersion
from hydra_ray.store.user_rows import encodings

_COLUMNS = ("id", "input", "output", "ts", "item_id", "context", "rejected")


def version(db: Connection, key: UserKey) -> HistoryVersion | None:
    """Return the version of a user's history; None where none is kept."""
    row = db.execute(_version_of(key)).one_or_none()
    return None if row is None else HistoryVersion(*row)


def lock(db: Connection, key: UserKey) -> HistoryVersion | None:
    """Return the version, and have whoever else would change the history wait until the transaction ends."""
    # SQLite, where the transaction has the only write lock, ignores it.
    row = db.execute(_version_of(key).with_for_update()).one_or_none()
    return None if row is None else HistoryVersion(*row)


def change(db: Connection, key: UserKey, since: HistoryVersion | None) -> HistoryChange:
    """Return the difference between a user's history and an earlier version; None reads all of it."""
    c, now = HISTORY.c, version(db, key)
    if since is None or now is None or now.epoch != since.epoch:
        return HistoryChange(now, True, _items(db, key))
    added = _items(db, key, c.place >= since.next_place)
    if now.removed == since.removed:
        return HistoryChange(now, False, added)
    places = db.execute(select(c.place).where(*of(HISTORY, key), c.place < since.next_place)).scalars()
    return HistoryChange(now, False, added, frozenset(places))


def find(db: Connection, key: UserKey) -> tuple[HistoryItem, ...]:
    """One user's history, oldest first."""
    return tuple(item for _, item in _items(db, key))


def item(db: Connection, key: UserKey, item_id: str) -> HistoryItem | None:
    """One item of a user's history."""
    found = _items(db, key, HISTORY.c.id == item_id)
    return found[0][1] if found else None


def of_tenant(db: Connection, tenant: str) -> dict[UserKey, list[HistoryItem]]:
    """The histories of a tenant's users, users in order of their keys."""
    c, found = HISTORY.c, dict[UserKey, list[HistoryItem]]()
    query = select(c.user, *(c[name] for name in _COLUMNS)).where(c.tenant == tenant).order_by(c.user, c.place)
    for user, *values in db.execute(query):
        found.setdefault(UserKey(tenant, user), []).append(HistoryItem(*values))
    return found


def of_users(db: Connection, keys: Sequence[UserKey]) -> dict[UserKey, HistoryChange]:
    """The whole histories of some users, with their versions."""
    c, v = HISTORY.c, HISTORY_VERSIONS.c
    found: dict[UserKey, HistoryChange] = {key: HistoryChange(None, True, []) for key in keys}
    for some in chunks(found):
        versions = select(v.tenant, v.user, v.epoch, v.next_place, v.removed).where(among(HISTORY_VERSIONS, some))
        for tenant, user, *version in db.execute(versions):
            found[UserKey(tenant, user)] = HistoryChange(HistoryVersion(*version), True, [])
        items = select(c.tenant, c.user, c.place, *(c[name] for name in _COLUMNS)).where(among(HISTORY, some))
        for tenant, user, place, *values in db.execute(items.order_by(c.tenant, c.user, c.place)):
            found[UserKey(tenant, user)].added.append((place, HistoryItem(*values)))
    return found


def replace(db: Connection, histories: Mapping[UserKey, Sequence[HistoryItem]]) -> None:
    """Replaces some users' histories, as many as one statement takes; what is there already is not written again."""
    c, keys = HISTORY.c, list(histories)
    known, had = _versions(db, keys), dict[UserKey, list[HistoryItem]]()
    query = select(c.tenant, c.user, *(c[name] for name in _COLUMNS)).where(among(HISTORY, keys))
    for tenant, user, *values in db.execute(query.order_by(c.tenant, c.user, c.place)):
        had.setdefault(UserKey(tenant, user), []).append(HistoryItem(*values))
    # Who only gained items keeps the version's epoch, and with it what was made of the history.
    grown = {key for key in keys if key in known and had.get(key, []) == list(histories[key][: len(had.get(key, ()))])}
    renewed = [key for key in keys if key not in grown and (histories[key] or key in had)]
    stored_at = _stored_at(db, renewed) if renewed else {}
    if renewed:
        for key in renewed:
            stay = {item.id: _content(item) for item in histories[key]}
            gone = [item.id for item in had.get(key, ()) if stay.get(item.id) != _content(item)]
            encodings.forget(db, key, gone)
        for table in (HISTORY, HISTORY_VERSIONS):
            db.execute(delete(table).where(among(table, renewed)))
        known |= {key: HistoryVersion(uuid.uuid4().hex, 0, 0) for key in renewed}
        db.execute(insert(HISTORY_VERSIONS), [{**key._asdict(), **known[key]._asdict()} for key in renewed])
    added = {key: histories[key][len(had.get(key, ())) :] for key in grown} | {key: histories[key] for key in renewed}
    _insert(db, known, {key: items for key, items in added.items() if items}, stored_at)


def append(db: Connection, key: UserKey, item: HistoryItem) -> None:
    """Adds an item at the end; one of the same id goes, and with it all profiles that may tell of its text."""
    known = lock(db, key)
    if known is None:
        known = _put_version(db, key, None, HistoryVersion(uuid.uuid4().hex, _next_place(db, key), 0))
    old = _remove(db, key, known, item.id)
    if old is not None:
        known = known._replace(removed=known.removed + 1)
        if _content(old) != _content(item):
            profiles.forget(db, key)
    _insert(db, {key: known}, {key: [item]})


def remove(db: Connection, key: UserKey, item_id: str) -> bool:
    """Removes an item and all profiles that may tell of it; tells whether there was one."""
    old = _remove(db, key, lock(db, key), item_id)
    if old is not None:
        profiles.forget(db, key)
    return old is not None


def _content(item: HistoryItem) -> tuple[str, ...]:
    return item.input, item.output, item.context


def _items(db: Connection, key: UserKey, *which: ColumnElement[bool]) -> list[tuple[int, HistoryItem]]:
    c = HISTORY.c
    query = select(c.place, *(c[name] for name in _COLUMNS)).where(*of(HISTORY, key), *which).order_by(c.place)
    return [(place, HistoryItem(*values)) for place, *values in db.execute(query)]


def _version_of(key: UserKey) -> Select[Any]:
    c = HISTORY_VERSIONS.c
    return select(c.epoch, c.next_place, c.removed).where(*of(HISTORY_VERSIONS, key))


def _put_version(db: Connection, key: UserKey, known: HistoryVersion | None, now: HistoryVersion) -> HistoryVersion:
    if known is None:
        db.execute(insert(HISTORY_VERSIONS).values(**key._asdict(), **now._asdict()))
    elif now != known:
        db.execute(update(HISTORY_VERSIONS).where(*of(HISTORY_VERSIONS, key)).values(**now._asdict()))
    return now


def _next_place(db: Connection, key: UserKey) -> int:
    # A 0.1.0 that is still running may have written items without a version.
    last = db.execute(select(func.max(HISTORY.c.place)).where(*of(HISTORY, key))).scalar()
    return 0 if last is None else last + 1


def _remove(db: Connection, key: UserKey, known: HistoryVersion | None, item_id: str) -> HistoryItem | None:
    """Remove an item and return it; None where there was none."""
    old = item(db, key, item_id)
    if old is not None:
        db.execute(delete(HISTORY).where(*of(HISTORY, key), HISTORY.c.id == item_id))
        encodings.forget(db, key, [item_id])
        if known is not None:
            _put_version(db, key, known, known._replace(removed=known.removed + 1))
    return old


def _insert(
    db: Connection,
    known: Mapping[UserKey, HistoryVersion],
    added: Mapping[UserKey, Sequence[HistoryItem]],
    stored_at: Mapping[tuple[UserKey, str], float | None] | None = None,
) -> None:
    if not added:
        return
    now = time.time()
    rows = [
        {
            "tenant": key.tenant,
            "user": key.user,
            "place": place,
            "id": item.id,
            "input": item.input,
            "output": item.output,
            "ts": item.ts,
            "item_id": item.item_id,
            "context": item.context,
            "rejected": item.rejected,
            "stored_at": (stored_at or {}).get((key, item.id), now),
        }
        for key, items in added.items()
        for place, item in enumerate(items, known[key].next_place)
    ]
    db.execute(insert(HISTORY), rows)
    c = HISTORY_VERSIONS.c
    mine = c.tenant == bindparam("of_tenant"), c.user == bindparam("of_user")
    grown = [
        {"of_tenant": key.tenant, "of_user": key.user, "next_place": known[key].next_place + len(items)}
        for key, items in added.items()
    ]
    db.execute(update(HISTORY_VERSIONS).where(*mine).values(next_place=bindparam("next_place")), grown)


def _stored_at(db: Connection, keys: Sequence[UserKey]) -> dict[tuple[UserKey, str], float | None]:
    """Return when items were first written: an item does not grow younger because the history is written anew."""
    c = HISTORY.c
    rows = db.execute(select(c.tenant, c.user, c.id, c.stored_at).where(among(HISTORY, keys)))
    return {(UserKey(tenant, user), item_id): stored_at for tenant, user, item_id, stored_at in rows}


def _versions(db: Connection, keys: Sequence[UserKey]) -> dict[UserKey, HistoryVersion]:
    """Return several users' versions, and have others wait as `lock` does."""
    c = HISTORY_VERSIONS.c
    query = select(c.tenant, c.user, c.epoch, c.next_place, c.removed).where(among(HISTORY_VERSIONS, keys))
    rows = db.execute(query.order_by(c.tenant, c.user).with_for_update())
    return {UserKey(tenant, user): HistoryVersion(*version) for tenant, user, *version in rows}
