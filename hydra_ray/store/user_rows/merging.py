"""Histories of records brought together with those that are there, so that neither forgets the other."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete

from hydra_ray.dates import in_order
from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.store import histories as stored_histories
from hydra_ray.store.rows import among
from hydra_ray.store.tables import FEEDBACK_EVENTS
from hydra_ray.store.types import WHOLE_USER, MergeReport
from hydra_ray.store.user_rows import events as stored_events
from hydra_ray.store.user_rows import tombstones


@dataclass(frozen=True, slots=True)
class Merged:
    """One user's history, once both were brought together.

    Attributes:
        items: The items, in order.
        report: What became of them.
    """

    items: list[HistoryItem]
    report: MergeReport


def brought_together(
    key: UserKey,
    had: Sequence[HistoryItem],
    records: Sequence[HistoryItem],
    events: Collection[str],
    deleted: Collection[str],
    replace: bool,
) -> Merged:
    """Bring one user's records together with the history that is there.

    Items of the records are added or updated by id. What came online stays, and of an item that a feedback event is
    about the event's word counts: a rejected one is not added again. New items stand where their dates say; where all
    are later than what is there, the history only grows.

    Args:
        key: The user.
        had: History that is there, in order.
        records: Items of the records, in order, with ids that differ.
        events: Ids of the user's feedback events.
        deleted: Ids of deleted items, and `WHOLE_USER` where the user was deleted.
        replace: Whether the records take the place of all that is there, feedback events included. What was deleted
            stays away in any case.
    """
    if WHOLE_USER in deleted:
        return Merged(list(had), MergeReport(deleted_users=1))
    known = {item.id: item for item in had}
    allowed = [item for item in records if item.id not in deleted]
    left_out = len(records) - len(allowed)
    if replace:
        gone = len(known.keys() - {item.id for item in allowed})
        lost = {key: gone + len(events)} if gone or events else {}
        items = allowed
        kept = 0
    else:
        allowed = [item for item in allowed if item.id not in events]
        gone, lost = 0, {}
        named = {item.id for item in allowed}
        kept = sum(item.id not in named for item in had)
        newer = {item.id: item for item in allowed}
        items = [newer.get(item.id, item) for item in had]
        items += [item for item in allowed if item.id not in known]
        if not kept:
            # The records' own order, which dates alone do not tell.
            items = allowed
        elif items != list(had):
            items = in_order(items, lambda item: item.ts)
    added = sum(item.id not in known for item in allowed)
    updated = sum(item.id in known and item != known[item.id] for item in allowed)
    changed = int(items != list(had) or bool(lost))
    return Merged(
        items, MergeReport(changed, added, updated, kept, gone, len(events) if replace else 0, 0, left_out, lost)
    )


def merge(db: Connection, histories: Mapping[UserKey, Sequence[HistoryItem]], replace: bool) -> MergeReport:
    """Brings some users' records together with what is there, as many users as one statement takes.

    Others who would write of these users wait until the transaction ends: who calls this has seen to that.
    """
    keys = sorted(histories)
    deleted = tombstones.find(db, keys)
    events = {key: {item for item, _ in seen} for key, seen in stored_events.seen(db, keys).items()}
    report, changed = MergeReport(), dict[UserKey, list[HistoryItem]]()
    for key in keys:
        had = stored_histories.find(db, key)
        merged = brought_together(key, had, histories[key], events.get(key, ()), deleted.get(key, ()), replace)
        report += merged.report
        if merged.items != list(had):
            changed[key] = merged.items
    if changed:
        stored_histories.replace(db, changed)
    if report.events:
        db.execute(delete(FEEDBACK_EVENTS).where(among(FEEDBACK_EVENTS, list(report.losers))))
    return report
