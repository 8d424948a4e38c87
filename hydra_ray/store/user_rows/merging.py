"""Histories of records merged with those in the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, delete, select

from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.store import histories as stored_histories
from hydra_ray.store.rows import among
from hydra_ray.store.tables import FEEDBACK_EVENTS, HISTORY
from hydra_ray.store.types import MergeReport
from hydra_ray.store.user_rows import events as stored_events
from hydra_ray.store.user_rows import tombstones
from hydra_ray.store.user_rows.together import brought_together, deleted_by_user


def merge(db: Connection, histories: Mapping[UserKey, Sequence[HistoryItem]], replace: bool) -> MergeReport:
    """Brings some users' records together with what is there, as many users as one statement takes.

    Others who would write of these users wait until the transaction ends: who calls this has seen to that.
    """
    keys = sorted(histories)
    deleted = deleted_by_user(tombstones.find(db, keys))
    events = {key: {item for item, _ in seen} for key, seen in stored_events.seen(db, keys).items()}
    report, changed = MergeReport(), dict[UserKey, list[HistoryItem]]()
    there = _histories(db, keys)
    for key in keys:
        had = there.get(key, [])
        merged = brought_together(key, had, histories[key], events.get(key, ()), deleted.get(key), replace)
        report += merged.report
        if merged.items != had:
            changed[key] = merged.items
    if changed:
        stored_histories.replace(db, changed)
    if report.events:
        db.execute(delete(FEEDBACK_EVENTS).where(among(FEEDBACK_EVENTS, list(report.losers))))
    return report


def _histories(db: Connection, keys: Sequence[UserKey]) -> dict[UserKey, list[HistoryItem]]:
    c, found = HISTORY.c, dict[UserKey, list[HistoryItem]]()
    columns = c.id, c.input, c.output, c.ts, c.item_id, c.context, c.rejected
    query = select(c.tenant, c.user, *columns).where(among(HISTORY, keys)).order_by(c.tenant, c.user, c.place)
    for tenant, user, *values in db.execute(query):
        found.setdefault(UserKey(tenant, user), []).append(HistoryItem(*values))
    return found
