"""What is new of users since their heads were written: whose heads are due to be fitted again is read from this."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from sqlalchemy import and_, func, select

from hydra_ray.records import UserKey
from hydra_ray.store.database import Database
from hydra_ray.store.rows import of, of_base
from hydra_ray.store.tables import FEEDBACK_EVENTS, HEADS, HISTORY


class News:
    """Counts of history items and feedback events that are newer than a user's head.

    Args:
        database: Database with the tables of this version.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, key: UserKey, version: str, role: str) -> int:
        """Return how much of a user is newer than the head; where there is none, all of it is."""
        head = select(HEADS.c.written_at).where(*of(HEADS, key), *of_base(HEADS, version, role))
        items = select(HISTORY.c.id, HISTORY.c.stored_at).where(*of(HISTORY, key))
        events = select(FEEDBACK_EVENTS.c.id, FEEDBACK_EVENTS.c.said_at).where(*of(FEEDBACK_EVENTS, key))
        with self._database.reading() as db:
            since_s = db.execute(head).scalar() or 0.0
            new = {item for item, stored_at in db.execute(items) if (stored_at or 0.0) > since_s}
            # An event and the item that it made are one.
            new |= {item for item, said_at in db.execute(events) if _seconds(said_at) > since_s}
        return len(new)

    def due(self, version: str, role: str, least: int) -> list[UserKey]:
        """Return the users of all tenants of whom at least so much is new, in order of their keys.

        Looked at is who has a head of the version, and who ever said something of an answer: records of people whom
        nobody fitted are not fitted by the way.
        """
        w, h, e = HEADS.c, HISTORY.c, FEEDBACK_EVENTS.c
        mine = and_(h.tenant == w.tenant, h.user == w.user)
        newer = select(h.tenant, h.user, func.count()).select_from(HISTORY.join(HEADS, mine))
        newer = newer.where(*of_base(HEADS, version, role), h.stored_at > func.coalesce(w.written_at, 0.0))
        heads = select(w.tenant, w.user, w.written_at).where(*of_base(HEADS, version, role))
        with self._database.reading() as db:
            written = {UserKey(tenant, user): at or 0.0 for tenant, user, at in db.execute(heads)}
            counts = {
                UserKey(tenant, user): number for tenant, user, number in db.execute(newer.group_by(h.tenant, h.user))
            }
            events = Counter(
                key
                for key, said_at in (
                    (UserKey(*row[:2]), row[2]) for row in db.execute(select(e.tenant, e.user, e.said_at))
                )
                if _seconds(said_at) > written.get(key, 0.0)
            )
        # What was said made items, so both may count the same: exactly who is due is asked of each.
        likely = {key for key in {*counts, *events} if counts.get(key, 0) + events[key] >= least}
        return sorted(key for key in likely if self.of(key, version, role) >= least)


def _seconds(said_at: str) -> float:
    return datetime.fromisoformat(said_at).timestamp()
