"""Feedback events in their table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, insert, select

from hydra_ray.records import UserKey
from hydra_ray.store.rows import among, chunks, of
from hydra_ray.store.tables import FEEDBACK_EVENTS
from hydra_ray.store.types import FeedbackEvent


def now() -> str:
    """Return the server's time, ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def put(db: Connection, key: UserKey, event: FeedbackEvent) -> None:
    """Writes an event with the server's time; it takes the place of the former one of its id."""
    remove(db, key, event.item_id)
    votes = event.votes or (None,) * len(event.candidates)
    row = {
        **key._asdict(),
        "id": event.item_id,
        "input": event.input,
        "said": event.said,
        "text": event.text,
        # Texts as they are: who looks for one in the database finds it.
        "candidates": json.dumps(list(zip(event.candidates, votes, strict=True)), ensure_ascii=False),
        "history": json.dumps(event.history, ensure_ascii=False),
        "ts": event.ts,
        "completion_id": event.completion_id,
        "method": event.method,
        "propensity": event.propensity,
        "version": event.version,
        "said_at": event.said_at or now(),
    }
    db.execute(insert(FEEDBACK_EVENTS), [row])


def remove(db: Connection, key: UserKey, item_id: str) -> bool:
    """Removes the event of an id; tells whether there was one."""
    mine = (*of(FEEDBACK_EVENTS, key), FEEDBACK_EVENTS.c.id == item_id)
    return bool(db.execute(delete(FEEDBACK_EVENTS).where(*mine)).rowcount)


def find(db: Connection, keys: Iterable[UserKey]) -> dict[UserKey, list[FeedbackEvent]]:
    """Return the events of some users in the order in which they were said; who said nothing is left out."""
    found = dict[UserKey, list[FeedbackEvent]]()
    for some in chunks(keys):
        _read(db, among(FEEDBACK_EVENTS, some), found)
    return found


def seen(db: Connection, keys: Sequence[UserKey]) -> dict[UserKey, tuple[tuple[str, str], ...]]:
    """Return ids and times of the events of some users, as many as one statement takes, in order of ids."""
    c, found = FEEDBACK_EVENTS.c, dict[UserKey, list[tuple[str, str]]]()
    for tenant, user, item, at in db.execute(
        select(c.tenant, c.user, c.id, c.said_at).where(among(FEEDBACK_EVENTS, keys))
    ):
        found.setdefault(UserKey(tenant, user), []).append((item, at))
    # Databases order texts in ways of their own.
    return {key: tuple(sorted(events)) for key, events in found.items()}


def _read(
    db: Connection, which: ColumnElement[bool], found: dict[UserKey, list[FeedbackEvent]]
) -> dict[UserKey, list[FeedbackEvent]]:
    c = FEEDBACK_EVENTS.c
    query = select(FEEDBACK_EVENTS).where(which).order_by(c.tenant, c.user, c.said_at, c.id)
    for row in db.execute(query).mappings():
        found.setdefault(UserKey(row["tenant"], row["user"]), []).append(_event(row))
    return found


def _event(row: Mapping[str, Any] | Any) -> FeedbackEvent:
    candidates = json.loads(row["candidates"])
    return FeedbackEvent(
        row["id"],
        row["input"],
        row["said"],
        row["text"],
        tuple(text for text, _ in candidates),
        row["ts"],
        tuple(votes for _, votes in candidates if votes is not None),
        row["completion_id"],
        row["method"],
        row["propensity"],
        tuple(json.loads(row["history"])),
        row["version"],
        row["said_at"],
    )
