"""Rows of feedback found by user: parts have them in the order in which they were answered, everybody's in each."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from hydra_ray.atomic import replacing
from hydra_ray.learn.collect.rows import AdapterRow, RerankerRow
from hydra_ray.learn.collect.store import FeedbackStore
from hydra_ray.records import UserKey

_Row = TypeVar("_Row", RerankerRow, AdapterRow)
# SQLite takes so many values in one statement on any platform.
_USERS_AT_ONCE = 400


class RowsByUser:
    """A file with all rows of feedback, made of the parts that are there; whoever made it removes it.

    Columns are called as those of users everywhere, so that an erasure finds what a killed job leaves. Until it
    is whole it has an unfinished file's name: what is left of it then is no database that rows could be deleted from.

    Args:
        path: The file; it may be read in several processes of this machine.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def made(cls, path: Path, store: FeedbackStore) -> RowsByUser:
        """Write the file anew, part by part."""
        with replacing(path) as partial, closing(sqlite3.connect(partial)) as db:
            # Nobody needs it after a crash.
            db.execute("PRAGMA journal_mode = OFF")
            db.execute("PRAGMA synchronous = OFF")
            db.execute("CREATE TABLE feedback (kind TEXT, tenant TEXT, user TEXT, row TEXT)")
            for rows in (store.rows(RerankerRow), store.rows(AdapterRow)):
                db.executemany(
                    "INSERT INTO feedback VALUES (?, ?, ?, ?)",
                    ((row.NAME, *row.key.owner, json.dumps(row.to_columns())) for row in rows),
                )
            db.execute("CREATE INDEX feedback_by_user ON feedback (kind, tenant, user)")
            db.commit()
        return cls(path)

    def read(self, kind: type[_Row], users: Sequence[UserKey]) -> list[_Row]:
        """Return some users' rows of a kind, as `FeedbackStore.read` does."""
        found: list[_Row] = []
        with closing(sqlite3.connect(f"file:{quote(str(self._path))}?mode=ro", uri=True)) as db:
            for tenant in sorted({key.tenant for key in users}):
                names = sorted({key.user for key in users if key.tenant == tenant})
                for start in range(0, len(names), _USERS_AT_ONCE):
                    some: list[str] = names[start : start + _USERS_AT_ONCE]
                    blanks = ", ".join("?" * len(some))
                    query = (
                        f"SELECT row FROM feedback WHERE kind = ? AND tenant = ? AND user IN ({blanks}) ORDER BY rowid"
                    )
                    rows = db.execute(query, (kind.NAME, tenant, *some))
                    found += [kind.from_columns(json.loads(row)) for (row,) in rows]
        found.sort(key=lambda row: row.example_id)
        return found
