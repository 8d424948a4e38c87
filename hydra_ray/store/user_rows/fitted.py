"""Rows of what was fitted of users: heads and observations."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sqlalchemy import Connection, delete, insert

from hydra_ray.records import UserKey
from hydra_ray.store import histories
from hydra_ray.store.rows import among, of, of_base
from hydra_ray.store.tables import HEADS, OBSERVATIONS
from hydra_ray.store.types import NOTHING_SEEN, WHOLE_USER, FittedUser, Seen, is_as_seen
from hydra_ray.store.user_rows import events as stored_events
from hydra_ray.store.user_rows import tombstones

if TYPE_CHECKING:
    from hydra_ray.models.heads import Head


def put_fitted(db: Connection, version: str, role: str, fitted: Mapping[UserKey, FittedUser]) -> set[UserKey]:
    """Write what was fitted of users who are as they were then; return the others."""
    keys = list(fitted)
    events = stored_events.seen(db, keys)
    now = {key: Seen(histories.version(db, key), events.get(key, ())) for key in keys}
    # Who was deleted before the fit read them looked empty to it, and still does.
    empty = [key for key in keys if now[key] == NOTHING_SEEN]
    deleted = {one.key for one in tombstones.find(db, empty) if one.item == WHOLE_USER} if empty else set()
    same = [key for key in keys if key not in deleted and is_as_seen(fitted[key].seen, now[key])]
    for key in same:
        put_observations(db, key, version, role, fitted[key].observations, replace=True)
    rows = [head_row(key, version, role, fitted[key].head, fitted[key].fingerprint) for key in same]
    if rows:
        db.execute(delete(HEADS).where(*of_base(HEADS, version, role), among(HEADS, same)))
        db.execute(insert(HEADS), rows)
    return set(keys).difference(same)


def put_observations(
    db: Connection, key: UserKey, version: str, role: str, observed: Mapping[str, bytes], replace: bool
) -> None:
    """Write observations of a user, in place of all that there were or beside those of other items."""
    mine = (*of(OBSERVATIONS, key), *of_base(OBSERVATIONS, version, role))
    db.execute(delete(OBSERVATIONS).where(*mine, *(() if replace else (OBSERVATIONS.c.item.in_(list(observed)),))))
    if observed:
        about = {**key._asdict(), "version": version, "role": role}
        db.execute(insert(OBSERVATIONS), [{**about, "item": item, "told": blob} for item, blob in observed.items()])


def head_row(key: UserKey, version: str, role: str, head: Head | None, fingerprint: str) -> dict[str, object]:
    """Return the row of a head written now; None is a user without one."""
    about = {**key._asdict(), "version": version, "role": role, "mark": fingerprint}
    blob = None if head is None else head.to_bytes()
    return {**about, "stamp": uuid.uuid4().hex, "head": blob, "written_at": time.time()}


def head(blob: bytes) -> Head:
    """Return the head that a row holds."""
    # Imported here: it takes torch, which most who open a store do not need.
    from hydra_ray.models.heads.head import Head

    return Head.from_bytes(blob)
