"""Which version of the base is served: aliases with their history, who holds a version, and which were deleted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, Protocol

from sqlalchemy import Connection, delete, func, insert, select
from sqlalchemy.exc import IntegrityError

from hydra_ray.records import HydraError
from hydra_ray.store.database import Database
from hydra_ray.store.tables import MODEL_ALIASES, MODEL_REMOVALS, MODEL_USES

PRODUCTION, CANDIDATE = "production", "candidate"
ALIASES = (PRODUCTION, CANDIDATE)

Action = Literal["train", "import", "promote", "rollback", "clear"]
State = Literal["ready", "refused"]

# Any number that other programs are not likely to lock.
_ADVISORY_LOCK = 0x68796472615F6D6F


class AliasConflictError(HydraError):
    """An alias was changed by somebody else since it was looked up."""


class VersionInUseError(HydraError):
    """A version cannot be deleted, since an alias or a running service points at it."""


@dataclass(frozen=True, slots=True)
class AliasChange:
    """One change of an alias.

    Attributes:
        alias: Name of the alias.
        revision: Number of the change, from 1.
        version: Version that the alias means from then on; None where it was taken away.
        action: What was done.
        changed: When, as ISO text in UTC.
    """

    alias: str
    revision: int
    version: str | None
    action: str
    changed: str


@dataclass(frozen=True, slots=True)
class VersionUse:
    """What a replica made of a version.

    Attributes:
        holder: Name of the replica: its deployment and an id.
        version: Version of the base.
        state: Whether it answers with the version, or refused it.
    """

    holder: str
    version: str
    state: str


class Aliases(Protocol):
    """Aliases of versions, compared and set; every method raises `StoreError` where the database does not answer."""

    def current(self) -> dict[str, AliasChange]:
        """Return the latest change of each alias that means a version now."""

    def revision(self, alias: str) -> int:
        """Return the number of an alias's latest change; 0 where there was none."""

    def changes(self, alias: str) -> list[AliasChange]:
        """Return all changes of an alias, oldest first."""

    def change(self, alias: str, version: str | None, revision: int, action: Action) -> AliasChange:
        """Let an alias mean another version.

        Args:
            alias: Name of the alias.
            version: Version that it is to mean; None takes it away.
            revision: Number of the latest change that the caller knows of; 0 for none.
            action: What is done, for the history.

        Raises:
            AliasConflictError: There was a later change.
            HydraError: The version was deleted.
        """

    def hold(self, holder: str, states: Mapping[str, State], for_s: float) -> None:
        """Say which versions a replica holds or refused, in place of what it said before.

        Args:
            holder: Name of the replica.
            states: State by version; empty when the replica ends.
            for_s: Seconds for which that holds unless it is said again.
        """

    def uses(self) -> list[VersionUse]:
        """Return what replicas said that still holds."""

    def remove(self, version: str, delete_files: Callable[[], None]) -> None:
        """Delete a version, unless something points at it; from then on nothing can.

        Args:
            version: Version of the base.
            delete_files: Deletes it from the registry, while no alias can be changed.

        Raises:
            VersionInUseError: An alias means it, or a replica holds it; the message says which.
        """

    def is_removed(self, version: str) -> bool:
        """Return whether a version was deleted."""

    def close(self) -> None:
        """Lets the database go."""


def line_of_succession(changes: Iterable[AliasChange]) -> list[str]:
    """Return the version that an alias means, and those that rolling back leads to, one after the other."""
    stack: list[str] = []
    for change in changes:
        if change.action == "rollback":
            while stack and stack[-1] != change.version:
                stack.pop()
        elif change.version is not None:
            stack = [version for version in stack if version != change.version]
        if change.version is not None and stack[-1:] != [change.version]:
            stack.append(change.version)
    return stack[::-1]


class SqlAliases:
    """Tables of a database as `Aliases`, which documents the methods.

    Args:
        database: Database with its tables, from `hydra_ray.store.schema.open_database`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def current(self) -> dict[str, AliasChange]:
        return {change.alias: change for change in self._database.read(_latest) if change.version is not None}

    def revision(self, alias: str) -> int:
        return self._database.read(lambda db: _revision(db, alias))

    def changes(self, alias: str) -> list[AliasChange]:
        query = select(MODEL_ALIASES).where(MODEL_ALIASES.c.alias == alias).order_by(MODEL_ALIASES.c.revision)
        return [AliasChange(*row) for row in self._database.read(lambda db: db.execute(query).all())]

    def change(self, alias: str, version: str | None, revision: int, action: Action) -> AliasChange:
        made = AliasChange(alias, revision + 1, version, action, _now())
        row = {
            "alias": alias,
            "revision": made.revision,
            "version": version,
            "action": action,
            "changed": made.changed,
        }
        try:
            with self._database.writing() as db:
                self._in_turn(db)
                if version is not None and _is_removed(db, version):
                    raise HydraError(f"version {version} was deleted")
                if _revision(db, alias) != revision:
                    raise _conflict(alias)
                db.execute(insert(MODEL_ALIASES), [row])
        except IntegrityError:
            raise _conflict(alias) from None
        return made

    def hold(self, holder: str, states: Mapping[str, State], for_s: float) -> None:
        now = time.time()
        rows = [
            {"holder": holder, "version": version, "state": state, "until": now + for_s}
            for version, state in states.items()
        ]

        def work(db: Connection) -> None:
            self._in_turn(db)
            # What others left when they ended without a word goes, too.
            db.execute(delete(MODEL_USES).where((MODEL_USES.c.holder == holder) | (MODEL_USES.c.until < now)))
            if rows:
                db.execute(insert(MODEL_USES), rows)

        self._database.write(work)

    def uses(self) -> list[VersionUse]:
        return self._database.read(_uses)

    def remove(self, version: str, delete_files: Callable[[], None]) -> None:
        with self._database.writing() as db:
            self._in_turn(db)
            by = [f"alias {change.alias}" for change in _latest(db) if change.version == version]
            by += [f"the running {use.holder}" for use in _uses(db) if use.version == version and use.state == "ready"]
            if by:
                raise VersionInUseError(
                    f"version {version} is not deleted: {', '.join(by)} points at it. Promote or roll back to another "
                    "version first; a service that runs lets go of it a little later"
                )
            if not _is_removed(db, version):
                db.execute(insert(MODEL_REMOVALS), [{"version": version, "removed": _now()}])
            delete_files()

    def is_removed(self, version: str) -> bool:
        return self._database.read(lambda db: _is_removed(db, version))

    def close(self) -> None:
        self._database.close()

    def _in_turn(self, db: Connection) -> None:
        """Waits for those who change aliases or delete versions; in SQLite the write lock is as good."""
        if self._database.dialect == "postgresql":
            db.execute(select(func.pg_advisory_xact_lock(_ADVISORY_LOCK)))


def _latest(db: Connection) -> list[AliasChange]:
    c = MODEL_ALIASES.c
    latest = select(c.alias, func.max(c.revision).label("revision")).group_by(c.alias).subquery()
    both = (c.alias == latest.c.alias) & (c.revision == latest.c.revision)
    return [AliasChange(*row) for row in db.execute(select(MODEL_ALIASES).join(latest, both).order_by(c.alias))]


def _revision(db: Connection, alias: str) -> int:
    c = MODEL_ALIASES.c
    return int(db.execute(select(func.max(c.revision)).where(c.alias == alias)).scalar() or 0)


def _uses(db: Connection) -> list[VersionUse]:
    c = MODEL_USES.c
    query = select(c.holder, c.version, c.state).where(c.until >= time.time()).order_by(c.holder, c.version)
    return [VersionUse(*row) for row in db.execute(query)]


def _is_removed(db: Connection, version: str) -> bool:
    return db.execute(select(MODEL_REMOVALS.c.version).where(MODEL_REMOVALS.c.version == version)).first() is not None


def _conflict(alias: str) -> AliasConflictError:
    return AliasConflictError(f"alias {alias} was changed by somebody else meanwhile: look at it, and try again")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
