"""One user's history, observations and head in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, delete, insert, select

from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.store import histories
from hydra_ray.store.rows import of, of_base
from hydra_ray.store.tables import HEADS, OBSERVATIONS
from hydra_ray.store.types import WHOLE_USER, FeedbackEvent
from hydra_ray.store.user_rows import events as stored_events
from hydra_ray.store.user_rows import tombstones
from hydra_ray.store.user_rows.fitted import head as read_head
from hydra_ray.store.user_rows.fitted import head_row, put_observations

if TYPE_CHECKING:
    from hydra_ray.models.heads import Head


class SqlObservationUpdate:
    """Transaction of the database as an `ObservationUpdate`, which documents the methods."""

    def __init__(self, db: Connection, key: UserKey, version: str, role: str) -> None:
        self._db, self._key, self._version, self._role = db, key, version, role

    def put(self, item_id: str, observed: bytes) -> None:
        put_observations(self._db, self._key, self._version, self._role, {item_id: observed}, replace=False)

    def remove(self, item_id: str) -> bool:
        mine = (*of(OBSERVATIONS, self._key), *of_base(OBSERVATIONS, self._version, self._role))
        return bool(self._db.execute(delete(OBSERVATIONS).where(*mine, OBSERVATIONS.c.item == item_id)).rowcount)

    def put_event(self, event: FeedbackEvent) -> None:
        stored_events.put(self._db, self._key, event)

    def append_history(self, item: HistoryItem) -> None:
        append(self._db, self._key, item)

    def delete_item(self, item_id: str) -> bool:
        return histories.remove(self._db, self._key, item_id)

    def all(self) -> list[bytes]:
        c = OBSERVATIONS.c
        mine = (*of(OBSERVATIONS, self._key), *of_base(OBSERVATIONS, self._version, self._role))
        return list(self._db.execute(select(c.told).where(*mine).order_by(c.item)).scalars())

    def head(self) -> Head | None:
        mine = (*of(HEADS, self._key), *of_base(HEADS, self._version, self._role))
        blob = self._db.execute(select(HEADS.c.head).where(*mine)).scalar()
        return None if blob is None else read_head(blob)

    def put_head(self, head: Head | None) -> None:
        mine = (*of(HEADS, self._key), *of_base(HEADS, self._version, self._role))
        self._db.execute(delete(HEADS).where(*mine))
        if head is not None:
            self._db.execute(insert(HEADS), [head_row(self._key, self._version, self._role, head, "")])


def append(db: Connection, key: UserKey, item: HistoryItem) -> None:
    """Adds an item at the end of a history, also one that was deleted before."""
    histories.append(db, key, item)
    # Who says it again wants it there.
    if item.id != WHOLE_USER:
        tombstones.lift(db, key, item.id)
