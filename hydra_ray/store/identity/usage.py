"""What was used of quotas a day, kept so that a restart does not forget it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import Connection, delete, insert, select

from hydra_ray.store.database import Database
from hydra_ray.store.rows import KEYS_AT_ONCE
from hydra_ray.store.tables import USAGE


class Used(NamedTuple):
    """What a subject used: a tenant, a key or a user."""

    requests: int
    tokens: int


class UsageStore:
    """Counts by day and subject.

    Args:
        database: Database with the tables of this version.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def of_day(self, day: str) -> dict[str, Used]:
        """Return what was used on a day, by subject.

        Args:
            day: Day in UTC, e.g. 2026-03-01.
        """
        c = USAGE.c
        query = select(c.subject, c.requests, c.tokens).where(c.day == day)
        rows = self._database.read(lambda db: db.execute(query).all())
        return {subject: Used(requests, tokens) for subject, requests, tokens in rows}

    def put(self, day: str, used: Mapping[str, Used]) -> None:
        """Keeps what subjects have used of a day so far, in place of what was kept, and drops former days."""
        c = USAGE.c

        def work(db: Connection) -> None:
            db.execute(delete(USAGE).where(c.day < day))
            subjects = list(used)
            for start in range(0, len(subjects), KEYS_AT_ONCE):
                some = subjects[start : start + KEYS_AT_ONCE]
                db.execute(delete(USAGE).where(c.day == day, c.subject.in_(some)))
                db.execute(
                    insert(USAGE), [{"day": day, "subject": subject, **used[subject]._asdict()} for subject in some]
                )

        self._database.write(work)
