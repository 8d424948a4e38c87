"""The audit log: who changed what and when, of things that must be answered for later."""

from __future__ import annotations

import getpass
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, insert, select

from hydra_ray.store.database import Database
from hydra_ray.store.tables import AUDIT_LOG

# Rows that an export reads in one transaction.
_ROWS_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One thing that was done.

    Attributes:
        id: Number of the entry; later ones have larger numbers.
        at: When, in seconds since 1970.
        tenant: Tenant that it was done in; empty for what concerns all of them.
        actor: Id of the API key by which it was done, or `cli:` and the name of the operating system's user.
        action: What was done, as noun and verb: `key.create`, `user.delete`, `item.delete`.
        target: Id of what it was done to.
        detail: More of it in plain values; never what users said.
    """

    id: int
    at: float
    tenant: str
    actor: str
    action: str
    target: str
    detail: Mapping[str, Any]

    def as_json(self) -> str:
        """The entry as one line of JSON, with its time in ISO 8601."""
        at = datetime.fromtimestamp(self.at, UTC).isoformat(timespec="milliseconds")
        more = {"actor": self.actor, "action": self.action, "target": self.target, "detail": dict(self.detail)}
        return json.dumps({"id": self.id, "at": at, "tenant": self.tenant, **more})


class AuditLog:
    """Entries of a database, which are added and read, never changed.

    Args:
        database: Database with the tables of this version.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(
        self, tenant: str, actor: str, action: str, target: str, detail: Mapping[str, Any] | None = None
    ) -> None:
        """Adds an entry; what it says is in `AuditEntry`.

        Raises:
            StoreError: The database does not answer.
        """
        self._database.write(lambda db: add_entry(db, tenant, actor, action, target, detail))

    def entries(self, since: float | None = None) -> Iterator[AuditEntry]:
        """Yield the entries, oldest first; no transaction is open between the blocks in which they are read.

        Args:
            since: Only those of this moment and later, in seconds since 1970; None is all.
        """
        c, last = AUDIT_LOG.c, 0
        while True:
            query = select(AUDIT_LOG).where(c.id > last).order_by(c.id).limit(_ROWS_AT_ONCE)
            if since is not None:
                query = query.where(c.at >= since)
            rows = self._database.read(lambda db, query=query: db.execute(query).mappings().all())  # type: ignore[misc]
            for row in rows:
                yield AuditEntry(**{**row, "detail": json.loads(row["detail"])})
            if not rows:
                return
            last = rows[-1]["id"]


def add_entry(
    db: Connection, tenant: str, actor: str, action: str, target: str, detail: Mapping[str, Any] | None = None
) -> None:
    """Adds an entry in a transaction that does what it tells of: both are kept, or neither."""
    about = {"tenant": tenant, "actor": actor, "action": action, "target": target}
    db.execute(insert(AUDIT_LOG).values(at=time.time(), **about, detail=json.dumps(dict(detail or {}))))


def this_person() -> str:
    """Name who runs a command, as an actor of the audit log."""
    try:
        return f"cli:{getpass.getuser()}"
    except (OSError, KeyError):
        # Containers run under numbers that no name belongs to.
        return "cli:unknown"
