"""The completion log: each chat completion of the last days, with what users said of it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, or_, select, update

from hydra_ray.records import UserKey
from hydra_ray.store import turns
from hydra_ray.store.completions.records import Completion, Statement
from hydra_ray.store.completions.rows import as_completion, as_row, statement_columns
from hydra_ray.store.database import Database
from hydra_ray.store.rows import among, of
from hydra_ray.store.tables import COMPLETIONS, TOMBSTONES
from hydra_ray.store.types import WHOLE_USER

# Rows of one transaction, and of one block that is read.
_ROWS_AT_ONCE = 500
_NEVER = float("-inf")


class CompletionLog:
    """Completions in their table, which belong to their users: exports hold them, and deletions remove them.

    Args:
        database: Database with the tables of this version.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, completions: Iterable[Completion]) -> int:
        """Adds completions; one that is there already stays as it is. Safe to run again with the same ones.

        What a user asked before they, or the item that came of it, were deleted does not come back by it.

        Returns:
            Number of completions that were added.

        Raises:
            StoreError: The database does not answer.
        """
        # One of each id: a batch that was put together twice is no error.
        rows = list({(one.tenant, one.id): one for one in completions}.values())
        parts = [rows[at : at + _ROWS_AT_ONCE] for at in range(0, len(rows), _ROWS_AT_ONCE)]
        return sum(self._database.write(lambda db, part=part: _add(db, part)) for part in parts)  # type: ignore[misc]

    def find(self, tenant: str, completion_id: str) -> Completion | None:
        """Return a completion of a tenant; None where there is none of that id."""
        c = COMPLETIONS.c
        query = select(COMPLETIONS).where(c.tenant == tenant, c.id == completion_id)
        row = self._database.read(lambda db: db.execute(query).mappings().first())
        return None if row is None else as_completion(row)

    def of_user(self, key: UserKey) -> list[Completion]:
        """Return a user's completions, oldest first."""
        c = COMPLETIONS.c
        query = select(COMPLETIONS).where(*of(COMPLETIONS, key)).order_by(c.created_s, c.id)
        return [as_completion(row) for row in self._database.read(lambda db: db.execute(query).mappings().all())]

    def between(self, tenant: str, since_s: float, until_s: float) -> Iterator[Completion]:
        """Yield a tenant's completions, oldest first; no transaction is open between the blocks in which they are read.

        Args:
            tenant: Tenant.
            since_s: First moment, in seconds since 1970.
            until_s: Moment after the last one.
        """
        c, last = COMPLETIONS.c, (since_s, "")
        while True:
            later = or_(c.created_s > last[0], and_(c.created_s == last[0], c.id > last[1]))
            query = select(COMPLETIONS).where(c.tenant == tenant, c.created_s < until_s, later)
            query = query.order_by(c.created_s, c.id).limit(_ROWS_AT_ONCE)
            rows = self._database.read(lambda db, query=query: db.execute(query).mappings().all())  # type: ignore[misc]
            yield from map(as_completion, rows)
            if not rows:
                return
            last = rows[-1]["created_s"], rows[-1]["id"]

    def say(self, completion: Completion, statement: Statement) -> Completion | None:
        """Writes down what was said of a completion, in place of what was said before.

        Saying the same again changes nothing, and whether it was learnt stays as it is.

        Returns:
            The completion as it is now; None where it is gone.
        """

        def work(db: Connection) -> Completion | None:
            _take_turn(db, [completion])
            row = db.execute(select(COMPLETIONS).where(*_is(completion))).mappings().first()
            if row is None or as_completion(row).statement == statement:
                return None if row is None else as_completion(row)
            said_s = time.time()
            changed = statement_columns(statement, said_s, learnt=False)
            db.execute(update(COMPLETIONS).where(*_is(completion)).values(changed))
            return replace(as_completion(row), statement=statement, said_s=said_s, learnt=False)

        return self._database.write(work)

    def note_learnt(self, completion: Completion) -> bool:
        """Notes that what was said of a completion has reached the feedback events.

        Returns:
            Whether that is still what was said last; if not, nothing is noted.
        """

        def work(db: Connection) -> bool:
            same = COMPLETIONS.c.said_s == completion.said_s
            query = update(COMPLETIONS).where(*_is(completion), same).values(learnt=True)
            return bool(db.execute(query).rowcount)

        return self._database.write(work)

    def expire(self, before_s: float) -> int:
        """Removes what was asked before a moment, in seconds since 1970, of all tenants; returns the number of rows.

        It is done in short transactions, so that others write meanwhile.
        """
        c, removed = COMPLETIONS.c, 0
        while True:

            def work(db: Connection) -> int:
                old = select(c.created_s).where(c.created_s < before_s).order_by(c.created_s)
                some = list(db.execute(old.limit(_ROWS_AT_ONCE)).scalars())
                return db.execute(delete(COMPLETIONS).where(c.created_s <= some[-1])).rowcount if some else 0

            number = self._database.write(work)
            removed += number
            if not number:
                return removed

    def shorten(self, most: int) -> int:
        """Removes the oldest rows of all tenants beyond a number of rows; returns how many that were."""
        c = COMPLETIONS.c
        query = select(c.created_s).order_by(c.created_s.desc()).offset(most - 1).limit(1)
        oldest_kept = self._database.read(lambda db: db.execute(query).scalar())
        return 0 if oldest_kept is None else self.expire(oldest_kept)

    def count(self) -> int:
        """Return the number of completions of all tenants."""
        query = select(func.count()).select_from(COMPLETIONS)
        return self._database.read(lambda db: db.execute(query).scalar_one())


def _add(db: Connection, completions: Sequence[Completion]) -> int:
    _take_turn(db, completions)
    deleted = _deleted_at(db, completions)
    c = COMPLETIONS.c
    ids = [one.id for one in completions]
    # With the tenants, or the index is read from end to end.
    named = c.tenant.in_(sorted({one.tenant for one in completions})), c.id.in_(ids)
    known = {tuple(row) for row in db.execute(select(c.tenant, c.id).where(*named))}
    rows = [
        as_row(one)
        for one in completions
        if (one.tenant, one.id) not in known
        and not any(one.created_s <= deleted.get((one.key, item), _NEVER) for item in (WHOLE_USER, one.id))
    ]
    if rows:
        db.execute(insert(COMPLETIONS), rows)
    return len(rows)


def _take_turn(db: Connection, completions: Iterable[Completion]) -> None:
    turns.take(db, sorted({one.key for one in completions if one.key is not None}))


def _deleted_at(db: Connection, completions: Sequence[Completion]) -> dict[tuple[UserKey | None, str], float]:
    """Return when users and items were deleted, in seconds since 1970."""
    keys = sorted({one.key for one in completions if one.key is not None})
    if not keys:
        return {}
    c, items = TOMBSTONES.c, [WHOLE_USER, *(one.id for one in completions)]
    query = select(c.tenant, c.user, c.item, c.at).where(among(TOMBSTONES, keys), c.item.in_(items))
    return {
        (UserKey(tenant, user), item): datetime.fromisoformat(at).timestamp()
        for tenant, user, item, at in db.execute(query)
    }


def _is(completion: Completion) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return COMPLETIONS.c.tenant == completion.tenant, COMPLETIONS.c.id == completion.id
